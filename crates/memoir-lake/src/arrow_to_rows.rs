//! Arrow record batches as stored rows. Texts may be of any of Arrow's text types; the other columns come in the one
//! type that the reading plan has cast them to.

use deltalake::arrow::array::{Array, AsArray as _, LargeStringArray, RecordBatch, StringArray, StringViewArray};
use deltalake::arrow::array::{Float64Array, Int32Array, Int64Array, ListArray, TimestampMicrosecondArray};
use deltalake::arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use memoir_core::table::{Column, ColumnType, RowBuffer};
use memoir_core::time::Timestamp;

/// The rows of a batch from `skip` on, whose columns are those of the schema, in order. `None` where they are not.
pub(crate) fn rows_of(batch: &RecordBatch, columns: &[Column], skip: usize) -> Option<RowBuffer> {
    if batch.num_columns() != columns.len() {
        return None;
    }
    let values: Vec<Values<'_>> =
        columns.iter().zip(batch.columns()).map(|(column, array)| Values::of(array, column)).collect::<Option<_>>()?;
    let mut rows = RowBuffer::default();
    for at in skip..batch.num_rows() {
        let mut row = rows.row();
        for value in &values {
            match value {
                Values::Text(texts) => row.text(texts.get(at)),
                Values::Timestamp(array) => {
                    row.timestamp(array.is_valid(at).then(|| Timestamp::from_micros(array.value(at))))
                }
                Values::Double(array) => row.double(array.is_valid(at).then(|| array.value(at))),
                Values::Int(array) => row.int(array.is_valid(at).then(|| array.value(at))),
                Values::Long(array) => row.long(array.is_valid(at).then(|| array.value(at))),
                Values::TextList(array) => {
                    let texts = array.is_valid(at).then(|| list_of(array, at)).flatten();
                    row.texts(texts.as_ref().map(|texts| texts.iter()))
                }
            };
        }
    }
    Some(rows)
}

/// A null within a list stands for no text.
fn list_of(lists: &ListArray, at: usize) -> Option<Vec<String>> {
    let list = lists.value(at);
    let texts = Texts::of(list.as_ref())?;
    Some((0..list.len()).filter_map(|at| texts.get(at).map(str::to_owned)).collect())
}

enum Values<'a> {
    Text(Texts<'a>),
    Timestamp(&'a TimestampMicrosecondArray),
    Double(&'a Float64Array),
    Int(&'a Int32Array),
    Long(&'a Int64Array),
    TextList(&'a ListArray),
}

impl<'a> Values<'a> {
    fn of(array: &'a dyn Array, column: &Column) -> Option<Self> {
        Some(match column.column_type {
            ColumnType::Text => Self::Text(Texts::of(array)?),
            ColumnType::Timestamp => Self::Timestamp(array.as_primitive_opt::<TimestampMicrosecondType>()?),
            ColumnType::Double => Self::Double(array.as_primitive_opt::<Float64Type>()?),
            ColumnType::Int => Self::Int(array.as_primitive_opt::<Int32Type>()?),
            ColumnType::Long => Self::Long(array.as_primitive_opt::<Int64Type>()?),
            ColumnType::TextList => Self::TextList(array.as_list_opt::<i32>()?),
        })
    }
}

/// A column of texts in any of Arrow's ways to hold them.
pub(crate) enum Texts<'a> {
    Plain(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
}

impl<'a> Texts<'a> {
    pub(crate) fn of(array: &'a dyn Array) -> Option<Self> {
        match array.data_type() {
            DataType::Utf8 => array.as_string_opt().map(Self::Plain),
            DataType::LargeUtf8 => array.as_string_opt().map(Self::Large),
            DataType::Utf8View => array.as_string_view_opt().map(Self::View),
            _ => None,
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<&'a str> {
        match self {
            Self::Plain(array) => array.is_valid(at).then(|| array.value(at)),
            Self::Large(array) => array.is_valid(at).then(|| array.value(at)),
            Self::View(array) => array.is_valid(at).then(|| array.value(at)),
        }
    }
}

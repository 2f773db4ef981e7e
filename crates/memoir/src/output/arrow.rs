//! Arrow batches, as the lake's queries give them, to rows.

use deltalake::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use deltalake::arrow::compute::cast;
use deltalake::arrow::datatypes::{
    DataType, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use deltalake::arrow::error::ArrowError;
use deltalake::arrow::util::display::{ArrayFormatter, FormatOptions};
use memoir_core::Timestamp;

use super::rows::{Cell, Rows};

impl Rows {
    /// All rows of `batches`, which share `schema`. The schema gives the columns also where there is no row.
    ///
    /// # Errors
    /// When a value cannot be shown, which Arrow says for types that it cannot format.
    pub fn from_batches(schema: &Schema, batches: &[RecordBatch]) -> Result<Self, ArrowError> {
        let mut rows = Self::new(schema.fields().iter().map(|field| field.name().clone()));
        for batch in batches {
            let columns = batch.columns().iter().map(plain).collect::<Result<Vec<_>, _>>()?;
            for index in 0..batch.num_rows() {
                let cells = columns.iter().map(|column| cell(column, index)).collect::<Result<Vec<_>, _>>()?;
                rows.push(cells);
            }
        }
        Ok(rows)
    }
}

/// The array as one of the few types that [`cell`] reads; other types stay as they are and are shown as text.
fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let to = match array.data_type() {
        DataType::Dictionary(_, value) => return plain(&cast(array, value)?),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => {
            DataType::Int64
        }
        DataType::Float16 | DataType::Float32 => DataType::Float64,
        DataType::Timestamp(_, _) => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        DataType::LargeList(item) | DataType::ListView(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(item.clone())
        }
        _ => return Ok(array.clone()),
    };
    cast(array, &to)
}

/// One value of an array that went through [`plain`].
fn cell(array: &ArrayRef, index: usize) -> Result<Cell, ArrowError> {
    if array.is_null(index) {
        return Ok(Cell::Null);
    }
    Ok(match array.data_type() {
        DataType::Null => Cell::Null,
        DataType::Utf8 => array.as_string::<i32>().value(index).into(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(index).into(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(index).into(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(index).into(),
        DataType::Boolean => array.as_boolean().value(index).into(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            Timestamp::from_micros(array.as_primitive::<TimestampMicrosecondType>().value(index)).into()
        }
        DataType::List(_) => {
            let items = plain(&array.as_list::<i32>().value(index))?;
            let cells = (0..items.len()).map(|item| cell(&items, item)).collect::<Result<Vec<_>, _>>()?;
            Cell::List(cells)
        }
        _ => ArrayFormatter::try_new(array, &FormatOptions::default())?.value(index).try_to_string()?.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use deltalake::arrow::array::{
        BooleanArray, Date32Array, Float32Array, Int32Array, ListArray, StringViewArray, TimestampNanosecondArray,
        UInt64Array,
    };
    use deltalake::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn every_type_that_a_query_gives_becomes_a_cell() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("text", Arc::new(StringViewArray::from(vec![Some("a"), None]))),
            ("int", Arc::new(Int32Array::from(vec![Some(-1), None]))),
            ("big", Arc::new(UInt64Array::from(vec![Some(u64::MAX), Some(2)]))),
            ("float", Arc::new(Float32Array::from(vec![Some(0.5), None]))),
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("at", Arc::new(TimestampNanosecondArray::from(vec![Some(1_500_000), None]))),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), None]), None]))),
            ("day", Arc::new(Date32Array::from(vec![Some(1), None]))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let rows = Rows::from_batches(&batch.schema(), std::slice::from_ref(&batch)).unwrap();
        let got: Vec<_> = rows.iter().map(<[Cell]>::to_vec).collect();
        assert_eq!(
            got[0],
            [
                "a".into(),
                Cell::Int(-1),
                u64::MAX.to_string().into(),
                Cell::Float(0.5),
                Cell::Bool(true),
                Timestamp::from_micros(1500).into(),
                Cell::List(vec![Cell::Int(1), Cell::Null]),
                "1970-01-02".into(),
            ]
        );
        assert_eq!(got[1][2], Cell::Int(2));
        assert_eq!(got[1].iter().filter(|cell| **cell == Cell::Null).count(), 7);
    }

    #[test]
    fn columns_are_known_also_where_there_is_no_row() {
        let batch = RecordBatch::try_from_iter([("a", Arc::new(Int32Array::from(vec![1])) as ArrayRef)]).unwrap();
        let rows = Rows::from_batches(&batch.schema(), &[]).unwrap();
        assert_eq!(rows.columns(), ["a"]);
        assert!(rows.is_empty());
    }
}

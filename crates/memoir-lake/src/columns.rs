//! A [`TableSchema`] as Delta and Arrow columns, and whether a table that is there has them.

use std::sync::Arc;

use deltalake::arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef, TimeUnit};
use deltalake::kernel::{ArrayType, DataType, MetadataValue, PrimitiveType, StructField, StructType};
use memoir_core::table::{Column, ColumnType, TableSchema};

/// The time zone of all timestamps.
const UTC: &str = "UTC";

/// The columns as a Delta table is created with them.
pub(crate) fn delta_columns(schema: &TableSchema) -> Vec<StructField> {
    schema
        .columns
        .iter()
        .map(|column| {
            StructField::nullable(column.name, delta_type(column.column_type))
                .with_metadata([("comment", MetadataValue::String(column.comment.to_owned()))])
        })
        .collect()
}

fn delta_type(column_type: ColumnType) -> DataType {
    match column_type {
        ColumnType::Text => DataType::Primitive(PrimitiveType::String),
        ColumnType::Timestamp => DataType::Primitive(PrimitiveType::Timestamp),
        ColumnType::Double => DataType::Primitive(PrimitiveType::Double),
        ColumnType::Int => DataType::Primitive(PrimitiveType::Integer),
        ColumnType::Long => DataType::Primitive(PrimitiveType::Long),
        ColumnType::TextList => {
            DataType::Array(Box::new(ArrayType::new(DataType::Primitive(PrimitiveType::String), true)))
        }
    }
}

/// The columns as Parquet files are written with them.
pub(crate) fn arrow_schema(columns: &[Column]) -> SchemaRef {
    let fields: Vec<Field> =
        columns.iter().map(|column| Field::new(column.name, arrow_type(column.column_type), true)).collect();
    Arc::new(Schema::new(fields))
}

pub(crate) fn arrow_type(column_type: ColumnType) -> ArrowType {
    match column_type {
        ColumnType::Text => ArrowType::Utf8,
        ColumnType::Timestamp => ArrowType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        ColumnType::Double => ArrowType::Float64,
        ColumnType::Int => ArrowType::Int32,
        ColumnType::Long => ArrowType::Int64,
        ColumnType::TextList => ArrowType::List(list_element()),
    }
}

/// The element of a list as Parquet and Delta name it.
pub(crate) fn list_element() -> Arc<Field> {
    Arc::new(Field::new("element", ArrowType::Utf8, true))
}

/// The names of the columns whose minimum and maximum may stand in the log.
pub(crate) fn statistics_columns(columns: &[Column]) -> Vec<String> {
    columns.iter().filter(|column| column.statistics).map(|column| column.name.to_owned()).collect()
}

/// What keeps a table from being written to with this schema: missing columns, other types, and columns of its own
/// that must not be null. `None` where nothing does.
pub(crate) fn problems_for_writing(schema: &TableSchema, found: &StructType) -> Option<String> {
    let mut problems = Vec::new();
    for column in schema.columns {
        let expected = delta_type(column.column_type);
        match found.field(column.name) {
            None => problems.push(format!("`{}` ({expected}) is missing", column.name)),
            Some(field) if !same_type(field.data_type(), &expected) => {
                problems.push(format!("`{}` is {} instead of {expected}", column.name, field.data_type()));
            }
            Some(_) => {}
        }
    }
    for field in found.fields() {
        if !field.is_nullable() && !schema.columns.iter().any(|column| column.name == field.name()) {
            problems.push(format!("`{}` must not be null, and Memoir does not fill it", field.name()));
        }
    }
    (!problems.is_empty()).then(|| problems.join("; "))
}

/// Whether two types hold the same values; whether an array may hold nulls is left to the table.
fn same_type(found: &DataType, expected: &DataType) -> bool {
    match (found, expected) {
        (DataType::Array(found), DataType::Array(expected)) => same_type(found.element_type(), expected.element_type()),
        _ => found == expected,
    }
}

/// Whether values of an Arrow type can be read as values of a column, whoever wrote them.
pub(crate) fn readable_as(found: &ArrowType, column_type: ColumnType) -> bool {
    match found {
        ArrowType::Dictionary(_, values) => readable_as(values, column_type),
        ArrowType::Null => true,
        _ => match column_type {
            ColumnType::Text => is_text(found),
            ColumnType::Timestamp => matches!(found, ArrowType::Timestamp(_, _)),
            ColumnType::Double => matches!(found, ArrowType::Float64 | ArrowType::Float32),
            ColumnType::Int => matches!(found, ArrowType::Int32 | ArrowType::Int16 | ArrowType::Int8),
            ColumnType::Long => {
                matches!(found, ArrowType::Int64 | ArrowType::Int32 | ArrowType::Int16 | ArrowType::Int8)
            }
            ColumnType::TextList => match found {
                ArrowType::List(element)
                | ArrowType::LargeList(element)
                | ArrowType::ListView(element)
                | ArrowType::LargeListView(element) => is_text(element.data_type()),
                _ => false,
            },
        },
    }
}

pub(crate) fn is_text(found: &ArrowType) -> bool {
    matches!(found, ArrowType::Utf8 | ArrowType::LargeUtf8 | ArrowType::Utf8View)
}

//! Stored rows as Arrow record batches: one loop over the columns of a schema.

use std::sync::Arc;

use deltalake::arrow::array::{
    ArrayRef, Float64Builder, Int32Builder, Int64Builder, ListBuilder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use deltalake::arrow::datatypes::SchemaRef;
use deltalake::arrow::error::ArrowError;
use memoir_core::table::{Column, ColumnType, RowBuffer, RowError, RowReader};

use crate::columns::{arrow_schema, list_element};

/// A batch ends at so many rows,
const BATCH_ROWS: usize = 8192;
/// or at so many bytes of stored rows: the memory that one batch takes is bounded by about twice this.
const BATCH_BYTES: usize = 8 << 20;

/// Why rows did not become a batch.
#[derive(Debug)]
pub(crate) enum BatchError {
    Row(RowError),
    Arrow(ArrowError),
}

impl From<RowError> for BatchError {
    fn from(error: RowError) -> Self {
        Self::Row(error)
    }
}

/// The batches of one buffer, made as they are asked for.
pub(crate) struct RowBatches<'a> {
    reader: RowReader<'a>,
    columns: &'static [Column],
    schema: SchemaRef,
}

impl<'a> RowBatches<'a> {
    pub(crate) fn new(rows: &'a RowBuffer, columns: &'static [Column]) -> Self {
        Self { reader: RowReader::new(&rows.bytes), columns, schema: arrow_schema(columns) }
    }

    fn batch(&mut self) -> Result<RecordBatch, BatchError> {
        let mut builders: Vec<Builder> = self.columns.iter().map(|column| Builder::new(column.column_type)).collect();
        let (mut rows, mut bytes) = (0, 0);
        while rows < BATCH_ROWS && bytes < BATCH_BYTES && !self.reader.is_at_end() {
            for builder in &mut builders {
                bytes += builder.append(&mut self.reader)?;
            }
            rows += 1;
        }
        let arrays = builders.into_iter().map(Builder::finish).collect();
        RecordBatch::try_new(Arc::clone(&self.schema), arrays).map_err(BatchError::Arrow)
    }
}

impl Iterator for RowBatches<'_> {
    type Item = Result<RecordBatch, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.reader.is_at_end()).then(|| self.batch())
    }
}

enum Builder {
    Text(StringBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Double(Float64Builder),
    Int(Int32Builder),
    Long(Int64Builder),
    TextList(ListBuilder<StringBuilder>),
}

impl Builder {
    fn new(column_type: ColumnType) -> Self {
        match column_type {
            ColumnType::Text => Self::Text(StringBuilder::new()),
            ColumnType::Timestamp => Self::Timestamp(TimestampMicrosecondBuilder::new().with_timezone("UTC")),
            ColumnType::Double => Self::Double(Float64Builder::new()),
            ColumnType::Int => Self::Int(Int32Builder::new()),
            ColumnType::Long => Self::Long(Int64Builder::new()),
            ColumnType::TextList => Self::TextList(ListBuilder::new(StringBuilder::new()).with_field(list_element())),
        }
    }

    /// Takes one value; returns the bytes that it holds.
    fn append(&mut self, row: &mut RowReader<'_>) -> Result<usize, RowError> {
        match self {
            Self::Text(builder) => {
                let text = row.text()?;
                builder.append_option(text);
                return Ok(text.map_or(0, str::len));
            }
            Self::Timestamp(builder) => builder.append_option(row.timestamp()?.map(|time| time.as_micros())),
            Self::Double(builder) => builder.append_option(row.double()?),
            Self::Int(builder) => builder.append_option(row.int()?),
            Self::Long(builder) => builder.append_option(row.long()?),
            Self::TextList(builder) => {
                let texts = row.texts()?;
                let bytes = texts.iter().flatten().map(|text| text.len()).sum();
                for text in texts.iter().flatten() {
                    builder.values().append_value(text);
                }
                builder.append(texts.is_some());
                return Ok(bytes);
            }
        }
        Ok(size_of::<i64>())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::Text(mut builder) => Arc::new(builder.finish()),
            Self::Timestamp(mut builder) => Arc::new(builder.finish()),
            Self::Double(mut builder) => Arc::new(builder.finish()),
            Self::Int(mut builder) => Arc::new(builder.finish()),
            Self::Long(mut builder) => Arc::new(builder.finish()),
            Self::TextList(mut builder) => Arc::new(builder.finish()),
        }
    }
}

//! The rows of a small version, read and sorted in memory.
//!
//! A source that follows a table reads one version after the other, and most are small. Planning a query for each costs
//! ten milliseconds and a listing of the log; reading its files costs one. The order is that of the query engine:
//! nulls first, texts by their bytes.

use std::sync::Arc;

use deltalake::arrow::array::{ArrayRef, RecordBatch, new_null_array};
use deltalake::arrow::compute::{
    CastOptions, SortColumn, SortOptions, cast_with_options, concat_batches, lexsort_to_indices, take_record_batch,
};
use deltalake::arrow::datatypes::SchemaRef;
use deltalake::arrow::error::ArrowError;
use deltalake::datafusion::error::DataFusionError;
use deltalake::kernel::Add;
use deltalake::logstore::object_store::{self, ObjectStore, ObjectStoreExt as _, path::Path};
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use memoir_core::table::Column;

use crate::columns::{arrow_schema, arrow_type, readable_as};
use crate::error::LakeError;

/// Files of more bytes than this are sorted by the query engine, which can spill.
const MOST_BYTES: i64 = 16 << 20;

/// Whether these files can be read as they stand: small, all of this table, and with nothing that the log has to say
/// about their rows.
pub(crate) fn is_small(added: &[Add]) -> bool {
    let plain =
        |add: &Add| add.deletion_vector.is_none() && add.partition_values.is_empty() && !add.path.contains("://");
    added.iter().all(plain) && added.iter().map(|add| add.size).sum::<i64>() <= MOST_BYTES
}

/// Where a file is in its table's store. Names of partitions may hold percent signs, which stand for themselves.
pub(crate) fn path_of(add: &Add) -> Path {
    Path::parse(&add.path).unwrap_or_else(|_| Path::from(add.path.as_str()))
}

/// The rows of the files with the columns of the schema, sorted by `order`, then by all other columns. `None` where a
/// file is not there any more.
pub(crate) async fn sorted_rows(
    store: &dyn ObjectStore,
    table: &str,
    added: &[Add],
    columns: &[Column],
    order: &[String],
) -> Result<Option<RecordBatch>, LakeError> {
    let schema = arrow_schema(columns);
    let mut batches = Vec::new();
    for add in added {
        let file = match store.get(&path_of(add)).await {
            Ok(file) => file.bytes().await,
            Err(error) => Err(error),
        };
        let file = match file {
            Ok(file) => file,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(LakeError::delta(table, "read the files of", error)),
        };
        read_file(file, table, columns, &schema, &mut batches)?;
    }
    sort(&schema, &batches, order)
        .map(Some)
        .map_err(|error| LakeError::reading(table, "sort the rows of", DataFusionError::from(error)))
}

fn read_file(
    file: bytes::Bytes,
    table: &str,
    columns: &[Column],
    schema: &SchemaRef,
    batches: &mut Vec<RecordBatch>,
) -> Result<(), LakeError> {
    let failed = |error: DataFusionError| LakeError::reading(table, "read the rows of", error);
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(error.into()))?;
    let fields = reader.schema().fields();
    let needed =
        fields.iter().enumerate().filter(|(_, field)| columns.iter().any(|column| column.name == field.name()));
    let needed = ProjectionMask::roots(reader.parquet_schema(), needed.map(|(at, _)| at));
    let reader = reader.with_projection(needed).build().map_err(|error| failed(error.into()))?;
    for batch in reader {
        let batch = batch.map_err(|error| failed(error.into()))?;
        let values = columns.iter().map(|column| values_of(&batch, column, table)).collect::<Result<_, _>>()?;
        batches.push(RecordBatch::try_new(Arc::clone(schema), values).map_err(|error| failed(error.into()))?);
    }
    Ok(())
}

/// A column in the type that rows are made of. A file written before the table had the column holds nulls for it.
fn values_of(batch: &RecordBatch, column: &Column, table: &str) -> Result<ArrayRef, LakeError> {
    let expected = arrow_type(column.column_type);
    let Some(found) = batch.column_by_name(column.name) else {
        return Ok(new_null_array(&expected, batch.num_rows()));
    };
    if !readable_as(found.data_type(), column.column_type) {
        let problems =
            format!("`{}` is {} and can't be read as {:?}", column.name, found.data_type(), column.column_type);
        return Err(LakeError::WrongColumns { table: table.to_owned(), problems });
    }
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(found, &expected, &strict)
        .map_err(|error| LakeError::reading(table, "read the rows of", DataFusionError::from(error)))
}

fn sort(schema: &SchemaRef, batches: &[RecordBatch], order: &[String]) -> Result<RecordBatch, ArrowError> {
    let rows = concat_batches(schema, batches)?;
    let names = schema.fields().iter().map(|field| field.name());
    let others = names.filter(|name| !order.contains(name));
    let options = Some(SortOptions { descending: false, nulls_first: true });
    let by: Vec<SortColumn> = order
        .iter()
        .chain(others)
        .filter_map(|name| rows.column_by_name(name))
        .map(|values| SortColumn { values: Arc::clone(values), options })
        .collect();
    take_record_batch(&rows, &lexsort_to_indices(&by, None)?)
}

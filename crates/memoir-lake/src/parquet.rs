//! How Parquet files are written, by appends and by compaction alike.

use std::num::NonZeroU64;

use deltalake::parquet::basic::{Compression, ZstdLevel};
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;
use memoir_core::table::Column;

/// A file that grows beyond this is closed and another one begun.
pub(crate) const TARGET_FILE_SIZE: NonZeroU64 = NonZeroU64::new(128 << 20).expect("not zero: checked when compiled");

/// A row group is held in memory while it is written, so it ends at so many rows,
const ROW_GROUP_ROWS: usize = 256 * 1024;
/// or so many bytes.
const ROW_GROUP_BYTES: usize = 32 << 20;

/// Zstandard, and minimum and maximum only for the columns that have them in the log.
pub(crate) fn writer_properties(columns: &[Column]) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(format!("memoir {}", env!("CARGO_PKG_VERSION")))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .set_statistics_enabled(EnabledStatistics::None);
    for column in columns.iter().filter(|column| column.statistics) {
        properties = properties.set_column_statistics_enabled(ColumnPath::from(column.name), EnabledStatistics::Page);
    }
    properties.build()
}

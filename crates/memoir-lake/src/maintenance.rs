//! Keeps tables fast: joins small files, cleans the log, deletes what nothing refers to any more.
//!
//! All of it may run while others append and read. It changes no row, and marks live on in checkpoints.

use deltalake::kernel::transaction::{CommitConflictError, CommitProperties, TransactionError};
use deltalake::operations::vacuum::VacuumMode;
use deltalake::protocol::checkpoints;
use deltalake::{DeltaTable, DeltaTableError};
use memoir_core::table::TableSchema;

use crate::error::LakeError;
use crate::parquet::{TARGET_FILE_SIZE, writer_properties};
use crate::warehouse::Warehouse;

/// Files below this size are small, and so many of them are worth a compaction. A file that has grown beyond it is
/// rewritten no more, so a row is rewritten a bounded number of times.
const SMALL_FILE: i64 = 64 << 20;
const ENOUGH_SMALL_FILES: usize = 16;

/// What a maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    pub files_before: usize,
    pub files_after: usize,
    pub deleted_log_files: usize,
    pub deleted_data_files: usize,
}

impl Warehouse {
    /// Maintains one table. Where somebody else does so at the same time, one of the two gives way.
    ///
    /// # Errors
    /// When the table can't be read or written.
    pub async fn maintain(&self, schema: &TableSchema) -> Result<Maintained, LakeError> {
        let path = self.table_path(schema.name);
        let failed = |doing: &'static str| {
            let path = path.clone();
            move |error: DeltaTableError| LakeError::delta(path.clone(), doing, error)
        };
        let mut table = self.open_table(schema.name).await?;
        let mut done = Maintained { files_before: files(&table)?.0, ..Maintained::default() };
        if files(&table)?.1 >= ENOUGH_SMALL_FILES {
            // One task at a time: compaction must not take the memory of the work that it serves.
            let compacted = table
                .clone()
                .optimize()
                .with_target_size(TARGET_FILE_SIZE)
                .with_writer_properties(writer_properties(schema.columns))
                .with_max_concurrent_tasks(1)
                .with_commit_properties(properties())
                .await;
            match compacted {
                Ok((compacted, _)) => table = compacted,
                Err(error) if gave_way(&error) => {
                    tracing::info!(table = %path, "somebody else compacts it");
                    table = self.open_table(schema.name).await?;
                }
                Err(error) => return Err(failed("join the small files of")(error)),
            }
        }
        done.files_after = files(&table)?.0;
        let (_, stale) = table
            .clone()
            .vacuum()
            .with_mode(VacuumMode::Full)
            .with_dry_run(true)
            .await
            .map_err(failed("look for old files of"))?;
        if !stale.files_deleted.is_empty() {
            // Files that are too young stay: the table's own retention holds.
            let vacuum = table.clone().vacuum().with_mode(VacuumMode::Full).with_commit_properties(properties());
            let (vacuumed, metrics) = vacuum.await.map_err(failed("delete old files of"))?;
            table = vacuumed;
            done.deleted_data_files = metrics.files_deleted.len();
        }
        done.deleted_log_files =
            checkpoints::cleanup_metadata(&table, None).await.map_err(failed("clean the log of"))?;
        tracing::debug!(table = %path, ?done, "maintained");
        Ok(done)
    }
}

/// The files of a table, and the small ones among them.
fn files(table: &DeltaTable) -> Result<(usize, usize), LakeError> {
    let state = table.snapshot().map_err(|error| LakeError::delta(table.table_url().as_str(), "read", error))?;
    let files = state.log_data();
    Ok((files.num_files(), files.iter().filter(|file| file.size() < SMALL_FILE).count()))
}

fn properties() -> CommitProperties {
    CommitProperties::default().with_cleanup_expired_logs(Some(false))
}

fn gave_way(error: &DeltaTableError) -> bool {
    let DeltaTableError::Transaction { source } = error else { return false };
    matches!(
        source,
        TransactionError::CommitConflict(
            CommitConflictError::ConcurrentDeleteDelete | CommitConflictError::ConcurrentDeleteRead
        ) | TransactionError::MaxCommitAttempts(_)
    )
}

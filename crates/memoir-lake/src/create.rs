//! Creates tables as the contract has them: append-only, with comments, and with no words of people in their log.

use std::path::{Path, PathBuf};

use deltalake::kernel::transaction::{CommitProperties, PROTOCOL};
use deltalake::protocol::SaveMode;
use deltalake::{DeltaTable, DeltaTableError};
use memoir_core::table::TableSchema;

use crate::columns::{delta_columns, problems_for_writing, statistics_columns};
use crate::error::LakeError;
use crate::storage::sync_folder;
use crate::warehouse::Warehouse;

/// What each table is created with. Log cleanup is the work of maintenance, so it is off for each commit; old versions
/// and files stay for as long as a source that reads the table may stand still.
const PROPERTIES: &[(&str, &str)] = &[
    ("delta.appendOnly", "true"),
    ("delta.checkpointInterval", "10"),
    ("delta.enableExpiredLogCleanup", "false"),
    ("delta.logRetentionDuration", "interval 7 days"),
    ("delta.deletedFileRetentionDuration", "interval 7 days"),
];

/// The properties that a table is created with.
pub(crate) fn properties(schema: &TableSchema) -> Vec<(&'static str, String)> {
    let statistics = statistics_columns(schema.columns);
    let statistics = if statistics.is_empty() {
        ("delta.dataSkippingNumIndexedCols", "0".to_owned())
    } else {
        ("delta.dataSkippingStatsColumns", statistics.join(","))
    };
    PROPERTIES.iter().map(|(name, value)| (*name, (*value).to_owned())).chain([statistics]).collect()
}

/// How often a creation is tried again after somebody else was quicker.
const ATTEMPTS: usize = 3;

impl Warehouse {
    /// Creates a table where it is missing; a table that is there must have the columns of the schema with their types,
    /// and may have more. Returns whether it was created by this call. Any number of processes may call it at once.
    ///
    /// # Errors
    /// When the table can't be created, or what is there can't be written to.
    pub async fn ensure_table(&self, schema: &TableSchema) -> Result<bool, LakeError> {
        let mut attempt = 0;
        loop {
            match self.open_table(schema.name).await {
                Ok(table) => {
                    self.check_for_writing(schema, &table)?;
                    return Ok(false);
                }
                Err(LakeError::TableMissing { .. }) => {}
                Err(error) => return Err(error),
            }
            match self.create(schema).await {
                Ok(()) => return Ok(true),
                // Perhaps another process created it in between: look again.
                Err(error) => {
                    attempt += 1;
                    if attempt == ATTEMPTS || matches!(error, LakeError::PermissionDenied { .. }) {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn create(&self, schema: &TableSchema) -> Result<(), LakeError> {
        let path = self.table_path(schema.name);
        let made = match self.table_folder(schema.name) {
            Some(folder) => {
                let failed = |source: std::io::Error| {
                    LakeError::delta(path.clone(), "create the folder of", DeltaTableError::Io { source })
                };
                let missing: Vec<PathBuf> =
                    folder.ancestors().take_while(|folder| !folder.exists()).map(Path::to_path_buf).collect();
                std::fs::create_dir_all(&folder).map_err(failed)?;
                missing
            }
            None => Vec::new(),
        };
        DeltaTable::new(self.log_store(schema.name)?)
            .create()
            .with_table_name(schema.name)
            .with_comment(schema.comment)
            .with_columns(delta_columns(schema))
            .with_configuration(properties(schema).into_iter().map(|(name, value)| (name, Some(value))))
            .with_save_mode(SaveMode::ErrorIfExists)
            .with_commit_properties(
                CommitProperties::default().with_max_retries(0).with_cleanup_expired_logs(Some(false)),
            )
            .await
            .map_err(|error| LakeError::delta(path.clone(), "create", error))?;
        // The store has synced the table's own folders; the way to them must hold as well.
        for parent in made.iter().filter_map(|folder| folder.parent()) {
            sync_folder(parent).map_err(|source| LakeError::Io {
                path: parent.display().to_string(),
                doing: "sync",
                source,
            })?;
        }
        Ok(())
    }

    /// Whether rows of this schema can be appended to the table.
    pub(crate) fn check_for_writing(&self, schema: &TableSchema, table: &DeltaTable) -> Result<(), LakeError> {
        let path = self.table_path(schema.name);
        let state = table.snapshot().map_err(|error| LakeError::delta(path.clone(), "read the log of", error))?;
        PROTOCOL
            .can_write_to(state.snapshot())
            .map_err(|error| LakeError::delta(path.clone(), "write to", DeltaTableError::from(error)))?;
        let configuration = state.metadata().configuration();
        if configuration.get("delta.columnMapping.mode").is_some_and(|mode| mode != "none") {
            return Err(LakeError::Unsupported { table: path, feature: "column mapping".to_owned() });
        }
        if let Some(constraint) = configuration.keys().find(|key| key.starts_with("delta.constraints.")) {
            return Err(LakeError::Unsupported { table: path, feature: format!("the check constraint {constraint}") });
        }
        if let Some(column) =
            state.metadata().partition_columns().iter().find(|name| !schema.columns.iter().any(|c| c.name == *name))
        {
            let problems = format!("it is partitioned by `{column}`, which Memoir does not fill");
            return Err(LakeError::WrongColumns { table: path, problems });
        }
        match problems_for_writing(schema, state.schema().as_ref()) {
            Some(problems) => Err(LakeError::WrongColumns { table: path, problems }),
            None => Ok(()),
        }
    }
}

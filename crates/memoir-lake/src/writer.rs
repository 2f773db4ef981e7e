//! Appends rows to one table: Parquet files, then one commit with one `txn` action for each mark.
//!
//! The log decides. A writer knows the latest version that it has seen and puts its commit at the next one, which only
//! one writer can do; so a commit costs no listing and no reading, however many files the table has. Where somebody
//! else was there first, or the outcome of a put is not known, the writer reads what the log holds from there on: its
//! own commit carries an id, and a `txn` of a writer it speaks for, in a commit that is not its own, fences it off.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use deltalake::DeltaTable;
use deltalake::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake::kernel::transaction::{CommitData, TransactionError};
use deltalake::kernel::{Action, Add, Transaction as TxnAction};
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use deltalake::protocol::{DeltaOperation, SaveMode, checkpoints};
use deltalake::table::config::TablePropertiesExt as _;
use memoir_core::sink::Transaction;
use memoir_core::table::{RowBuffer, TableSchema};
use uuid::Uuid;

use crate::columns::{arrow_schema, statistics_columns};
use crate::commit_log::{COMMIT_ID, Commit, has_version};
use crate::error::LakeError;
use crate::parquet::{TARGET_FILE_SIZE, writer_properties};
use crate::rows_to_arrow::{BatchError, RowBatches};
use crate::warehouse::Warehouse;

/// Commits that may lose against other writers before the writer gives up.
const MAX_CONFLICTS: usize = 50;
/// Puts that may end in an error.
const MAX_FAILURES: usize = 4;

/// Appends to one table. Many writers, here and elsewhere, may append to the same table.
pub struct TableWriter {
    warehouse: Warehouse,
    schema: TableSchema,
    path: String,
    log: LogStoreRef,
    /// The table as it was at some version up to `version`: for marks, and to write checkpoints from.
    table: DeltaTable,
    /// The latest version that this writer has seen.
    version: u64,
    checkpoint_interval: u64,
    config: WriterConfig,
    /// The marks of the writers that this one speaks for, as the log has them at `version`.
    marks: HashMap<String, Option<i64>>,
    /// Those of them that somebody else has moved, and what this writer knew before.
    moved: HashMap<String, Option<i64>>,
    /// Commits whose outcome is not known yet.
    open: Vec<OpenCommit>,
}

struct OpenCommit {
    id: String,
    marks: Vec<Transaction>,
    /// One of its files, where it has any.
    file: Option<String>,
}

impl TableWriter {
    /// Opens a table that is there.
    ///
    /// # Errors
    /// When it is not there, or can't be written to with this schema.
    pub async fn open(warehouse: &Warehouse, schema: &TableSchema) -> Result<Self, LakeError> {
        let schema = TableSchema { name: schema.name, comment: schema.comment, columns: schema.columns };
        let path = warehouse.table_path(schema.name);
        let table = warehouse.open_table(schema.name).await?;
        let log = table.log_store();
        if log.name() != "DefaultLogStore" {
            let feature = format!("the log store {}, which has no atomic put", log.name());
            return Err(LakeError::Unsupported { table: path, feature });
        }
        let (config, checkpoint_interval, version) = settings(warehouse, &schema, &table)?;
        warehouse.sync_log(schema.name).await?;
        Ok(Self {
            warehouse: warehouse.clone(),
            schema,
            path,
            log,
            table,
            version,
            checkpoint_interval,
            config,
            marks: HashMap::new(),
            moved: HashMap::new(),
            open: Vec::new(),
        })
    }

    /// The latest version that this writer has seen or made.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// How far `app_id` has written, as the table has it now. From here on this writer speaks for it.
    ///
    /// # Errors
    /// When the log can't be read.
    pub async fn committed(&mut self, app_id: &str) -> Result<Option<i64>, LakeError> {
        self.catch_up().await?;
        self.moved.remove(app_id);
        if let Some(version) = self.marks.get(app_id) {
            return Ok(*version);
        }
        if self.table.version() != Some(self.version) {
            let loaded = self.table.update_incremental(Some(self.version)).await;
            loaded.map_err(|error| self.failed("read the log of", error))?;
        }
        let version = self.mark_in_table(app_id).await?;
        self.marks.insert(app_id.to_owned(), version);
        Ok(version)
    }

    /// Appends the rows and sets the marks, both or neither. Durable on a local disk when it returns. No rows at all
    /// only sets the marks; no marks at all only appends the rows, also then not twice. Marks that the table has
    /// already mean that the rows are there. Returns the version of the commit, `None` where there was nothing to do.
    ///
    /// # Errors
    /// [`LakeError::Fenced`] when somebody else has moved a mark; [`LakeError::PartlyCommitted`] when the table has some
    /// of the marks but not all. After any error the same call may be made again.
    pub async fn append(&mut self, rows: &[RowBuffer], marks: &[Transaction]) -> Result<Option<u64>, LakeError> {
        for mark in marks {
            if !self.marks.contains_key(&mark.app_id) {
                self.committed(&mark.app_id).await?;
            }
        }
        if !self.open.is_empty() {
            self.catch_up().await?;
        }
        let nothing = rows.iter().all(RowBuffer::is_empty) && marks.is_empty();
        if nothing || self.holds(marks)? {
            return Ok(None);
        }
        let files = self.write_files(rows).await?;
        self.commit(files, marks).await.map(Some)
    }

    /// Whether the table has these marks.
    fn holds(&self, marks: &[Transaction]) -> Result<bool, LakeError> {
        let (mut held, mut last) = (0, None);
        for mark in marks {
            let found = self.marks.get(&mark.app_id).copied().flatten();
            if let Some(known) = self.moved.get(&mark.app_id) {
                return Err(LakeError::Fenced {
                    table: self.path.clone(),
                    app_id: mark.app_id.clone(),
                    found: found.unwrap_or(mark.version),
                    own: known.unwrap_or(-1),
                });
            }
            if let Some(found) = found.filter(|found| *found >= mark.version) {
                held += 1;
                last = Some((mark.app_id.clone(), found));
            }
        }
        match last {
            Some((app_id, found)) if held < marks.len() => {
                Err(LakeError::PartlyCommitted { table: self.path.clone(), app_id, found })
            }
            _ => Ok(held > 0),
        }
    }

    /// Writes the rows as Parquet files: one, or several where there is much. Each batch is encoded as it is decoded,
    /// so memory holds one batch and one row group.
    async fn write_files(&self, rows: &[RowBuffer]) -> Result<Vec<Add>, LakeError> {
        let mut writer = DeltaWriter::new(self.log.object_store(None), self.config.clone());
        for buffer in rows {
            for batch in RowBatches::new(buffer, self.schema.columns) {
                let written = match batch {
                    Ok(batch) => writer.write(&batch).await.map_err(|error| self.failed("write rows to", error)),
                    Err(BatchError::Row(source)) => Err(LakeError::DamagedRow { table: self.path.clone(), source }),
                    Err(BatchError::Arrow(error)) => Err(self.failed("encode rows of", error.into())),
                };
                if let Err(error) = written {
                    if let Err(abort) = writer.abort().await {
                        tracing::warn!(table = %self.path, error = %abort, "left an unfinished upload behind");
                    }
                    return Err(error);
                }
            }
        }
        writer.close().await.map_err(|error| self.failed("write rows to", error))
    }

    /// Commits the files at the next free version.
    async fn commit(&mut self, files: Vec<Add>, marks: &[Transaction]) -> Result<u64, LakeError> {
        let id = Uuid::new_v4().to_string();
        let file = files.first().map(|add| add.path.clone());
        let entry = CommitData::new(
            files.into_iter().map(Action::Add).collect(),
            DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None },
            HashMap::from([(COMMIT_ID.to_owned(), id.as_str().into()), ("isBlindAppend".to_owned(), true.into())]),
            marks.iter().map(|mark| TxnAction::new(&mark.app_id, mark.version)).collect(),
        );
        let entry = entry.get_bytes().map_err(|error| self.failed("write a commit to", error.into()))?;
        // Open until its outcome is known, also where this future is dropped at the next await.
        self.open.push(OpenCommit { id: id.clone(), marks: marks.to_vec(), file });
        let (mut conflicts, mut failures) = (0, 0);
        loop {
            if let Some(version) = self.try_commit(&id, &entry, &mut conflicts, &mut failures).await? {
                self.after_commit(version).await;
                return Ok(version);
            }
            if self.holds(marks)? {
                // The marks are all there, by a commit whose id nobody can read any more.
                return Ok(self.version);
            }
            pause(conflicts + failures).await;
        }
    }

    /// One put at the next version, then, unless it surely went through, a look at what the log holds.
    async fn try_commit(
        &mut self,
        id: &str,
        entry: &bytes::Bytes,
        conflicts: &mut usize,
        failures: &mut usize,
    ) -> Result<Option<u64>, LakeError> {
        let next = self.version + 1;
        // The next version is free only if this one is still in the log: a writer that stood still for longer than the
        // log is kept would else write where versions were cleaned away, and nobody would ever read it.
        let here = has_version(self.log.as_ref(), self.version).await;
        let failure = if here.map_err(|error| self.failed("look at the log of", error))? {
            let entry = CommitOrBytes::LogBytes(entry.clone());
            match self.log.write_commit_entry(next, entry, Uuid::new_v4()).await {
                Ok(()) => {
                    self.version = next;
                    self.settle(id);
                    return Ok(Some(next));
                }
                Err(TransactionError::VersionAlreadyExists(_)) => None,
                Err(error) => Some(self.failed("commit to", error.into())),
            }
        } else {
            None
        };
        self.catch_up().await?;
        if !self.open.iter().any(|open| open.id == id) {
            return Ok(Some(self.version));
        }
        match failure {
            None => *conflicts += 1,
            Some(error) => {
                *failures += 1;
                tracing::warn!(table = %self.path, %error, "a commit failed and did not land");
                if *failures == MAX_FAILURES || !error.is_transient() {
                    self.forget(id);
                    return Err(error);
                }
            }
        }
        if *conflicts == MAX_CONFLICTS {
            self.forget(id);
            return Err(LakeError::Contention { table: self.path.clone(), attempts: *conflicts });
        }
        Ok(None)
    }

    /// A commit that landed is not open any more, and its marks are set; nor are commits that it made pointless: they
    /// were put at a version that is taken now.
    fn settle(&mut self, id: &str) {
        let Some(at) = self.open.iter().position(|open| open.id == id) else { return };
        for mark in self.open.swap_remove(at).marks {
            let known = self.marks.entry(mark.app_id).or_default();
            *known = (*known).max(Some(mark.version));
        }
        let marks = &self.marks;
        let set = |mark: &Transaction| marks.get(&mark.app_id).copied().flatten() >= Some(mark.version);
        self.open.retain(|open| open.marks.is_empty() || !open.marks.iter().all(set));
    }

    /// A commit without marks that did not land is given up; one with marks is kept, because a put that was slow may
    /// still land, and must not be taken for somebody else's.
    fn forget(&mut self, id: &str) {
        self.open.retain(|open| open.id != id || !open.marks.is_empty());
    }

    /// Reads what the log holds beyond the known version.
    async fn catch_up(&mut self) -> Result<(), LakeError> {
        let mut reload = !has_version(self.log.as_ref(), self.version)
            .await
            .map_err(|error| self.failed("look at the log of", error))?;
        while !reload {
            let commit = Commit::read(self.log.as_ref(), self.version + 1).await;
            let Some(commit) = commit.map_err(|error| self.failed("read the log of", error))? else { break };
            self.version += 1;
            reload = commit.changes_table;
            match &commit.id {
                Some(id) if self.open.iter().any(|open| open.id == *id) => self.settle(&id.clone()),
                _ => {
                    for (app_id, version) in commit.transactions {
                        self.take_mark(&app_id, Some(version));
                    }
                }
            }
        }
        if reload { self.reload().await } else { Ok(()) }
    }

    /// A mark that another commit has set.
    fn take_mark(&mut self, app_id: &str, found: Option<i64>) {
        if let Some(known) = self.marks.get_mut(app_id)
            && found > *known
        {
            self.moved.entry(app_id.to_owned()).or_insert(*known);
            *known = found;
        }
    }

    /// Reads the table anew: its columns or properties changed, or its log was cleaned away beyond what is known here.
    async fn reload(&mut self) -> Result<(), LakeError> {
        self.table = self.warehouse.open_table(self.schema.name).await?;
        (self.config, self.checkpoint_interval, self.version) = settings(&self.warehouse, &self.schema, &self.table)?;
        let mut found = HashMap::new();
        for app_id in self.marks.keys() {
            found.insert(app_id.clone(), self.mark_in_table(app_id).await?);
        }
        // The commits themselves can't be read any more; open ones landed where all their marks, or files, are there.
        let landed: Vec<String> =
            self.open.iter().filter(|open| self.landed(open, &found)).map(|o| o.id.clone()).collect();
        for id in landed {
            self.settle(&id);
        }
        for (app_id, version) in found {
            self.take_mark(&app_id, version);
        }
        Ok(())
    }

    fn landed(&self, open: &OpenCommit, found: &HashMap<String, Option<i64>>) -> bool {
        if open.marks.is_empty() {
            let files = self.table.snapshot().map(|state| state.log_data());
            return files.is_ok_and(|files| {
                files.iter().any(|file| open.file.as_deref().is_some_and(|path| file.path() == path))
            });
        }
        open.marks.iter().all(|mark| found.get(&mark.app_id).copied().flatten() == Some(mark.version))
    }

    async fn mark_in_table(&self, app_id: &str) -> Result<Option<i64>, LakeError> {
        let state = self.table.snapshot().map_err(|error| self.failed("read the log of", error))?;
        let version = state.transaction_version(&self.log, app_id).await;
        version.map_err(|error| self.failed("read the marks of", error))
    }

    /// Writes a checkpoint where it is time for one. The commit stands whatever becomes of it.
    async fn after_commit(&mut self, version: u64) {
        if version != self.version || !version.is_multiple_of(self.checkpoint_interval) {
            return;
        }
        let mut written = self.table.update_incremental(Some(version)).await;
        if written.is_ok() {
            written = checkpoints::create_checkpoint(&self.table, None).await;
        }
        if let Err(error) = written {
            tracing::warn!(table = %self.path, version, %error, "no checkpoint was written; the next one will be");
        }
    }

    fn failed(&self, doing: &'static str, error: deltalake::DeltaTableError) -> LakeError {
        LakeError::delta(self.path.clone(), doing, error)
    }
}

impl Warehouse {
    /// Appends rows to a table that is there, without marks: all of them or none, and not twice whatever becomes of the
    /// connection. Returns the version, `None` where there was no row. For many appends keep a [`TableWriter`].
    ///
    /// # Errors
    /// When the table is not there or can't be written to.
    pub async fn append_rows(&self, schema: &TableSchema, rows: &[RowBuffer]) -> Result<Option<u64>, LakeError> {
        TableWriter::open(self, schema).await?.append(rows, &[]).await
    }
}

/// What a writer takes from the table: how files are written, how often there is a checkpoint, and the version.
fn settings(
    warehouse: &Warehouse,
    schema: &TableSchema,
    table: &DeltaTable,
) -> Result<(WriterConfig, u64, u64), LakeError> {
    warehouse.check_for_writing(schema, table)?;
    let failed = |error| LakeError::delta(warehouse.table_path(schema.name), "read the log of", error);
    let state = table.snapshot().map_err(failed)?;
    let config = WriterConfig::new(
        Arc::clone(&arrow_schema(schema.columns)),
        state.metadata().partition_columns().to_vec(),
        Some(writer_properties(schema.columns)),
        Some(TARGET_FILE_SIZE),
        None,
        state.table_config().num_indexed_cols(),
        Some(statistics_columns(schema.columns)),
    );
    Ok((config, state.table_config().checkpoint_interval().get(), state.version()))
}

/// Waits before the next attempt: twice as long each time, and never as long as another writer would.
async fn pause(attempts: usize) {
    let longest = 10u64 << attempts.min(7);
    let jitter = u64::from(Uuid::new_v4().as_fields().0) % longest;
    tokio::time::sleep(Duration::from_millis(longest / 2 + jitter)).await;
}

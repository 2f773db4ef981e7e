//! Reads tables in a stated order: the snapshot at a version, or what one version added.
//!
//! The order is total and the same in every run: the columns that the caller names, then all others. Sorting is the
//! query engine's, with bounded memory; who wrote the table, and in which of Arrow's types, does not matter.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use deltalake::DeltaTable;
use deltalake::arrow::datatypes::DataType;
use deltalake::datafusion::execution::SendableRecordBatchStream;
use deltalake::datafusion::logical_expr::{Expr, SortExpr, cast, ident};
use deltalake::datafusion::physical_plan::memory::MemoryStream;
use deltalake::datafusion::prelude::{DataFrame, SessionConfig};
use deltalake::kernel::Add;
use deltalake::logstore::object_store::{self, ObjectStoreExt as _};
use futures::{StreamExt as _, TryStreamExt as _};
use memoir_core::table::{Column, ColumnType, RowBuffer, TableSchema};
use memoir_core::time::Timestamp;

use crate::arrow_to_rows::{Texts, rows_of};
use crate::columns::{arrow_type, is_text, readable_as};
use crate::commit_log::{Commit, has_version, versions};
use crate::error::{LakeError, is_not_found};
use crate::session::session;
use crate::small_version::{is_small, path_of, sorted_rows};
use crate::warehouse::Warehouse;

/// Rows that come at once from what was sorted in memory.
const BATCH_ROWS: usize = 8192;

/// Reads one table for a source, version by version.
pub struct TableReader {
    warehouse: Warehouse,
    name: &'static str,
    columns: &'static [Column],
    path: String,
    order: Vec<String>,
    /// The table as it was at the version that was read last.
    table: DeltaTable,
}

/// What a version did to the rows of a table.
pub enum Changes {
    /// It added these rows.
    Rows(RowStream),
    /// It added none: a compaction, a marker, a change of properties.
    Nothing,
    /// It removed or replaced rows, or took away a column that is needed: its rows alone do not tell what happened.
    ChangesData { version: u64 },
}

impl TableReader {
    /// Opens a table that is there. Rows come in the order of the columns in `order`, then of all other columns.
    ///
    /// # Errors
    /// When the table is not there or can't be read.
    pub async fn open(warehouse: &Warehouse, schema: &TableSchema, order: &[&str]) -> Result<Self, LakeError> {
        Ok(Self {
            warehouse: warehouse.clone(),
            name: schema.name,
            columns: schema.columns,
            path: warehouse.table_path(schema.name),
            order: order.iter().map(|name| (*name).to_owned()).collect(),
            table: warehouse.open_table(schema.name).await?,
        })
    }

    /// The id that the table was given when it was made.
    ///
    /// # Errors
    /// When the log can't be read.
    pub fn table_id(&self) -> Result<&str, LakeError> {
        let state = self.table.snapshot();
        let state = state.map_err(|error| LakeError::delta(self.path.clone(), "read the log of", error))?;
        Ok(state.metadata().id())
    }

    /// What the log says of one version, byte by byte: never changed, and not the same in two tables. `None` where it
    /// was cleaned away.
    ///
    /// # Errors
    /// When the log can't be read.
    pub async fn commit_bytes(&self, version: u64) -> Result<Option<Bytes>, LakeError> {
        let read = self.table.log_store().read_commit_entry(version).await;
        read.map_err(|error| LakeError::delta(self.path.clone(), "read the log of", error))
    }

    /// Where the table is, for people.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The latest version of the table. Costs two looks at the log where nothing is new, and no listing.
    ///
    /// # Errors
    /// When the log can't be read; so do all methods below.
    pub async fn latest_version(&self) -> Result<u64, LakeError> {
        let Some(known) = self.table.version() else { return Err(self.missing()) };
        if !self.has_version(known).await? {
            // Cleaned away since, or the table was made anew.
            return self.versions().await?.last().map(|(version, _)| *version).ok_or_else(|| self.missing());
        }
        // Versions have no gaps: step out until one is missing, then halve.
        let (mut there, mut step) = (known, 1);
        while self.has_version(there + step).await? {
            there += step;
            step *= 2;
        }
        while step > 1 {
            step /= 2;
            if self.has_version(there + step).await? {
                there += step;
            }
        }
        Ok(there)
    }

    async fn has_version(&self, version: u64) -> Result<bool, LakeError> {
        let found = has_version(self.table.log_store().as_ref(), version).await;
        found.map_err(|error| LakeError::delta(self.path.clone(), "look at the log of", error))
    }

    /// The earliest version whose changes are still in the log.
    pub async fn earliest_version(&self) -> Result<u64, LakeError> {
        self.versions().await?.first().map(|(version, _)| *version).ok_or_else(|| self.missing())
    }

    /// The latest version that was committed at `time` or before; `None` where all that are left are younger.
    pub async fn version_at(&self, time: Timestamp) -> Result<Option<u64>, LakeError> {
        let versions = self.versions().await?;
        Ok(versions.iter().rev().find(|(_, committed)| *committed <= time).map(|(version, _)| *version))
    }

    async fn versions(&self) -> Result<Vec<(u64, Timestamp)>, LakeError> {
        let found = versions(self.table.log_store().as_ref()).await;
        found.map_err(|error| LakeError::delta(self.path.clone(), "list the log of", error))
    }

    fn missing(&self) -> LakeError {
        LakeError::TableMissing { table: self.path.clone() }
    }

    /// All rows that the table had at a version, in order, from the row number `skip` on.
    pub async fn snapshot(&mut self, version: u64, skip: u64) -> Result<RowStream, LakeError> {
        self.go_to(version).await?;
        self.rows(version, None, skip).await
    }

    /// The rows that one version added, in order, from the row number `skip` on. Rows that the same version has marked
    /// as deleted in the files that it added are not among them.
    pub async fn changes(&mut self, version: u64, skip: u64) -> Result<Changes, LakeError> {
        let log = self.table.log_store();
        let commit = Commit::read(log.as_ref(), version).await;
        let commit = commit.map_err(|error| LakeError::delta(self.path.clone(), "read the log of", error))?;
        let Some(commit) = commit else { return Err(self.gone(version).await) };
        if commit.removes_rows {
            return Ok(Changes::ChangesData { version });
        }
        if commit.added.is_empty() && !commit.changes_table {
            return Ok(Changes::Nothing);
        }
        if !commit.changes_table && is_small(&commit.added) && self.has_plain_columns()? {
            return self.small_rows(version, &commit.added, skip).await.map(Changes::Rows);
        }
        self.go_to(version).await?;
        if commit.changes_table && !self.missing_columns()?.is_empty() {
            return Ok(Changes::ChangesData { version });
        }
        if commit.added.is_empty() {
            return Ok(Changes::Nothing);
        }
        for add in &commit.added {
            if !self.has_file(add).await? {
                return Err(self.gone(version).await);
            }
        }
        self.rows(version, Some(commit.added), skip).await.map(Changes::Rows)
    }

    /// The rows of a version that is small and in need of nothing that the query engine does.
    async fn small_rows(&self, version: u64, added: &[Add], skip: u64) -> Result<RowStream, LakeError> {
        let store = self.table.object_store();
        let rows = sorted_rows(store.as_ref(), &self.path, added, self.columns, &self.order).await?;
        let Some(rows) = rows else { return Err(self.gone(version).await) };
        let batches = (0..rows.num_rows().div_ceil(BATCH_ROWS))
            .map(|at| rows.slice(at * BATCH_ROWS, BATCH_ROWS.min(rows.num_rows() - at * BATCH_ROWS)))
            .collect();
        let batches = MemoryStream::try_new(batches, rows.schema(), None);
        let batches = batches.map_err(|error| unreadable(&self.path, Some(version), error))?;
        let (path, columns) = (self.path.clone(), self.columns);
        Ok(RowStream { batches: Box::pin(batches), columns, skip, path, version: Some(version) })
    }

    /// Whether files hold the columns by the names that the table has for them.
    fn has_plain_columns(&self) -> Result<bool, LakeError> {
        let state = self.table.snapshot();
        let state = state.map_err(|error| LakeError::delta(self.path.clone(), "read the log of", error))?;
        let mapping = state.metadata().configuration().get("delta.columnMapping.mode");
        let plain = mapping.is_none_or(|mode| mode == "none");
        // What is wrong with the table itself, the query engine's way finds out.
        Ok(plain && self.missing_columns()?.is_empty() && self.unknown_order().is_none())
    }

    /// A column that is to order the rows and that the schema does not have.
    fn unknown_order(&self) -> Option<&String> {
        self.order.iter().find(|name| !self.columns.iter().any(|column| column.name == name.as_str()))
    }

    async fn has_file(&self, add: &Add) -> Result<bool, LakeError> {
        // A shallow clone names files of another table by their URL; the scan itself will say whether they are there.
        if add.path.contains("://") {
            return Ok(true);
        }
        match self.table.object_store().head(&path_of(add)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(LakeError::delta(self.path.clone(), "look for the files of", error)),
        }
    }

    async fn gone(&self, version: u64) -> LakeError {
        match self.versions().await {
            Ok(versions) => {
                let earliest = versions.first().map(|(version, _)| *version);
                LakeError::VersionGone { table: self.path.clone(), version, earliest }
            }
            Err(error) => error,
        }
    }

    /// Loads the table as it was at a version; going forward costs only the commits in between.
    async fn go_to(&mut self, version: u64) -> Result<(), LakeError> {
        if self.table.version() == Some(version) {
            return Ok(());
        }
        let loaded = match self.table.version() {
            Some(at) if at < version => self.table.update_incremental(Some(version)).await,
            _ => self.table.load_version(version).await,
        };
        if loaded.is_ok() && self.table.version() == Some(version) {
            return Ok(());
        }
        self.table = self.warehouse.open_table(self.name).await?;
        match self.table.load_version(version).await {
            Ok(()) if self.table.version() == Some(version) => Ok(()),
            Ok(()) => Err(self.gone(version).await),
            Err(error) => {
                let earliest = self.versions().await?.first().map(|(version, _)| *version);
                if earliest.is_some_and(|earliest| earliest > 0) {
                    return Err(LakeError::VersionGone { table: self.path.clone(), version, earliest });
                }
                Err(LakeError::delta(self.path.clone(), "read the log of", error))
            }
        }
    }

    fn missing_columns(&self) -> Result<Vec<&'static str>, LakeError> {
        let state = self.table.snapshot();
        let state = state.map_err(|error| LakeError::delta(self.path.clone(), "read the log of", error))?;
        let schema = state.schema();
        Ok(self.columns.iter().map(|column| column.name).filter(|name| schema.field(name).is_none()).collect())
    }

    async fn rows(&self, version: u64, only: Option<Vec<Add>>, skip: u64) -> Result<RowStream, LakeError> {
        let frame = frame(&self.table, &self.path, only).await?;
        let frame = shaped(frame, &self.path, self.columns, &self.order)?;
        let batches = frame.execute_stream().await.map_err(|error| self.unreadable(version, error))?;
        Ok(RowStream { batches, columns: self.columns, skip, path: self.path.clone(), version: Some(version) })
    }

    fn unreadable(&self, version: u64, error: deltalake::datafusion::error::DataFusionError) -> LakeError {
        unreadable(&self.path, Some(version), error)
    }
}

fn unreadable(path: &str, version: Option<u64>, error: deltalake::datafusion::error::DataFusionError) -> LakeError {
    match version {
        Some(version) if is_not_found(&error) => {
            LakeError::VersionGone { table: path.to_owned(), version, earliest: None }
        }
        _ => LakeError::reading(path, "read the rows of", error),
    }
}

/// Rows in order, a batch at a time.
pub struct RowStream {
    batches: SendableRecordBatchStream,
    columns: &'static [Column],
    skip: u64,
    path: String,
    version: Option<u64>,
}

impl RowStream {
    /// The next rows, `None` at the end. Buffers hold some thousands of rows.
    ///
    /// # Errors
    /// When a file can't be read; [`LakeError::VersionGone`] where it is not there any more.
    pub async fn next(&mut self) -> Result<Option<RowBuffer>, LakeError> {
        loop {
            let Some(batch) = self.batches.next().await else { return Ok(None) };
            let batch = batch.map_err(|error| unreadable(&self.path, self.version, error))?;
            let rows = batch.num_rows() as u64;
            let skipped = self.skip.min(rows);
            self.skip -= skipped;
            if skipped < rows {
                // Fits: it is at most the number of rows of a batch.
                let rows = rows_of(&batch, self.columns, usize::try_from(skipped).unwrap_or(usize::MAX));
                return rows.map(Some).ok_or_else(|| LakeError::WrongColumns {
                    table: self.path.clone(),
                    problems: format!("its rows came as {}", batch.schema()),
                });
            }
        }
    }
}

impl Warehouse {
    /// Reads a whole table in order: the columns in `order`, then all others.
    ///
    /// # Errors
    /// When the table is not there or can't be read.
    pub async fn scan(&self, schema: &TableSchema, order: &[&str]) -> Result<RowStream, LakeError> {
        self.scan_where(schema, order, None).await
    }

    /// Reads the rows whose text column has this value, in order.
    ///
    /// # Errors
    /// As for [`Warehouse::scan`].
    pub async fn rows(
        &self,
        schema: &TableSchema,
        order: &[&str],
        column: &str,
        value: &str,
    ) -> Result<RowStream, LakeError> {
        self.scan_where(schema, order, Some((column, value))).await
    }

    async fn scan_where(
        &self,
        schema: &TableSchema,
        order: &[&str],
        filter: Option<(&str, &str)>,
    ) -> Result<RowStream, LakeError> {
        let path = self.table_path(schema.name);
        let table = self.open_table(schema.name).await?;
        let mut rows = frame(&table, &path, None).await?;
        if let Some((column, value)) = filter {
            let equal = ident(column).eq(deltalake::datafusion::prelude::lit(value));
            rows = rows.filter(equal).map_err(|error| LakeError::reading(path.clone(), "read the rows of", error))?;
        }
        let order: Vec<String> = order.iter().map(|name| (*name).to_owned()).collect();
        let rows = shaped(rows, &path, schema.columns, &order)?;
        let batches = rows.execute_stream().await.map_err(|error| unreadable(&path, None, error))?;
        Ok(RowStream { batches, columns: schema.columns, skip: 0, path, version: None })
    }

    /// Which of these ids a text column of the table has already. Reads the whole column and keeps only what is asked
    /// for, so ask in slices of bounded size.
    ///
    /// # Errors
    /// When the table is not there or can't be read.
    pub async fn existing_ids(
        &self,
        schema: &TableSchema,
        column: &str,
        ids: &HashSet<String>,
    ) -> Result<HashSet<String>, LakeError> {
        let path = self.table_path(schema.name);
        let table = self.open_table(schema.name).await?;
        let failed = |error| LakeError::reading(path.clone(), "read the ids of", error);
        let rows = frame(&table, &path, None).await?.select([ident(column)]).map_err(failed)?;
        let mut batches = rows.execute_stream().await.map_err(failed)?;
        let mut found = HashSet::new();
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            let Some(texts) = batch.columns().first().and_then(|array| Texts::of(array.as_ref())) else {
                let problems = format!("`{column}` is no text");
                return Err(LakeError::WrongColumns { table: path, problems });
            };
            let known = (0..batch.num_rows()).filter_map(|at| texts.get(at)).filter(|id| ids.contains(*id));
            found.extend(known.map(str::to_owned));
            if found.len() == ids.len() {
                break;
            }
        }
        Ok(found)
    }
}

/// A table, or some of its files, as the query engine sees it.
async fn frame(table: &DeltaTable, path: &str, only: Option<Vec<Add>>) -> Result<DataFrame, LakeError> {
    let failed = |error| LakeError::reading(path, "read", error);
    let session = session(SessionConfig::new())?;
    let mut provider = table.table_provider();
    if let Some(only) = only {
        provider = provider.with_adds(only);
    }
    let provider = provider.build().await.map_err(failed)?;
    session.read_table(Arc::new(provider)).map_err(failed)
}

/// The columns of the schema in their own types and order, sorted by `order`, then by all others.
fn shaped(frame: DataFrame, path: &str, columns: &[Column], order: &[String]) -> Result<DataFrame, LakeError> {
    let mut problems = Vec::new();
    let mut selected: Vec<Expr> = Vec::with_capacity(columns.len());
    for column in columns {
        match frame.schema().as_arrow().column_with_name(column.name) {
            None => problems.push(format!("`{}` is missing", column.name)),
            Some((_, field)) if !readable_as(field.data_type(), column.column_type) => {
                problems.push(format!(
                    "`{}` is {} and can't be read as {:?}",
                    column.name,
                    field.data_type(),
                    column.column_type
                ));
            }
            Some((_, field)) => selected.push(value_of(column, field.data_type())),
        }
    }
    problems.extend(
        order
            .iter()
            .filter(|name| !columns.iter().any(|column| column.name == name.as_str()))
            .map(|name| format!("`{name}`, which orders the rows, is missing")),
    );
    if !problems.is_empty() {
        return Err(LakeError::WrongColumns { table: path.to_owned(), problems: problems.join("; ") });
    }
    let others = columns.iter().map(|column| column.name).filter(|name| !order.iter().any(|first| first == name));
    let sorted: Vec<SortExpr> =
        order.iter().map(String::as_str).chain(others).map(|name| ident(name).sort(true, true)).collect();
    let failed = |error| LakeError::reading(path, "read the rows of", error);
    frame.select(selected).map_err(failed)?.sort(sorted).map_err(failed)
}

/// A column as the type that rows are made of. Texts stay as they are, in whichever way they are held.
fn value_of(column: &Column, found: &DataType) -> Expr {
    let expected = arrow_type(column.column_type);
    if *found == expected || (column.column_type == ColumnType::Text && is_text(found)) {
        return ident(column.name);
    }
    cast(ident(column.name), expected).alias(column.name)
}

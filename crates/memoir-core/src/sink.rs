//! Where rows go, as the engine sees it: tables that are only appended to, with a durable mark for each writer.

use crate::table::{RowBuffer, TableSchema};

/// The mark of one writer in one table: what Delta calls an application transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// Who writes.
    pub app_id: String,
    /// How far it has written.
    pub version: i64,
}

#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// Somebody else has written under the same `app_id`, beyond what this writer knows of.
    #[error(
        "table {table} already holds version {found} of writer {app_id}, this process wrote {own}: another process runs \
         the same query; stop one of them"
    )]
    Fenced { table: String, app_id: String, found: i64, own: i64 },
    /// What failed, on what, and what to do.
    #[error("table {table}: {message}")]
    Failed {
        table: String,
        message: String,
        #[source]
        cause: Option<Box<dyn std::error::Error + Send + Sync>>,
        /// Whether the same call may go through later.
        transient: bool,
    },
}

/// Appends rows to tables. Blocking: it has a thread of its own.
pub trait Sink: Send + Sync {
    /// How far a writer has written to a table: the version of its latest transaction, `None` where it never wrote.
    ///
    /// # Errors
    /// When the table is not there or can't be read.
    fn committed(&self, table: &TableSchema, app_id: &str) -> Result<Option<i64>, SinkError>;

    /// Appends the rows and sets the marks, both or neither, durably. When the outcome of a commit is not known, or
    /// another writer came between, the marks in the table decide: what landed is not appended again. No rows at all
    /// only sets the marks.
    ///
    /// # Errors
    /// [`SinkError::Fenced`] when a mark has moved that only this writer may move.
    fn append(&self, table: &TableSchema, rows: &[RowBuffer], marks: &[Transaction]) -> Result<(), SinkError>;
}

/// Rows of a table, a buffer at a time.
pub type Rows<'a> = Box<dyn Iterator<Item = Result<RowBuffer, SinkError>> + 'a>;

/// Reads back what a sink appended. Blocking, as the sink is; memory does not grow with the table.
pub trait TableScan: Send + Sync {
    /// Whether there is such a table.
    ///
    /// # Errors
    /// When the place can't be looked at.
    fn exists(&self, table: &TableSchema) -> Result<bool, SinkError>;

    /// All rows of a table that is there, in the order of these columns.
    ///
    /// # Errors
    /// When the table can't be read; also each item of the rows.
    fn rows(&self, table: &'static TableSchema, order: &[&str]) -> Result<Rows<'_>, SinkError>;
}

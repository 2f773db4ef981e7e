//! What can go wrong with tables: each error names the table or place, what failed, and what a person can do.

use std::error::Error as StdError;

use deltalake::datafusion::error::DataFusionError;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::object_store;
use deltalake::{DeltaTableError, ObjectStoreError};
use memoir_core::sink::SinkError;
use memoir_core::table::RowError;

/// Everything that a table operation can fail with.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error("there is no table at {table}: `memoir setup` creates it")]
    TableMissing { table: String },
    #[error("{table} is no Delta table, though something is there ({found}): move it away, or name another warehouse")]
    NotADeltaTable { table: String, found: String },
    #[error("no permission to {doing} {table}: give this user the right to, or name another warehouse")]
    PermissionDenied { table: String, doing: &'static str, cause: String },
    #[error("table {table} uses {feature}, which Memoir does not support: turn it off, or use another table")]
    Unsupported { table: String, feature: String },
    #[error("table {table} has other columns than Memoir needs: {problems}; alter the table, or name another schema")]
    WrongColumns { table: String, problems: String },
    #[error("{uri:?} is no place for a warehouse: {reason}")]
    BadLocation { uri: String, reason: String },
    #[error("a row for table {table} is damaged: {source}")]
    DamagedRow { table: String, source: RowError },
    #[error(
        "table {table} already holds version {found} of writer {app_id}, this process wrote {own}: another process runs \
         the same query; stop one of them"
    )]
    Fenced { table: String, app_id: String, found: i64, own: i64 },
    #[error(
        "table {table} already holds some of what was to be appended (writer {app_id} is at {found}): ask for the \
         committed versions again and append only what is beyond them"
    )]
    PartlyCommitted { table: String, app_id: String, found: i64 },
    #[error("table {table}: {attempts} commits in a row lost against other writers; try again when they rest")]
    Contention { table: String, attempts: usize },
    #[error(
        "version {version} of table {table} is no longer there{}: it was cleaned away before it was read; start a new \
         state, or reconcile this one, and keep log and old files for longer than a source stands still",
        earliest.map_or_else(String::new, |version| format!(" (the log begins at version {version})"))
    )]
    VersionGone { table: String, version: u64, earliest: Option<u64> },
    #[error("{0}")]
    Sql(String),
    #[error("{what} is refused: queries only read; write SELECT, EXPLAIN, DESCRIBE or SHOW")]
    NotReadOnly { what: String },
    #[error("could not {doing} {table}: {source}")]
    Delta {
        table: String,
        doing: &'static str,
        #[source]
        source: Box<DeltaTableError>,
    },
    #[error("could not {doing} {table}: {source}")]
    Reading {
        table: String,
        doing: &'static str,
        #[source]
        source: Box<DataFusionError>,
    },
    #[error("could not {doing} {path}: {source}")]
    Io { path: String, doing: &'static str, source: std::io::Error },
}

impl LakeError {
    /// An error of the Delta library, sorted by what it means for a person.
    pub(crate) fn delta(table: impl Into<String>, doing: &'static str, source: impl Into<DeltaTableError>) -> Self {
        let (table, source) = (table.into(), source.into());
        if is_permission_denied(&source) {
            return Self::PermissionDenied { table, doing, cause: source.to_string() };
        }
        if let DeltaTableError::Transaction { source: TransactionError::UnsupportedTableFeatures(features) } = &source {
            return Self::Unsupported { table, feature: format!("the table features {features:?}") };
        }
        Self::Delta { table, doing, source: Box::new(source) }
    }

    /// An error of the query engine.
    pub(crate) fn reading(table: impl Into<String>, doing: &'static str, source: DataFusionError) -> Self {
        let table = table.into();
        if is_permission_denied(&source) {
            return Self::PermissionDenied { table, doing, cause: source.to_string() };
        }
        Self::Reading { table, doing, source: Box::new(source) }
    }

    /// Whether the same call may go through later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Contention { .. } => true,
            Self::Delta { source, .. } => is_transient(source.as_ref()),
            Self::Reading { source, .. } => is_transient(source.as_ref()),
            _ => false,
        }
    }

    /// Whether the table is not there.
    #[must_use]
    pub fn is_missing_table(&self) -> bool {
        matches!(self, Self::TableMissing { .. })
    }

    /// The error as the engine knows it.
    pub(crate) fn into_sink_error(self, table: &str) -> SinkError {
        match self {
            Self::Fenced { table, app_id, found, own } => SinkError::Fenced { table, app_id, found, own },
            other => SinkError::Failed {
                table: table.to_owned(),
                message: other.to_string(),
                transient: other.is_transient(),
                cause: Some(Box::new(other)),
            },
        }
    }
}

/// The first error of this type in a chain of causes.
fn cause<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn is_permission_denied(error: &(dyn StdError + 'static)) -> bool {
    if let Some(error) = cause::<std::io::Error>(error) {
        return error.kind() == std::io::ErrorKind::PermissionDenied;
    }
    match cause::<ObjectStoreError>(error) {
        Some(object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }) => true,
        Some(_) => false,
        // The kernel hands storage errors on as text.
        None => error.to_string().contains("ermission denied"),
    }
}

/// Whether a file that should be there is not.
pub(crate) fn is_not_found(error: &(dyn StdError + 'static)) -> bool {
    match cause::<ObjectStoreError>(error) {
        Some(error) => matches!(error, object_store::Error::NotFound { .. }),
        // The Parquet reader hands what a store said on as text.
        None => {
            let text = error.to_string();
            text.contains("Object at location") && text.contains("not found")
        }
    }
}

fn is_transient(error: &(dyn StdError + 'static)) -> bool {
    match cause::<ObjectStoreError>(error) {
        // What a store has no word for: time-outs, lost connections, answers of 5xx after all its own attempts.
        Some(object_store::Error::Generic { .. } | object_store::Error::JoinError { .. }) => true,
        Some(_) => false,
        None => cause::<std::io::Error>(error).is_some_and(|error| {
            use std::io::ErrorKind as Kind;
            matches!(
                error.kind(),
                Kind::TimedOut
                    | Kind::Interrupted
                    | Kind::ConnectionReset
                    | Kind::ConnectionAborted
                    | Kind::StorageFull
            )
        }),
    }
}

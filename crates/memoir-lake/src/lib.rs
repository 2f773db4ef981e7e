//! Delta tables: creating them, appending rows to them exactly once, reading them in order, and SQL over all of them.
//!
//! Tables are known only as [`memoir_core::table::TableSchema`]s and rows as bytes; what rows mean is nobody's business
//! here, but for [`view`], which reads the audit table by the names of its columns.
//!
//! A [`Warehouse`] says where tables are, creates and maintains them, and answers SQL. A [`TableWriter`] appends to one
//! table, with a durable mark for each of its writers; [`DeltaSink`] is the engine's sink over several. A
//! [`TableReader`] goes through a table version by version in a stated order. All is async but the sink, which blocks;
//! [`Warehouse::block_on`] serves callers with threads of their own.

mod arrow_to_rows;
mod columns;
mod commit_log;
mod create;
mod error;
mod maintenance;
mod parquet;
mod read;
mod rows_to_arrow;
mod session;
mod sink;
mod small_version;
mod sql;
mod storage;
pub mod view;
mod warehouse;
mod writer;

pub use error::LakeError;
pub use maintenance::Maintained;
pub use read::{Changes, RowStream, TableReader};
pub use sink::DeltaSink;
pub use sql::QueryResult;
pub use warehouse::Warehouse;
pub use writer::TableWriter;

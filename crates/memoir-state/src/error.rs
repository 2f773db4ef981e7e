//! What can go wrong with durable state.

use std::path::PathBuf;

use memoir_core::ShardId;
use memoir_core::cell::CellError;

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("state folder {path}: {message}")]
    Folder {
        path: PathBuf,
        message: String,
        #[source]
        cause: std::io::Error,
    },
    #[error("no state in {path}: `memoir run` creates it, or name another folder with state.path or query.name")]
    NotThere { path: PathBuf },
    #[error(
        "state in {path} is in use by another process: stop that one first, or use another query.name or state.path"
    )]
    Locked { path: PathBuf },
    #[error(
        "state in {path} has format {found}, this program reads format {expected}: run the version of memoir that wrote \
         it, or begin anew under another query.name"
    )]
    Format { path: PathBuf, found: u64, expected: u64 },
    #[error("state in {path} is damaged: {message}; restore a copy of the folder, or see `memoir state reconcile`")]
    Damaged { path: PathBuf, message: String },
    #[error("shard {shard} in {path}: {cause}")]
    Store {
        shard: ShardId,
        path: PathBuf,
        #[source]
        cause: rocksdb::Error,
    },
    #[error(
        "state in {path} can't be repartitioned now: {reason}; let `memoir run --trigger available-now` come to its end \
         first"
    )]
    NotSettled { path: PathBuf, reason: String },
    #[error("shard {shard}: an entry of table {table} is damaged: {reason}")]
    Entry { shard: ShardId, table: &'static str, reason: String },
    #[error("shard {shard}: state of key {key:?}: {cause}")]
    Cell {
        shard: ShardId,
        key: String,
        #[source]
        cause: CellError,
    },
}

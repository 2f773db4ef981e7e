//! The shard's own record: one entry.

use memoir_core::source::Offset;
use memoir_core::{Epoch, ShardId};
use rocksdb::WriteBatch;
use serde::{Deserialize, Serialize};

use crate::{ShardStore, StateError, keys};

/// What a shard knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShardMeta {
    /// The last committed epoch.
    pub epoch: Epoch,
    /// The source that is read, in its own words; empty before the first run.
    pub source: String,
    /// Where reading of each source began. Kept by shard 0 for all.
    pub origins: Vec<Origin>,
    /// The clock in force, by name; empty before the first run.
    pub clock: String,
    /// The tables that carry this state's mark.
    pub attached: Vec<String>,
}

/// Where reading of a source began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    pub source: String,
    pub offsets: Vec<(String, Offset)>,
}

pub(crate) fn put(batch: &mut WriteBatch, meta: &ShardMeta) {
    batch.put(keys::meta(), crate::store::encode(meta));
}

pub(crate) fn read(store: &ShardStore, shard: ShardId) -> Result<ShardMeta, StateError> {
    match store.get(&keys::meta())? {
        Some(bytes) => crate::store::decode(&bytes, shard, "meta"),
        None => Ok(ShardMeta::default()),
    }
}

//! How far each partition of each source was processed: one entry a partition. The offsets of a source that is not read
//! any more stay, so that a state that comes back to it goes on where it was.

use memoir_core::source::Offset;
use rocksdb::WriteBatch;

use crate::keys::{self, Table};
use crate::{ShardStore, StateError};

pub(crate) fn put(batch: &mut WriteBatch, source: &str, partition: &str, offset: &Offset) {
    batch.put(keys::offset(source, partition), crate::store::encode(offset));
}

impl ShardStore {
    /// All partitions of a source with their offsets, in the order of their names.
    ///
    /// # Errors
    /// When an entry can't be read.
    pub fn offsets(&self, source: &str) -> Result<Vec<(String, Offset)>, StateError> {
        let mut offsets = Vec::new();
        self.scan_range(keys::offsets_of(source), Table::Offsets.end(), |key, value| {
            let (of, partition) =
                keys::parse_offset(key).ok_or_else(|| self.damaged("offsets", "a key that is no partition"))?;
            if of != source {
                return Ok(false);
            }
            offsets.push((partition.to_owned(), crate::store::decode(value, self.shard(), "offsets")?));
            Ok(true)
        })?;
        Ok(offsets)
    }
}

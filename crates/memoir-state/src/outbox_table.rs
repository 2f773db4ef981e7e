//! Rows of committed epochs that their tables do not hold yet: one entry a table and epoch. And how far each table's rows
//! were dropped because it held them: one entry a table, which tells a table that lost rows again.

use memoir_core::table::RowBuffer;
use memoir_core::{Epoch, ShardId};
use rocksdb::WriteBatch;

use crate::keys::{self, Table};
use crate::store::encode;
use crate::{ShardStore, StateError};

/// Value of rows: format, number of rows in little endian, rows.
const FORMAT: u8 = 1;
const HEAD: usize = 1 + size_of::<u64>();

pub(crate) fn put(batch: &mut WriteBatch, table: &str, epoch: Epoch, rows: &RowBuffer) {
    let head = [&[FORMAT][..], &rows.rows.to_le_bytes()].concat();
    batch.put(keys::outbox(table, epoch), [head, rows.bytes.clone()].concat());
}

pub(crate) fn delete(batch: &mut WriteBatch, table: &str, epoch: Epoch) {
    batch.delete(keys::outbox(table, epoch));
}

pub(crate) fn put_trimmed_elsewhere(batch: &mut WriteBatch, shard: ShardId, table: &str, through: Epoch) {
    batch.put(keys::trimmed_elsewhere(shard, table), encode(&through));
}

pub(crate) fn put_trimmed(batch: &mut WriteBatch, table: &str, through: Epoch) {
    batch.put(keys::trimmed(table), encode(&through));
}

fn decode(value: &[u8]) -> Option<RowBuffer> {
    let (head, bytes) = value.split_at_checked(HEAD)?;
    let rows = head.strip_prefix(&[FORMAT])?.try_into().ok()?;
    Some(RowBuffer { rows: u64::from_le_bytes(rows), bytes: bytes.to_vec() })
}

impl ShardStore {
    /// The rows of a table in the epochs `after < epoch <= through`, oldest first, until they are more than
    /// `max_bytes`; at least one epoch, if there is any.
    ///
    /// # Errors
    /// When an entry can't be read.
    pub fn outbox(
        &self,
        table: &str,
        after: Epoch,
        through: Epoch,
        max_bytes: usize,
    ) -> Result<Vec<(Epoch, RowBuffer)>, StateError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        self.scan_range(keys::outbox(table, after.next()), keys::outbox(table, through.next()), |key, value| {
            let entry = keys::parse_outbox(key).zip(decode(value));
            let ((_, epoch), rows) = entry.ok_or_else(|| self.damaged("outbox", "an entry that holds no rows"))?;
            bytes += rows.bytes.len();
            found.push((epoch, rows));
            Ok(bytes < max_bytes)
        })?;
        Ok(found)
    }

    /// How many bytes of rows of a table wait.
    ///
    /// # Errors
    /// When the database can't be read.
    pub fn outbox_bytes(&self, table: &str) -> Result<usize, StateError> {
        let mut bytes = 0;
        self.scan_range(keys::outbox(table, Epoch(0)), keys::outbox(table, Epoch(u64::MAX)), |_, value| {
            bytes += value.len().saturating_sub(HEAD);
            Ok(true)
        })?;
        Ok(bytes)
    }

    /// How far a table's rows were dropped because it held them durably; epoch 0 where none were.
    ///
    /// # Errors
    /// When the entry can't be read.
    pub fn trimmed(&self, table: &str) -> Result<Epoch, StateError> {
        match self.get(&keys::trimmed(table))? {
            Some(bytes) => crate::store::decode(&bytes, self.shard(), "trimmed"),
            None => Ok(Epoch(0)),
        }
    }

    /// As [`Self::trimmed`], of shards that a repartition took away: a table still carries their marks. Shard 0 knows.
    ///
    /// # Errors
    /// When an entry can't be read.
    pub fn trimmed_elsewhere(&self) -> Result<Vec<(ShardId, String, Epoch)>, StateError> {
        let mut found = Vec::new();
        self.scan(Table::TrimmedElsewhere, |entry, value| {
            let parsed = keys::parse_trimmed_elsewhere(entry);
            let (shard, table) = parsed.ok_or_else(|| self.damaged("trimmed", "a key that is no shard's"))?;
            found.push((shard, table.to_owned(), crate::store::decode(value, self.shard(), "trimmed")?));
            Ok(())
        })?;
        Ok(found)
    }

    /// Drops the rows of a table in the epochs `epoch <= through`, because the table holds them durably, and notes how
    /// far that is.
    ///
    /// Not synced: after a crash the table's own mark says that they are there, and they are dropped again.
    ///
    /// # Errors
    /// When the database can't be read or written.
    pub fn trim_outbox(&self, table: &str, through: Epoch) -> Result<(), StateError> {
        let mut batch = WriteBatch::default();
        // One by one: the entries are few and large, and range deletions would slow down every later read.
        self.scan_range(keys::outbox(table, Epoch(0)), keys::outbox(table, through.next()), |key, _| {
            batch.delete(key);
            Ok(true)
        })?;
        if through > self.trimmed(table)? {
            put_trimmed(&mut batch, table, through);
        }
        self.write(batch, false)
    }
}

//! What tables hold and the state does not know of yet: filled by a reconcile, used up as the source is read again.
//!
//! Rows that came of a request are held by key, number and table, and are applied when the request is triggered
//! again. Rows that came of a record alone (dead letters, archived events) are only counted, by fingerprint, and a record
//! that would give such a row again gives none. Where a held request is asked again all the same, the tables that hold its rows
//! are noted until it is answered.

use memoir_core::table::RowBuffer;
use rocksdb::WriteBatch;

use crate::keys::{self, Table};
use crate::store::encode;
use crate::{EpochBatch, ShardStore, StateError};

/// The rows that one table holds of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRequestRows {
    pub number: u64,
    pub table: String,
    pub rows: RowBuffer,
}

/// Bytes of a write while clearing.
const BATCH_BYTES: usize = 8 << 20;

pub(crate) fn put_request(batch: &mut WriteBatch, key: &str, number: u64, table: &str, rows: &RowBuffer) {
    batch.put(keys::held_request(key, number, table), encode(&(rows.rows, &rows.bytes)));
}

pub(crate) fn delete_request(batch: &mut WriteBatch, key: &str, number: u64, table: &str) {
    batch.delete(keys::held_request(key, number, table));
}

pub(crate) fn put_back(batch: &mut WriteBatch, key: &str, number: u64, table: &str, is_held: bool) {
    let key = keys::held_back(key, number, table);
    if is_held { batch.put(key, []) } else { batch.delete(key) }
}

pub(crate) fn put_row(batch: &mut WriteBatch, table: &str, fingerprint: u128, times: u64) {
    let key = keys::held_row(table, fingerprint);
    if times == 0 { batch.delete(key) } else { batch.put(key, encode(&times)) }
}

pub(crate) fn put_reconciling(batch: &mut WriteBatch, is_under_way: bool) {
    if is_under_way { batch.put(keys::reconciling(), []) } else { batch.delete(keys::reconciling()) }
}

impl ShardStore {
    /// What tables hold of a key's requests, in the order of their numbers.
    ///
    /// # Errors
    /// When an entry can't be read; so do the methods below.
    pub fn held_requests(&self, key: &str) -> Result<Vec<HeldRequestRows>, StateError> {
        let prefix = keys::held_requests_of(key);
        let mut found = Vec::new();
        self.scan_range(prefix.clone(), Table::HeldRequests.end(), |entry, value| {
            if !entry.starts_with(&prefix) {
                return Ok(false);
            }
            let parsed = keys::parse_held_request(entry);
            let (_, number, table) = parsed.ok_or_else(|| self.damaged("held requests", "a key that is no request"))?;
            let (rows, bytes) = crate::store::decode(value, self.shard(), "held requests")?;
            found.push(HeldRequestRows { number, table: table.to_owned(), rows: RowBuffer { rows, bytes } });
            Ok(true)
        })?;
        Ok(found)
    }

    /// The pending requests of which tables hold rows already: key, number and table.
    pub fn held_back(&self) -> Result<Vec<(String, u64, String)>, StateError> {
        let mut found = Vec::new();
        self.scan(Table::HeldBack, |entry, _| {
            let parsed = keys::parse_held_request(entry);
            let (key, number, table) = parsed.ok_or_else(|| self.damaged("held back", "a key that is no request"))?;
            found.push((key, number, table.to_owned()));
            Ok(())
        })?;
        Ok(found)
    }

    /// How often a table holds a row that the source will give again.
    pub fn held_row(&self, table: &str, fingerprint: u128) -> Result<u64, StateError> {
        match self.get(&keys::held_row(table, fingerprint))? {
            Some(bytes) => crate::store::decode(&bytes, self.shard(), "held rows"),
            None => Ok(0),
        }
    }

    /// Whether any request is held, and whether any row is.
    pub fn holds(&self) -> Result<(bool, bool), StateError> {
        Ok((self.has_entries(Table::HeldRequests)?, self.has_entries(Table::HeldRows)?))
    }

    /// Forgets all that is held.
    ///
    /// # Errors
    /// When the database can't be read or written; some of it may then be forgotten.
    pub fn clear_held(&self) -> Result<(), StateError> {
        for table in [Table::HeldRequests, Table::HeldRows] {
            let mut batch = WriteBatch::default();
            self.scan(table, |key, _| {
                batch.delete(key);
                if batch.size_in_bytes() >= BATCH_BYTES {
                    self.write(std::mem::take(&mut batch), false)?;
                }
                Ok(())
            })?;
            self.write(batch, true)?;
        }
        Ok(())
    }

    /// Whether a reconcile has begun and not come to its end. Shard 0 knows for all.
    pub fn is_reconciling(&self) -> Result<bool, StateError> {
        Ok(self.get(&keys::reconciling())?.is_some())
    }

    /// Writes a part of something larger that a later, synced write completes.
    ///
    /// # Errors
    /// When the database can't be written.
    pub fn write_part(&self, batch: EpochBatch) -> Result<(), StateError> {
        self.write(batch.into_inner(), false)
    }

    fn has_entries(&self, table: Table) -> Result<bool, StateError> {
        let mut found = false;
        self.scan_range(table.start(), table.end(), |_, _| {
            found = true;
            Ok(false)
        })?;
        Ok(found)
    }
}

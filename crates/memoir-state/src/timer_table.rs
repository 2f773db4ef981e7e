//! Timers in the order of their due times: one entry a key that holds one.
//!
//! Timers are taken from the front, which leaves tombstones there. Whoever scans says from where, so that no scan
//! walks over the tombstones of those before it.

use memoir_core::Timestamp;
use rocksdb::WriteBatch;

use crate::keys::{self, Table};
use crate::{ShardStore, StateError};

/// A timer: when it is due, and whose it is. The order is that of the table.
pub type Timer = (Timestamp, String);

pub(crate) fn set(batch: &mut WriteBatch, key: &str, stored: Option<Timestamp>, due: Option<Timestamp>) {
    if let Some(stored) = stored {
        batch.delete(keys::timer(stored, key));
    }
    if let Some(due) = due {
        batch.put(keys::timer(due, key), []);
    }
}

impl ShardStore {
    /// At most `limit` timers, from `from` on (itself included), none due after `until`.
    ///
    /// # Errors
    /// When an entry can't be read.
    pub fn timers(&self, from: &Timer, until: Timestamp, limit: usize) -> Result<Vec<Timer>, StateError> {
        let end = if until < Timestamp::MAX { keys::timer_from(until.next()) } else { Table::Timers.end() };
        let mut timers = Vec::new();
        self.scan_range(keys::timer(from.0, &from.1), end, |key, _| {
            let (due, key) = keys::parse_timer(key).ok_or_else(|| self.damaged("timers", "a key that is no timer"))?;
            timers.push((due, key.to_owned()));
            Ok(timers.len() < limit)
        })?;
        Ok(timers)
    }
}

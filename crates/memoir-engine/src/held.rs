//! What tables hold and a shard does not know of yet: left by a reconcile, and used up as the source is read again.
//!
//! What is used up is deleted in the epoch that used it; until that is committed it is remembered here, because the
//! database still has it.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use memoir_core::processor::HeldRequest;
use memoir_core::table::{RowBuffer, TableSchema};
use memoir_state::{EpochBatch, ShardStore};

use crate::EngineError;

pub(crate) struct Held {
    has_requests: bool,
    has_rows: bool,
    /// By key, the number up to which this epoch used requests up.
    used_requests: HashMap<String, u64>,
    /// How often this epoch used a row of a table up.
    used_rows: HashMap<(&'static str, u128), u64>,
    /// The tables that hold rows of requests that are asked again.
    back: BTreeMap<(String, u64), BTreeSet<String>>,
}

/// How much of the epoch's rows was there before a request was answered, for the tables that get none of its rows.
pub(crate) struct RowsBefore(Vec<(usize, u64, usize)>);

impl RowsBefore {
    /// Takes the rows that came since away again.
    pub fn restore(self, rows: &mut [RowBuffer]) {
        for (at, count, bytes) in self.0 {
            if let Some(rows) = rows.get_mut(at) {
                rows.rows = count;
                rows.bytes.truncate(bytes);
            }
        }
    }
}

impl Held {
    pub fn open(store: &ShardStore) -> Result<Self, EngineError> {
        let (has_requests, has_rows) = store.holds()?;
        let mut back: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (key, number, table) in store.held_back()? {
            back.entry((key, number)).or_default().insert(table);
        }
        Ok(Self { has_requests, has_rows, used_requests: HashMap::new(), used_rows: HashMap::new(), back })
    }

    /// Whether there was anything to be used up when the shard was opened: most shards never look further.
    pub fn has_requests(&self) -> bool {
        self.has_requests
    }

    /// What the tables hold of a key's requests, in the order of their numbers.
    pub fn requests(
        &self,
        store: &ShardStore,
        key: &str,
        tables: &[&'static TableSchema],
    ) -> Result<Vec<HeldRequest>, EngineError> {
        let used = self.used_requests.get(key).copied().unwrap_or(0);
        let mut requests = of_key(store, key, tables)?;
        requests.retain(|held| held.number > used);
        Ok(requests)
    }

    /// Uses requests of a key up, and returns how many those are.
    pub fn use_requests(
        &mut self,
        key: &str,
        held: &[HeldRequest],
        through: u64,
        tables: &[&'static TableSchema],
        batch: &mut EpochBatch,
    ) -> u64 {
        let mut count = 0;
        for held in held.iter().take_while(|held| held.number <= through) {
            delete(key, held, tables, batch);
            count += 1;
        }
        self.used_requests.insert(key.to_owned(), through);
        count
    }

    /// A held request is asked again: the tables that hold its rows get none of the answer.
    pub fn ask_again(
        &mut self,
        key: &str,
        held: &HeldRequest,
        tables: &[&'static TableSchema],
        batch: &mut EpochBatch,
    ) {
        delete(key, held, tables, batch);
        let back = self.back.entry((key.to_owned(), held.number)).or_default();
        for (table, _) in tables.iter().zip(&held.tables).filter(|(_, rows)| rows.is_some()) {
            batch.put_held_back(key, held.number, table.name, true);
            back.insert(table.name.to_owned());
        }
        self.used_requests.insert(key.to_owned(), held.number);
    }

    /// Call before a request is answered, and [`RowsBefore::restore`] the epoch's rows after it.
    pub fn before_answer(
        &mut self,
        key: &str,
        number: u64,
        tables: &[&'static TableSchema],
        rows: &[RowBuffer],
        batch: &mut EpochBatch,
    ) -> RowsBefore {
        if self.back.is_empty() {
            return RowsBefore(Vec::new());
        }
        let Some(back) = self.back.remove(&(key.to_owned(), number)) else { return RowsBefore(Vec::new()) };
        let mut before = Vec::new();
        for (at, (table, rows)) in tables.iter().zip(rows).enumerate() {
            if back.contains(table.name) {
                batch.put_held_back(key, number, table.name, false);
                before.push((at, rows.rows, rows.bytes.len()));
            }
        }
        RowsBefore(before)
    }

    /// Whether the table holds the row already, which uses that up.
    pub fn use_row(
        &mut self,
        store: &ShardStore,
        table: &'static str,
        fingerprint: impl FnOnce() -> u128,
        batch: &mut EpochBatch,
    ) -> Result<bool, EngineError> {
        if !self.has_rows {
            return Ok(false);
        }
        let fingerprint = fingerprint();
        let times = store.held_row(table, fingerprint)?;
        let used = self.used_rows.entry((table, fingerprint)).or_default();
        if *used >= times {
            return Ok(false);
        }
        *used += 1;
        batch.put_held_row(table, fingerprint, times - *used);
        Ok(true)
    }

    /// The epoch that used things up is committed.
    pub fn committed(&mut self) {
        self.used_requests.clear();
        self.used_rows.clear();
    }
}

/// What the tables hold of a key's requests, as the database has it.
pub(crate) fn of_key(
    store: &ShardStore,
    key: &str,
    tables: &[&'static TableSchema],
) -> Result<Vec<HeldRequest>, EngineError> {
    let mut requests: Vec<HeldRequest> = Vec::new();
    for entry in store.held_requests(key)? {
        if requests.last().is_none_or(|last| last.number != entry.number) {
            requests.push(HeldRequest { number: entry.number, tables: vec![None; tables.len()] });
        }
        let at = tables.iter().position(|table| table.name == entry.table);
        let of_table = requests.last_mut().zip(at).and_then(|(request, at)| request.tables.get_mut(at));
        if let Some(of_table) = of_table {
            *of_table = Some(entry.rows);
        }
    }
    Ok(requests)
}

/// Deletes what is held of one request.
pub(crate) fn delete(key: &str, held: &HeldRequest, tables: &[&'static TableSchema], batch: &mut EpochBatch) {
    for (table, rows) in tables.iter().zip(&held.tables) {
        if rows.is_some() {
            batch.delete_held_request(key, held.number, table.name);
        }
    }
}

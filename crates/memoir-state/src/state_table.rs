//! The cells of each key: one entry an item, all entries of a key side by side.

use memoir_core::Timestamp;
use memoir_core::cell::{CellId, KeyedState};
use rocksdb::{DBRawIterator, WriteBatch};

use crate::keys::{self, TIMER_CELL, Table};
use crate::{ShardStore, StateError};

/// The state of a key as it is stored.
#[derive(Debug, Default)]
pub struct Loaded<S> {
    pub state: S,
    /// The due time under which the key stands in the timer table.
    pub timer: Option<Timestamp>,
    /// Whether anything is stored for the key.
    pub exists: bool,
}

/// Writes what changed in a state, and moves its timer. `scratch` is for reuse.
pub(crate) fn put<S: KeyedState>(
    batch: &mut WriteBatch,
    key: &str,
    state: &mut S,
    stored_timer: Option<Timestamp>,
    timer: Option<Timestamp>,
    scratch: &mut Vec<u8>,
) {
    keys::state_prefix(key, scratch);
    let prefix = scratch.len();
    for (id, _) in S::CELLS {
        let Some(cell) = state.cell(*id) else { continue };
        scratch.push(id.0);
        let stem = scratch.len();
        cell.flush(&mut |sub_key, value| {
            scratch.truncate(stem);
            scratch.extend_from_slice(sub_key);
            match value {
                Some(value) => batch.put(&*scratch, value),
                None => batch.delete(&*scratch),
            }
        });
        scratch.truncate(prefix);
    }
    if stored_timer != timer {
        scratch.push(TIMER_CELL.0);
        match timer {
            Some(due) => batch.put(&*scratch, due.as_micros().to_le_bytes()),
            None => batch.delete(&*scratch),
        }
        crate::timer_table::set(batch, key, stored_timer, timer);
    }
}

/// Reads the states of many keys with one iterator. It sees the database as it was when the reader was made.
pub struct StateReader<'a> {
    store: &'a ShardStore,
    iterator: DBRawIterator<'a>,
    prefix: Vec<u8>,
}

impl<'a> StateReader<'a> {
    pub(crate) fn new(store: &'a ShardStore, iterator: DBRawIterator<'a>) -> Self {
        Self { store, iterator, prefix: Vec::new() }
    }

    /// The state of a key: one seek and a scan of its entries. A key that is not stored has the default state.
    ///
    /// # Errors
    /// When the database can't be read, or an entry does not decode.
    pub fn load<S: KeyedState>(&mut self, key: &str) -> Result<Loaded<S>, StateError> {
        let mut loaded = Loaded { state: S::default(), timer: None, exists: false };
        keys::state_prefix(key, &mut self.prefix);
        self.iterator.seek(&self.prefix);
        while let Some((entry, value)) = self.iterator.item() {
            let Some(rest) = entry.strip_prefix(self.prefix.as_slice()) else { break };
            let Some((cell, sub_key)) = rest.split_first() else { break };
            take_entry(self.store, key, &mut loaded, CellId(*cell), sub_key, value)?;
            self.iterator.next();
        }
        self.iterator.status().map_err(|cause| self.store.failed(cause))?;
        Ok(loaded)
    }
}

fn take_entry<S: KeyedState>(
    store: &ShardStore,
    key: &str,
    loaded: &mut Loaded<S>,
    cell: CellId,
    sub_key: &[u8],
    value: &[u8],
) -> Result<(), StateError> {
    loaded.exists = true;
    if cell == TIMER_CELL {
        let due = value.try_into().map_err(|_| store.damaged("state", "a due time that is not eight bytes"))?;
        loaded.timer = Some(Timestamp::from_micros(i64::from_le_bytes(due)));
        return Ok(());
    }
    let target =
        loaded.state.cell(cell).ok_or_else(|| store.damaged("state", "a cell that this program does not know"))?;
    target.load(sub_key, value).map_err(|cause| StateError::Cell { shard: store.shard(), key: key.to_owned(), cause })
}

impl ShardStore {
    /// Calls `visit` for every key in the order of the keys, until it returns `false`.
    ///
    /// # Errors
    /// When an entry can't be read, or `visit` fails.
    pub fn visit_states<S, E>(&self, mut visit: impl FnMut(&str, Loaded<S>) -> Result<bool, E>) -> Result<(), E>
    where
        S: KeyedState,
        E: From<StateError>,
    {
        let mut reader = self.reader();
        reader.iterator.seek(Table::State.start());
        while let Some(entry) = reader.iterator.key() {
            let Some((prefix, ..)) = keys::split_state(entry) else { break };
            let key = keys::parse_state_prefix(prefix);
            let key = key.ok_or_else(|| self.damaged("state", "a key that is not UTF-8"))?;
            // Loading leaves the iterator on the first entry of the next key.
            if !visit(&key, reader.load(&key)?)? {
                return Ok(());
            }
        }
        reader.iterator.status().map_err(|cause| self.failed(cause))?;
        Ok(())
    }
}

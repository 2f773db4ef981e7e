//! The states of a shard that are in memory: those that changed since the last commit, and those that were used lately.
//!
//! What changed stays until it is committed; what is clean may go. The budget is looked at once a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use memoir_core::Timestamp;
use memoir_core::cell::KeyedState;
use memoir_state::Loaded;

/// A state in memory.
pub(crate) struct Cached<S> {
    pub state: S,
    /// The due time under which the key stands in the timer table.
    pub stored_timer: Option<Timestamp>,
    dirty: bool,
    /// The epoch in which it was last used.
    used: u64,
    bytes: usize,
}

/// States by key.
pub(crate) struct StateCache<S> {
    states: HashMap<Arc<str>, Cached<S>>,
    /// The keys of states that changed.
    dirty: Vec<Arc<str>>,
    /// What the clean states take; what changed is counted when it is committed.
    bytes: usize,
    budget: usize,
}

/// About what an entry costs beside key and state.
const ENTRY_BYTES: usize = 64;

impl<S: KeyedState> StateCache<S> {
    pub fn new(budget: usize) -> Self {
        Self { states: HashMap::new(), dirty: Vec::new(), bytes: 0, budget }
    }

    /// The state of a key, to be changed in epoch `epoch`; `load` reads what is not in memory.
    pub fn change<E>(
        &mut self,
        key: &str,
        epoch: u64,
        load: impl FnOnce() -> Result<Loaded<S>, E>,
    ) -> Result<&mut Cached<S>, E> {
        let cached = match self.states.entry_ref(key) {
            EntryRef::Occupied(entry) => entry.into_mut(),
            EntryRef::Vacant(entry) => {
                let Loaded { state, timer, .. } = load()?;
                let cached = Cached { state, stored_timer: timer, dirty: false, used: epoch, bytes: 0 };
                entry.insert_with_key(key.into(), cached)
            }
        };
        cached.used = epoch;
        if !cached.dirty {
            cached.dirty = true;
            self.dirty.push(key.into());
        }
        Ok(cached)
    }

    pub fn has_changes(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// How many states changed.
    pub fn changes(&self) -> usize {
        self.dirty.len()
    }

    /// Hands out the states that changed, and takes them as clean from here on.
    pub fn take_changes(&mut self, mut visit: impl FnMut(&str, &mut Cached<S>)) {
        for key in self.dirty.drain(..) {
            let Some(cached) = self.states.get_mut(&key) else { continue };
            visit(&key, cached);
            cached.dirty = false;
            self.bytes -= cached.bytes;
            cached.bytes = cached.state.heap_bytes() + size_of::<Cached<S>>() + key.len() + ENTRY_BYTES;
            self.bytes += cached.bytes;
        }
    }

    /// Drops the states that were not used for the longest time, until the rest fits. Call right after a commit.
    pub fn evict(&mut self) {
        if self.bytes <= self.budget {
            return;
        }
        // Some more than must be, so that not every commit has to look for them.
        let keep = self.budget / 4 * 3;
        let mut by_epoch: BTreeMap<u64, usize> = BTreeMap::new();
        for cached in self.states.values() {
            *by_epoch.entry(cached.used).or_default() += cached.bytes;
        }
        let mut kept = 0;
        let oldest_kept = by_epoch.iter().rev().find_map(|(epoch, bytes)| {
            kept += bytes;
            (kept > keep).then_some(*epoch)
        });
        let Some(cutoff) = oldest_kept else { return };
        self.states.retain(|_, cached| cached.dirty || cached.used > cutoff);
        self.states.shrink_to_fit();
        self.bytes = self.states.values().map(|cached| cached.bytes).sum();
    }
}

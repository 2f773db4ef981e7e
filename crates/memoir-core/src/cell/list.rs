//! A bounded list of the newest items, one stored entry an item.
//!
//! Items carry the sequence number that their owner gives them, and live in slots: item `seq` of a list of capacity `n`
//! lives in slot `seq % n`. A new item takes the slot of the one that falls out, so a list in use writes one entry an
//! item and deletes nothing: no tombstones that later scans would walk over.

use std::collections::VecDeque;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cell, CellError, FORMAT, WriteEntry, body, decode_body, encode_after, to_json};

/// The newest items in the order of their sequence numbers, each still encoded.
#[derive(Clone, Debug)]
pub struct ListState<T> {
    items: VecDeque<Item>,
    /// Items from this sequence number on are not stored yet.
    dirty_from: u64,
    /// Slots whose entries are to be deleted.
    vacated: Vec<u16>,
    bytes: usize,
    items_are: PhantomData<fn() -> T>,
}

#[derive(Clone, Debug)]
struct Item {
    seq: u64,
    slot: u16,
    /// What is stored: version byte, sequence number, the encoded item.
    entry: Box<[u8]>,
}

const HEAD: usize = 1 + size_of::<u64>();

impl<T> Default for ListState<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), dirty_from: 0, vacated: Vec::new(), bytes: 0, items_are: PhantomData }
    }
}

impl<T> ListState<T> {
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The sequence number of the oldest item.
    #[must_use]
    pub fn first_seq(&self) -> Option<u64> {
        self.items.front().map(|item| item.seq)
    }

    /// The sequence numbers with the encoded items, without version byte and number, oldest first.
    pub fn iter_encoded(&self) -> impl DoubleEndedIterator<Item = (u64, &[u8])> {
        self.items.iter().map(|item| (item.seq, item.encoded()))
    }

    /// Drops the oldest item.
    pub fn pop_front(&mut self) {
        if let Some(item) = self.items.pop_front() {
            self.bytes -= item.entry.len();
            self.vacated.push(item.slot);
        }
    }

    fn slot(seq: u64, capacity: u16) -> u16 {
        // Below `capacity`, which is a u16.
        #[allow(clippy::cast_possible_truncation)]
        let slot = (seq % u64::from(capacity.max(1))) as u16;
        slot
    }

    /// Moves every item to the slot that it has in a list of this capacity, and drops what is too much.
    fn fit(&mut self, capacity: u16) {
        while self.items.len() > usize::from(capacity) {
            self.pop_front();
        }
        if self.items.iter().all(|item| item.slot == Self::slot(item.seq, capacity)) {
            return;
        }
        self.vacated.extend(self.items.iter().map(|item| item.slot));
        for item in &mut self.items {
            item.slot = Self::slot(item.seq, capacity);
        }
        self.dirty_from = 0;
    }
}

impl Item {
    fn encoded(&self) -> &[u8] {
        self.entry.get(HEAD..).unwrap_or_default()
    }
}

impl<T: Serialize + DeserializeOwned> ListState<T> {
    /// Adds an item. `seq` must be above that of every item before it. Where the list then holds more than
    /// `capacity` (at least 1) items, the oldest fall out.
    pub fn push(&mut self, seq: u64, item: &T, capacity: u16) {
        self.put_back(seq, item, capacity);
    }

    /// Replaces the newest item, or adds one where there is none.
    pub fn replace_last(&mut self, seq: u64, item: &T, capacity: u16) {
        if self.items.back().is_some_and(|last| last.seq == seq)
            && let Some(last) = self.items.pop_back()
        {
            self.bytes -= last.entry.len();
            if last.slot != Self::slot(seq, capacity) {
                self.vacated.push(last.slot);
            }
        }
        self.put_back(seq, item, capacity);
    }

    fn put_back(&mut self, seq: u64, item: &T, capacity: u16) {
        let mut entry = Vec::with_capacity(HEAD + 64);
        entry.push(FORMAT);
        entry.extend_from_slice(&seq.to_le_bytes());
        let entry = encode_after(entry, item).into_boxed_slice();
        self.bytes += entry.len();
        self.items.push_back(Item { seq, slot: Self::slot(seq, capacity), entry });
        self.dirty_from = self.dirty_from.min(seq);
        // In the common case the item that falls out lived in the slot that was just taken.
        if self.items.len() > usize::from(capacity)
            && let Some(oldest) = self.items.front()
            && oldest.slot == Self::slot(seq, capacity)
            && let Some(oldest) = self.items.pop_front()
        {
            self.bytes -= oldest.entry.len();
        }
        self.fit(capacity);
    }

    /// The items with their sequence numbers, oldest first.
    ///
    /// # Errors
    /// An item that does not decode.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Result<(u64, T), CellError>> {
        self.items.iter().map(|item| Ok((item.seq, decode_body(item.encoded())?)))
    }

    /// The oldest item.
    ///
    /// # Errors
    /// When it does not decode.
    pub fn front(&self) -> Result<Option<(u64, T)>, CellError> {
        self.iter().next().transpose()
    }
}

impl<T: Serialize + DeserializeOwned> Cell for ListState<T> {
    fn load(&mut self, sub_key: &[u8], value: &[u8]) -> Result<(), CellError> {
        let slot = sub_key.try_into().map(u16::from_be_bytes);
        let slot = slot.map_err(|_| CellError::SubKey { found: sub_key.len(), expected: "a slot of two bytes" })?;
        let seq = body(value)?.first_chunk().copied().map(u64::from_le_bytes);
        let seq = seq.ok_or(CellError::Malformed {
            type_name: std::any::type_name::<T>(),
            reason: format!("{} bytes hold no sequence number", value.len()),
        })?;
        self.bytes += value.len();
        let item = Item { seq, slot, entry: value.into() };
        // Slots come in order, so the items come as two ascending runs.
        let at = self.items.partition_point(|other| other.seq < seq);
        self.items.insert(at, item);
        self.dirty_from = self.items.back().map_or(0, |last| last.seq + 1);
        Ok(())
    }

    fn flush(&mut self, write: &mut WriteEntry<'_>) {
        for slot in self.vacated.drain(..) {
            write(&slot.to_be_bytes(), None);
        }
        let stored = self.items.partition_point(|item| item.seq < self.dirty_from);
        for item in self.items.range(stored..) {
            write(&item.slot.to_be_bytes(), Some(&item.entry));
        }
        self.dirty_from = self.items.back().map_or(0, |last| last.seq + 1);
    }

    fn heap_bytes(&self) -> usize {
        self.bytes + self.items.capacity() * size_of::<Item>()
    }

    fn inspect(&self) -> Result<Vec<(String, serde_json::Value)>, CellError> {
        self.iter().map(|item| item.and_then(|(seq, item)| Ok((seq.to_string(), to_json(&item)?)))).collect()
    }
}

//! What is kept for one user.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::extraction::Message;
use super::fact::Fact;
use crate::cell::{Cell, CellError, CellId, KeyedState, ListState, MapState, ValueState};
use crate::time::Timestamp;

/// The counters of one user.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The user's clock: it never goes back. `None` before the first event.
    pub clock: Option<Timestamp>,
    /// User messages since the last emission.
    pub pending: u32,
    /// The clock at which the oldest of them was added.
    pub pending_since: Option<Timestamp>,
    /// The sequence number of the next message.
    pub next_seq: u64,
    /// Messages with a lower sequence number have been in a window.
    pub fresh_from: u64,
    /// Emissions so far: the number of the last one.
    pub emissions: u64,
    pub last_emission: Option<Timestamp>,
    /// Event ids remembered so far.
    pub seen: u64,
}

/// The state of one user.
#[derive(Clone, Debug, Default)]
pub struct UserState {
    pub header: ValueState<Header>,
    /// The last conversations, the one with the latest event first.
    pub conversations: ValueState<Vec<String>>,
    pub messages: ListState<Message>,
    seen: ListState<SeenChunk>,
    pub facts: MapState<Fact>,
    /// For a deleted key, the sequence number of the message that it was deleted on: kept as long as a window may hold
    /// that message or older ones.
    pub forgotten: MapState<u64>,
}

/// Remembered event ids: the 64-bit hash and the clock at which each was seen, both in little endian. Sixteen bytes an
/// id, in chunks, so that an event rewrites one chunk and not all of them.
type SeenChunk = Vec<[u8; SEEN_BYTES]>;

const SEEN_BYTES: usize = 16;
const CHUNK: u64 = 16;

impl KeyedState for UserState {
    const CELLS: &'static [(CellId, &'static str)] = &[
        (CellId(1), "header"),
        (CellId(2), "conversations"),
        (CellId(3), "messages"),
        (CellId(4), "seen"),
        (CellId(5), "facts"),
        (CellId(6), "forgotten"),
    ];

    fn cell(&mut self, id: CellId) -> Option<&mut dyn Cell> {
        Some(match id.0 {
            1 => &mut self.header,
            2 => &mut self.conversations,
            3 => &mut self.messages,
            4 => &mut self.seen,
            5 => &mut self.facts,
            6 => &mut self.forgotten,
            _ => return None,
        })
    }
}

impl UserState {
    /// Whether this event id is among the last `window` remembered ones, none of them remembered before `oldest`.
    #[must_use]
    pub fn has_seen(&self, event_id: &str, window: u16, oldest: Option<Timestamp>) -> bool {
        let hash = xxh3_64(event_id.as_bytes()).to_le_bytes();
        let first = self.header.seen.saturating_sub(u64::from(window));
        self.seen.iter_encoded().rev().any(|(chunk, encoded)| {
            // Behind the length byte that stands before the ids of a chunk.
            let ids = encoded.get(1..).unwrap_or_default().chunks_exact(SEEN_BYTES);
            ids.zip(chunk * CHUNK..).any(|(id, number)| {
                id.starts_with(&hash)
                    && number >= first
                    && oldest.is_none_or(|oldest| {
                        id.last_chunk().is_some_and(|at| i64::from_le_bytes(*at) >= oldest.as_micros())
                    })
            })
        })
    }

    /// Remembers an event id.
    ///
    /// # Errors
    /// When the newest chunk does not decode.
    pub fn remember(&mut self, event_id: &str, at: Timestamp, window: u16) -> Result<(), CellError> {
        let number = self.header.seen;
        let chunk = number / CHUNK;
        let mut ids = match self.seen.iter().next_back().transpose()? {
            Some((newest, ids)) if newest == chunk => ids,
            _ => Vec::with_capacity(1),
        };
        let mut id = [0; SEEN_BYTES];
        let (hash, clock) = id.split_at_mut(SEEN_BYTES / 2);
        hash.copy_from_slice(&xxh3_64(event_id.as_bytes()).to_le_bytes());
        clock.copy_from_slice(&at.as_micros().to_le_bytes());
        ids.push(id);
        // One chunk more than the window needs, as the newest is rarely full.
        let chunks = u64::from(window).div_ceil(CHUNK) + 1;
        self.seen.replace_last(chunk, &ids, u16::try_from(chunks).unwrap_or(u16::MAX));
        self.header.edit().seen = number + 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_id_is_seen_exactly_while_it_is_among_the_last_of_the_window(ids in prop::collection::vec(0u16..60, 0..200), window in 1u16..40) {
            let mut state = UserState::default();
            let mut model: Vec<u16> = Vec::new();
            for id in ids {
                let from = model.len().saturating_sub(usize::from(window));
                let seen = model[from..].contains(&id);
                prop_assert_eq!(state.has_seen(&id.to_string(), window, None), seen);
                if !seen {
                    state.remember(&id.to_string(), Timestamp::from_micros(0), window).unwrap();
                    model.push(id);
                }
            }
        }
    }
}

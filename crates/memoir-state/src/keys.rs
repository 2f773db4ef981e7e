//! All key layouts of a shard's database, in one place.
//!
//! A key begins with the byte of its table. Numbers are big endian, so that byte order is their order. Texts inside of
//! a key are escaped so that no text is a prefix of another and byte order is the order of the texts: a zero byte
//! becomes `00 FF`, and `00 00` ends the text.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | meta | `01` | the shard's own record |
//! | offsets | `02` source, escaped; partition | position and notes |
//! | timers | `03` due (sign flipped) key | nothing |
//! | pending | `04` key, escaped; number | a request |
//! | outbox | `05` table name, escaped; epoch | rows |
//! | state | `06` key, escaped; cell; sub-key | an entry of the cell |
//! | held requests | `07` key, escaped; number; table name | rows that the table holds of a request |
//! | held rows | `08` table name, escaped; fingerprint | how often the table holds a row |
//! | trimmed | `09` table name | the last epoch that was trimmed from the outbox |
//! | reconciling | `0a` | nothing; there while a reconcile is under way |
//! | trimmed elsewhere | `0c` shard, table name | as trimmed, of a shard that a repartition took away; kept by shard 0 |
//! | held back | `0b` key, escaped; number; table name | nothing: the table holds this pending request's rows |
//!
//! All cells of a key stand together, so reading a key is one seek and one short scan. Cell 0 is the engine's own: the
//! due time under which the key stands in the timer table.

use memoir_core::cell::CellId;
use memoir_core::{Epoch, ShardId, Timestamp};

/// The tables, by the first byte of their keys. Never reuse a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Table {
    Meta = 1,
    Offsets = 2,
    Timers = 3,
    Pending = 4,
    Outbox = 5,
    State = 6,
    HeldRequests = 7,
    HeldRows = 8,
    Trimmed = 9,
    Reconciling = 10,
    HeldBack = 11,
    TrimmedElsewhere = 12,
}

/// The cell that holds a key's due time.
pub const TIMER_CELL: CellId = CellId(0);

impl Table {
    /// The first key of the table, a prefix of all of them.
    #[must_use]
    pub fn start(self) -> Vec<u8> {
        vec![self as u8]
    }

    /// A key behind all keys of the table.
    #[must_use]
    pub fn end(self) -> Vec<u8> {
        vec![self as u8 + 1]
    }
}

#[must_use]
pub fn meta() -> Vec<u8> {
    Table::Meta.start()
}

#[must_use]
pub fn offset(source: &str, partition: &str) -> Vec<u8> {
    let mut bytes = offsets_of(source);
    bytes.extend_from_slice(partition.as_bytes());
    bytes
}

/// The prefix of all offsets of a source.
#[must_use]
pub fn offsets_of(source: &str) -> Vec<u8> {
    let mut bytes = Table::Offsets.start();
    push_escaped(&mut bytes, source);
    bytes
}

/// The source and partition of an offset.
#[must_use]
pub fn parse_offset(bytes: &[u8]) -> Option<(String, &str)> {
    let (source, partition) = split_escaped(bytes.strip_prefix(&[Table::Offsets as u8])?)?;
    Some((source, std::str::from_utf8(partition).ok()?))
}

#[must_use]
pub fn timer(due: Timestamp, key: &str) -> Vec<u8> {
    let mut bytes = timer_from(due);
    bytes.extend_from_slice(key.as_bytes());
    bytes
}

/// Where timers that are due at `due` or later begin.
#[must_use]
pub fn timer_from(due: Timestamp) -> Vec<u8> {
    let mut bytes = Table::Timers.start();
    // With the sign bit flipped, byte order is the order of signed numbers.
    bytes.extend_from_slice(&(due.as_micros() ^ i64::MIN).to_be_bytes());
    bytes
}

/// The due time and key of a timer.
#[must_use]
pub fn parse_timer(bytes: &[u8]) -> Option<(Timestamp, &str)> {
    let (due, key) = bytes.strip_prefix(&[Table::Timers as u8])?.split_first_chunk::<8>()?;
    Some((Timestamp::from_micros(i64::from_be_bytes(*due) ^ i64::MIN), std::str::from_utf8(key).ok()?))
}

#[must_use]
pub fn pending(key: &str, number: u64) -> Vec<u8> {
    let mut bytes = Table::Pending.start();
    push_escaped(&mut bytes, key);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes
}

/// The key and number of a pending request.
#[must_use]
pub fn parse_pending(bytes: &[u8]) -> Option<(String, u64)> {
    let (key, rest) = split_escaped(bytes.strip_prefix(&[Table::Pending as u8])?)?;
    Some((key, u64::from_be_bytes(rest.try_into().ok()?)))
}

#[must_use]
pub fn outbox(table: &str, epoch: Epoch) -> Vec<u8> {
    let mut bytes = Table::Outbox.start();
    push_escaped(&mut bytes, table);
    bytes.extend_from_slice(&epoch.0.to_be_bytes());
    bytes
}

/// The table name and epoch of rows in the outbox.
#[must_use]
pub fn parse_outbox(bytes: &[u8]) -> Option<(String, Epoch)> {
    let (table, rest) = split_escaped(bytes.strip_prefix(&[Table::Outbox as u8])?)?;
    Some((table, Epoch(u64::from_be_bytes(rest.try_into().ok()?))))
}

/// The prefix of all held requests of a key.
#[must_use]
pub fn held_requests_of(key: &str) -> Vec<u8> {
    let mut bytes = Table::HeldRequests.start();
    push_escaped(&mut bytes, key);
    bytes
}

#[must_use]
pub fn held_request(key: &str, number: u64, table: &str) -> Vec<u8> {
    let mut bytes = held_requests_of(key);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(table.as_bytes());
    bytes
}

#[must_use]
pub fn held_back(key: &str, number: u64, table: &str) -> Vec<u8> {
    let mut bytes = held_request(key, number, table);
    if let Some(first) = bytes.first_mut() {
        *first = Table::HeldBack as u8;
    }
    bytes
}

/// The key, number and table name of a held request, or of rows that are held back.
#[must_use]
pub fn parse_held_request(bytes: &[u8]) -> Option<(String, u64, &str)> {
    let (table, rest) = bytes.split_first()?;
    if ![Table::HeldRequests as u8, Table::HeldBack as u8].contains(table) {
        return None;
    }
    let (key, rest) = split_escaped(rest)?;
    let (number, table) = rest.split_first_chunk::<8>()?;
    Some((key, u64::from_be_bytes(*number), std::str::from_utf8(table).ok()?))
}

#[must_use]
pub fn held_row(table: &str, fingerprint: u128) -> Vec<u8> {
    let mut bytes = Table::HeldRows.start();
    push_escaped(&mut bytes, table);
    bytes.extend_from_slice(&fingerprint.to_be_bytes());
    bytes
}

#[must_use]
pub fn trimmed_elsewhere(shard: ShardId, table: &str) -> Vec<u8> {
    let mut bytes = Table::TrimmedElsewhere.start();
    bytes.extend_from_slice(&shard.0.to_be_bytes());
    bytes.extend_from_slice(table.as_bytes());
    bytes
}

/// The shard and table name of how far the rows of a shard that is no more were trimmed.
#[must_use]
pub fn parse_trimmed_elsewhere(bytes: &[u8]) -> Option<(ShardId, &str)> {
    let (shard, table) = bytes.strip_prefix(&[Table::TrimmedElsewhere as u8])?.split_first_chunk::<4>()?;
    Some((ShardId(u32::from_be_bytes(*shard)), std::str::from_utf8(table).ok()?))
}

#[must_use]
pub fn trimmed(table: &str) -> Vec<u8> {
    let mut bytes = Table::Trimmed.start();
    bytes.extend_from_slice(table.as_bytes());
    bytes
}

/// The table name of how far rows were trimmed.
#[must_use]
pub fn parse_trimmed(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.strip_prefix(&[Table::Trimmed as u8])?).ok()
}

#[must_use]
pub fn reconciling() -> Vec<u8> {
    Table::Reconciling.start()
}

/// The prefix of all cells of a key.
pub fn state_prefix(key: &str, bytes: &mut Vec<u8>) {
    bytes.clear();
    bytes.push(Table::State as u8);
    push_escaped(bytes, key);
}

/// The key of a state entry, with its text still escaped: the prefix of all its cells, the cell, the sub-key.
#[must_use]
pub fn split_state(bytes: &[u8]) -> Option<(&[u8], CellId, &[u8])> {
    let body = bytes.strip_prefix(&[Table::State as u8])?;
    let end = escaped_len(body)?;
    let (prefix, rest) = bytes.split_at_checked(1 + end)?;
    let (cell, sub_key) = rest.split_first()?;
    Some((prefix, CellId(*cell), sub_key))
}

/// The text of a state prefix.
#[must_use]
pub fn parse_state_prefix(prefix: &[u8]) -> Option<String> {
    split_escaped(prefix.strip_prefix(&[Table::State as u8])?).map(|(key, _)| key)
}

fn push_escaped(bytes: &mut Vec<u8>, text: &str) {
    for part in text.as_bytes().split_inclusive(|byte| *byte == 0) {
        bytes.extend_from_slice(part);
        if part.ends_with(&[0]) {
            bytes.push(0xff);
        }
    }
    bytes.extend_from_slice(&[0, 0]);
}

/// The length of an escaped text with its end.
fn escaped_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0)?;
        match bytes.get(at + 1)? {
            0 => return Some(at + 2),
            _ => at += 2,
        }
    }
}

fn split_escaped(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (escaped, rest) = bytes.split_at_checked(escaped_len(bytes)?)?;
    let mut text = Vec::with_capacity(escaped.len());
    let mut escaped = escaped.iter();
    while let Some(byte) = escaped.next() {
        if *byte == 0 && escaped.next() == Some(&0) {
            break;
        }
        text.push(*byte);
    }
    Some((String::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop_oneof![Just('\0'), Just('\u{1}'), Just('a'), Just('ÿ'), any::<char>()], 0..6)
            .prop_map(String::from_iter)
    }

    proptest! {
        #[test]
        fn keys_decode_to_what_they_were_made_of(key in text(), number in any::<u64>(), due in any::<i64>(), cell in any::<u8>(), sub in prop::collection::vec(any::<u8>(), 0..4)) {
            let due = Timestamp::from_micros(due);
            let timer = timer(due, &key);
            prop_assert_eq!(parse_timer(&timer), Some((due, key.as_str())));
            prop_assert_eq!(parse_pending(&pending(&key, number)), Some((key.clone(), number)));
            let offset = offset(&key, "p");
            prop_assert_eq!(parse_offset(&offset), Some((key.clone(), "p")));
            prop_assert_eq!(parse_outbox(&outbox(&key, Epoch(number))), Some((key.clone(), Epoch(number))));
            let held = held_request(&key, number, "t");
            prop_assert!(held.starts_with(&held_requests_of(&key)));
            prop_assert_eq!(parse_held_request(&held), Some((key.clone(), number, "t")));
            let mut prefix = Vec::new();
            state_prefix(&key, &mut prefix);
            let entry = [prefix.clone(), vec![cell], sub.clone()].concat();
            prop_assert_eq!(split_state(&entry), Some((&prefix[..], CellId(cell), &sub[..])));
            prop_assert_eq!(parse_state_prefix(&prefix), Some(key));
        }

        #[test]
        fn byte_order_is_the_order_of_what_keys_are_made_of(a in text(), b in text(), m in any::<u64>(), n in any::<u64>(), s in any::<i64>(), t in any::<i64>()) {
            prop_assert_eq!(pending(&a, m).cmp(&pending(&b, n)), (a.as_bytes(), m).cmp(&(b.as_bytes(), n)));
            let (s, t) = (Timestamp::from_micros(s), Timestamp::from_micros(t));
            prop_assert_eq!(timer(s, &a).cmp(&timer(t, &b)), (s, a.as_bytes()).cmp(&(t, b.as_bytes())));
        }

        #[test]
        fn no_key_holds_the_cells_of_another(a in text(), b in text()) {
            let (mut x, mut y) = (Vec::new(), Vec::new());
            state_prefix(&a, &mut x);
            state_prefix(&b, &mut y);
            prop_assert_eq!(x.starts_with(&y), a == b);
        }

        #[test]
        fn damaged_keys_are_refused_without_a_panic(bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), 1u8..8], 0..12)) {
            let _ = (parse_timer(&bytes), parse_offset(&bytes), parse_pending(&bytes), parse_outbox(&bytes), parse_held_request(&bytes), parse_trimmed_elsewhere(&bytes), split_state(&bytes));
        }
    }
}

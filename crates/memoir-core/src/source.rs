//! Where events come from, as the engine sees it.
//!
//! A source has partitions, each an ordered log of records with rising positions. One reader reads all of them in the
//! source's own order; shards keep the position that they have processed, and after a restart the reader begins at the
//! smallest. A source may therefore give a shard records that it has already: the engine skips them by position.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::event::BadEvent;

/// A place in a partition, just behind a record: where reading goes on. Compared part by part.
///
/// Files: bytes (decompressed) and lines. Delta: version, and rows of that version. Kafka: the next offset, and 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    pub major: u64,
    pub minor: u64,
}

impl Position {
    #[must_use]
    pub fn new(major: u64, minor: u64) -> Self {
        Self { major, minor }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.major, self.minor)
    }
}

/// How far a partition was read, with what the source needs to find it again (a file's path and head, say).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offset {
    pub position: Position,
    /// The source's own notes, in its own encoding. Not compared.
    pub notes: Vec<u8>,
}

/// Where a new state begins to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartAt {
    Earliest,
    Latest,
    /// Records from this time on (by the record's time in the source; for files by the event's `ts`).
    Time(crate::time::Timestamp),
    /// From this version of a Delta table on.
    Version(u64),
}

/// How far a run reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadUntil {
    /// All that is there when the run starts, then [`Polled::End`].
    WhatIsThere,
    /// For ever: [`Polled::Idle`] where there is nothing new.
    Stopped,
}

/// A record that is no event: it becomes a row of the dead-letter table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRecord {
    /// The file, table or topic.
    pub source: String,
    /// The partition; for Delta the version.
    pub partition: String,
    /// The 1-based line, the row or the offset.
    pub place: i64,
    pub reason: String,
    /// As it came, as text and at most 64 KiB; base64 where it is not UTF-8 (`reason` says so).
    pub record: String,
    /// The key that it belongs to, where it has one.
    pub key: Option<String>,
}

/// A record with the position behind it.
#[derive(Clone, Debug)]
pub struct SourceRecord<E> {
    /// An index into [`SourceBatch::partitions`].
    pub partition: usize,
    pub position: Position,
    pub event: Result<E, BadRecord>,
}

/// What one poll gave.
#[derive(Clone, Debug)]
pub struct SourceBatch<E> {
    /// The partitions that this batch touches: their ids, and how far they are read when all records of the batch are.
    pub partitions: Vec<(String, Offset)>,
    /// In the order of the source.
    pub records: Vec<SourceRecord<E>>,
}

impl<E> Default for SourceBatch<E> {
    fn default() -> Self {
        Self { partitions: Vec::new(), records: Vec::new() }
    }
}

/// What a poll found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polled {
    /// The batch holds something, if only offsets. There may be more.
    Some,
    /// Nothing new now.
    Idle,
    /// Nothing more in this run.
    End,
}

/// What a source can't go on from.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What failed, on what, and what to do.
    pub message: String,
    /// Whether the same may go through later.
    pub transient: bool,
    /// What the message does not tell: whoever prints an error prints its causes behind it.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl SourceError {
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), transient: false, cause: None }
    }

    #[must_use]
    pub fn because(message: impl Into<String>, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { message: message.into(), transient: false, cause: Some(cause.into()) }
    }
}

/// Reads events. Blocking: it has a thread of its own.
pub trait Source<E>: Send {
    /// What this source is now, for people: `files:/data/chat`.
    fn describe(&self) -> String;

    /// The name under which a state keeps the offsets of this source. It stays the same from run to run, and as long as
    /// the partitions are told apart by themselves, also when the source is found at another place.
    fn identity(&self) -> String {
        self.describe()
    }

    /// Where a new state begins, as offsets that are then kept by every shard; partitions that are not named begin at
    /// their first record. Called once in the life of a state for each source.
    ///
    /// # Errors
    /// When the source can't be looked at; so do the methods below.
    fn origin(&mut self, start: &StartAt) -> Result<Vec<(String, Offset)>, SourceError>;

    /// Goes to the given offsets. Called once, before the first poll.
    fn resume(&mut self, offsets: Vec<(String, Offset)>, until: ReadUntil) -> Result<(), SourceError>;

    /// Fills an empty `batch` with at most `max_records` records. Does not wait for more to come.
    fn poll(&mut self, batch: &mut SourceBatch<E>, max_records: usize) -> Result<Polled, SourceError>;

    /// What was left unread at the end of an available-now run, for the log: an unterminated last line, say.
    fn leftovers(&self) -> Vec<String> {
        Vec::new()
    }
}

/// The longest record that a dead letter holds, in bytes.
pub const MAX_DEAD_LETTER_BYTES: usize = 64 * 1024;

impl BadRecord {
    /// A dead letter of what came in bytes and is no event.
    #[must_use]
    pub fn of_bytes(source: String, partition: String, place: i64, bytes: &[u8], bad: BadEvent) -> Self {
        let BadEvent { error, user_id } = bad;
        Self::because(source, partition, place, bytes, error.to_string(), user_id)
    }

    /// A dead letter of what came in bytes, for a reason that the source found itself.
    #[must_use]
    pub fn because(
        source: String,
        partition: String,
        place: i64,
        bytes: &[u8],
        reason: String,
        key: Option<String>,
    ) -> Self {
        let (record, reason) = match std::str::from_utf8(bytes) {
            Ok(text) => (clip_bytes(text, MAX_DEAD_LETTER_BYTES).to_owned(), reason),
            Err(_) => {
                // Base64 makes four bytes of three.
                let kept = bytes.get(..MAX_DEAD_LETTER_BYTES / 4 * 3).unwrap_or(bytes);
                (base64(kept), format!("{reason} (the record is in base64)"))
            }
        };
        Self { source, partition, place, reason, record, key }
    }
}

/// The longest prefix of at most `max` bytes that ends between two characters.
fn clip_bytes(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

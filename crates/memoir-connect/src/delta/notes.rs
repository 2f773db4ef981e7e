//! What is kept with an offset: which table it is, where the state began, and whether with a snapshot.

use memoir_core::source::{Offset, Position, SourceError};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The version of [`Notes`] that is written.
const NOTES_VERSION: u32 = 2;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    version: u32,
    /// The id that the table was given when it was made.
    pub table: String,
    /// The version that the state began with.
    first: u64,
    /// Whether it began with all rows of that version, or only with those that it added.
    begins_with_snapshot: bool,
    /// The commit that was read last. An older copy of the table that has grown since has another one in its place.
    pub last_read: Option<Commit>,
}

/// One commit of the log, as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Commit {
    pub version: u64,
    hash: u64,
}

impl Commit {
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        Self { version, hash: xxh3_64(bytes) }
    }
}

impl Notes {
    /// A state that begins with all rows of a version.
    pub fn from_snapshot(table: &str, first: u64) -> Self {
        Self { begins_with_snapshot: true, ..Self::from_changes(table, first) }
    }

    /// A state that begins with the changes of a version.
    pub fn from_changes(table: &str, first: u64) -> Self {
        Self { version: NOTES_VERSION, table: table.to_owned(), first, begins_with_snapshot: false, last_read: None }
    }

    /// Whether all rows of a version are to be read; of all others only those that they added.
    pub fn is_snapshot(&self, version: u64) -> bool {
        self.begins_with_snapshot && self.first == version
    }

    /// Where the state began.
    pub fn begin(&self) -> Position {
        Position::new(self.first, 0)
    }

    pub fn at(&self, position: Position) -> Result<Offset, SourceError> {
        let notes = serde_json::to_vec(self)
            .map_err(|error| SourceError::because("can't note where the Delta table is read", error))?;
        Ok(Offset { position, notes })
    }

    pub fn decode(notes: &[u8]) -> Result<Self, SourceError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged = |error| {
            SourceError::because(
                "the state's offset in the Delta table can't be read; restore the state from a copy, or \
                 begin with another query.name",
                error,
            )
        };
        let Version { version } = serde_json::from_slice(notes).map_err(damaged)?;
        if version != NOTES_VERSION {
            return Err(SourceError::new(format!(
                "the state's offset in the Delta table is of version {version}, and this memoir reads version \
                 {NOTES_VERSION}; use the memoir that wrote it, or a newer one"
            )));
        }
        serde_json::from_slice(notes).map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_back_as_written_and_those_of_another_version_are_refused() {
        let read = Notes { last_read: Some(Commit::of(6, b"{}")), ..Notes::from_changes("id", 7) };
        for notes in [Notes::from_changes("id", 7), Notes::from_snapshot("id", 7), read] {
            assert_eq!(Notes::decode(&notes.at(Position::default()).unwrap().notes).unwrap(), notes);
        }
        for bytes in [&br#"{"version":9}"#[..], br#"{"version":1,"first":7,"begins_with_snapshot":true}"#] {
            assert!(Notes::decode(bytes).unwrap_err().message.contains("of version"));
        }
        assert!(Notes::decode(b"").is_err());
    }
}

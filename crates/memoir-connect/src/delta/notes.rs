//! What is kept with an offset: where the state began, and whether with a snapshot.

use memoir_core::source::{Offset, Position, SourceError};
use serde::{Deserialize, Serialize};

/// The version of [`Notes`] that is written.
const NOTES_VERSION: u32 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Notes {
    version: u32,
    /// The version that the state began with.
    first: u64,
    /// Whether it began with all rows of that version, or only with those that it added.
    begins_with_snapshot: bool,
}

impl Notes {
    /// A state that begins with all rows of a version.
    pub fn from_snapshot(first: u64) -> Self {
        Self { version: NOTES_VERSION, first, begins_with_snapshot: true }
    }

    /// A state that begins with the changes of a version.
    pub fn from_changes(first: u64) -> Self {
        Self { version: NOTES_VERSION, first, begins_with_snapshot: false }
    }

    /// Whether all rows of a version are to be read; of all others only those that they added.
    pub fn is_snapshot(self, version: u64) -> bool {
        self.begins_with_snapshot && self.first == version
    }

    /// Where the state began.
    pub fn begin(self) -> Position {
        Position::new(self.first, 0)
    }

    pub fn at(self, position: Position) -> Result<Offset, SourceError> {
        let notes = serde_json::to_vec(&self)
            .map_err(|error| SourceError::because("can't note where the Delta table is read", error))?;
        Ok(Offset { position, notes })
    }

    pub fn decode(notes: &[u8]) -> Result<Self, SourceError> {
        let decoded: Self = serde_json::from_slice(notes).map_err(|error| {
            SourceError::because(
                "the state's offset in the Delta table can't be read; restore the state from a copy, or \
                 begin with another query.name",
                error,
            )
        })?;
        if decoded.version != NOTES_VERSION {
            return Err(SourceError::new(format!(
                "the state's offset in the Delta table is of version {}, and this memoir reads version \
                 {NOTES_VERSION}; use the memoir that wrote it, or a newer one",
                decoded.version
            )));
        }
        Ok(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_read_back_as_written_and_those_of_another_version_are_refused() {
        for notes in [Notes::from_changes(7), Notes::from_snapshot(7)] {
            assert_eq!(Notes::decode(&notes.at(Position::default()).unwrap().notes).unwrap(), notes);
        }
        let later = Notes { version: 9, ..Notes::from_changes(0) }.at(Position::default()).unwrap();
        assert!(Notes::decode(&later.notes).unwrap_err().message.contains("version 9"));
        assert!(Notes::decode(b"").is_err());
    }
}

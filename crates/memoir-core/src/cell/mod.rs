//! Typed state of one key: values, bounded lists and maps, as a processor sees them.
//!
//! A cell holds what is in memory and remembers what changed since it was last flushed. It does not know where its
//! entries live: a store hands it what it has ([`Cell::load`]) and takes what changed ([`Cell::flush`]). List and map
//! entries stay encoded until somebody reads them, so that loading a key, adding a message and storing it again decode
//! nothing.
//!
//! Each entry begins with [`FORMAT`], so that a later layout can tell its own entries from these.

mod list;
mod map;
mod value;

pub use list::ListState;
pub use map::MapState;
pub use value::ValueState;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::table::RowError;

/// The version byte that each stored entry begins with.
pub const FORMAT: u8 = 1;

/// Names a cell within the state of a processor. Stored in keys: never reuse a number for another meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(pub u8);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    #[error("an entry of {0} bytes has no version byte")]
    Empty(usize),
    #[error(
        "an entry has format {found}, this program reads format {FORMAT}: use the version of memoir that wrote this state"
    )]
    Format { found: u8 },
    #[error("an entry does not decode as {type_name}: {reason}")]
    Malformed { type_name: &'static str, reason: String },
    #[error("a sub-key of {found} bytes, expected {expected}")]
    SubKey { found: usize, expected: &'static str },
    #[error("what a table holds: {0}")]
    Row(#[from] RowError),
}

/// Takes a changed entry: its sub-key, and its value or `None` where it is gone.
pub type WriteEntry<'a> = dyn FnMut(&[u8], Option<&[u8]>) + 'a;

/// One cell, as a store sees it.
pub trait Cell {
    /// Takes one stored entry. Entries of a cell come in the order of their sub-keys, before any other call.
    ///
    /// # Errors
    /// When the entry is of another format or does not decode.
    fn load(&mut self, sub_key: &[u8], value: &[u8]) -> Result<(), CellError>;

    /// Hands out what changed since the last flush: a sub-key with its new value, or with `None` where it is gone.
    /// Later calls overrule earlier ones for the same sub-key.
    fn flush(&mut self, write: &mut WriteEntry<'_>);

    /// About how many bytes of heap this cell takes.
    fn heap_bytes(&self) -> usize;

    /// The entries for a person to read: a sub-key as text, and the value as JSON.
    ///
    /// # Errors
    /// When an entry does not decode.
    fn inspect(&self) -> Result<Vec<(String, serde_json::Value)>, CellError>;
}

/// The whole state of one key: a fixed set of cells.
pub trait KeyedState: Default + Send {
    /// The cells in the order of their ids, with the names that `memoir state` shows.
    const CELLS: &'static [(CellId, &'static str)];

    /// The cell of this id, or `None` where this state has no such cell.
    fn cell(&mut self, id: CellId) -> Option<&mut dyn Cell>;

    /// About how many bytes of heap all cells take.
    fn heap_bytes(&mut self) -> usize {
        Self::CELLS.iter().filter_map(|(id, _)| self.cell(*id).map(|cell| cell.heap_bytes())).sum()
    }
}

/// Encodes with the version byte in front.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    encode_after(vec![FORMAT], value)
}

/// Encodes behind what `head` holds already.
fn encode_after<T: Serialize>(head: Vec<u8>, value: &T) -> Vec<u8> {
    // Writing to a vector fails only for values without a known length, and for maps: no cell holds either.
    postcard::to_extend(value, head).expect("state values are plain structs of known length")
}

/// Decodes what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CellError> {
    decode_body(body(bytes)?)
}

/// What stands behind the version byte, if that is ours.
fn body(bytes: &[u8]) -> Result<&[u8], CellError> {
    match bytes.split_first() {
        None => Err(CellError::Empty(bytes.len())),
        Some((&FORMAT, body)) => Ok(body),
        Some((&found, _)) => Err(CellError::Format { found }),
    }
}

fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, CellError> {
    postcard::from_bytes(body)
        .map_err(|error| CellError::Malformed { type_name: std::any::type_name::<T>(), reason: error.to_string() })
}

fn to_json<T: Serialize>(value: &T) -> Result<serde_json::Value, CellError> {
    serde_json::to_value(value)
        .map_err(|error| CellError::Malformed { type_name: std::any::type_name::<T>(), reason: error.to_string() })
}

#[cfg(test)]
mod tests;

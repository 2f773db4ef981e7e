//! A map with text keys, one stored entry a key.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cell, CellError, WriteEntry, body, decode, encode, to_json};

/// Entries in the order of their keys, each still encoded.
#[derive(Clone, Debug)]
pub struct MapState<V> {
    entries: BTreeMap<String, Box<[u8]>>,
    dirty: BTreeSet<String>,
    bytes: usize,
    values_are: PhantomData<fn() -> V>,
}

impl<V> Default for MapState<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), dirty: BTreeSet::new(), bytes: 0, values_are: PhantomData }
    }
}

/// About what a node of the tree costs beside key and value.
const NODE_BYTES: usize = 48;

impl<V> MapState<V> {
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Removes an entry, and says whether there was one.
    pub fn remove(&mut self, key: &str) -> bool {
        let Some(old) = self.entries.remove(key) else { return false };
        self.bytes -= old.len() + key.len() + NODE_BYTES;
        self.dirty.insert(key.to_owned());
        true
    }
}

impl<V: Serialize + DeserializeOwned> MapState<V> {
    /// The value of a key.
    ///
    /// # Errors
    /// When it does not decode.
    pub fn get(&self, key: &str) -> Result<Option<V>, CellError> {
        self.entries.get(key).map(|bytes| decode(bytes)).transpose()
    }

    pub fn insert(&mut self, key: &str, value: &V) {
        let bytes = encode(value).into_boxed_slice();
        if self.entries.get(key) == Some(&bytes) {
            return;
        }
        self.bytes += bytes.len();
        match self.entries.insert(key.to_owned(), bytes) {
            Some(old) => self.bytes -= old.len(),
            None => self.bytes += key.len() + NODE_BYTES,
        }
        self.dirty.insert(key.to_owned());
    }

    /// The entries in the order of their keys.
    ///
    /// # Errors
    /// An entry that does not decode.
    pub fn iter(&self) -> impl Iterator<Item = Result<(&str, V), CellError>> {
        self.entries.iter().map(|(key, bytes)| Ok((key.as_str(), decode(bytes)?)))
    }
}

impl<V: Serialize + DeserializeOwned> Cell for MapState<V> {
    fn load(&mut self, sub_key: &[u8], value: &[u8]) -> Result<(), CellError> {
        let key = std::str::from_utf8(sub_key)
            .map_err(|_| CellError::SubKey { found: sub_key.len(), expected: "a key in UTF-8" })?;
        // The entry is decoded when it is read, but another format is refused at once.
        body(value)?;
        self.bytes += value.len() + key.len() + NODE_BYTES;
        self.entries.insert(key.to_owned(), value.into());
        Ok(())
    }

    fn flush(&mut self, write: &mut WriteEntry<'_>) {
        for key in std::mem::take(&mut self.dirty) {
            write(key.as_bytes(), self.entries.get(&key).map(AsRef::as_ref));
        }
    }

    fn heap_bytes(&self) -> usize {
        self.bytes
    }

    fn inspect(&self) -> Result<Vec<(String, serde_json::Value)>, CellError> {
        self.iter().map(|entry| entry.and_then(|(key, value)| Ok((key.to_owned(), to_json(&value)?)))).collect()
    }
}

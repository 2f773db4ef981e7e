//! A single value, decoded once when it is loaded and encoded once a flush.

use std::ops::Deref;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Cell, CellError, WriteEntry, decode, encode, to_json};

/// One value; its default where nothing was stored. Reading it is a deref, changing it goes through [`ValueState::edit`].
#[derive(Clone, Debug, Default)]
pub struct ValueState<T> {
    value: T,
    dirty: bool,
}

impl<T> ValueState<T> {
    /// The value to change. It counts as changed from here on.
    pub fn edit(&mut self) -> &mut T {
        self.dirty = true;
        &mut self.value
    }
}

impl<T> Deref for ValueState<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Serialize + DeserializeOwned> Cell for ValueState<T> {
    fn load(&mut self, _sub_key: &[u8], value: &[u8]) -> Result<(), CellError> {
        self.value = decode(value)?;
        self.dirty = false;
        Ok(())
    }

    fn flush(&mut self, write: &mut WriteEntry<'_>) {
        if std::mem::take(&mut self.dirty) {
            write(&[], Some(&encode(&self.value)));
        }
    }

    fn heap_bytes(&self) -> usize {
        size_of::<T>()
    }

    fn inspect(&self) -> Result<Vec<(String, serde_json::Value)>, CellError> {
        Ok(vec![(String::new(), to_json(&self.value)?)])
    }
}

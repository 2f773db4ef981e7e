//! Requests that were triggered and not yet answered: one entry a request.

use memoir_core::processor::Request;
use rocksdb::WriteBatch;

use crate::keys::{self, Table};
use crate::{ShardStore, StateError};

pub(crate) fn put<R: Request>(batch: &mut WriteBatch, key: &str, request: &R) {
    batch.put(keys::pending(key, request.number()), crate::store::encode(request));
}

pub(crate) fn delete(batch: &mut WriteBatch, key: &str, number: u64) {
    batch.delete(keys::pending(key, number));
}

impl ShardStore {
    /// The keys and numbers of all pending requests, those of a key in order.
    ///
    /// # Errors
    /// When an entry can't be read.
    pub fn pending_numbers(&self) -> Result<Vec<(String, u64)>, StateError> {
        let mut numbers = Vec::new();
        self.scan(Table::Pending, |key, _| {
            numbers.push(keys::parse_pending(key).ok_or_else(|| self.damaged("pending", "a key that is no request"))?);
            Ok(())
        })?;
        Ok(numbers)
    }

    /// One pending request.
    ///
    /// # Errors
    /// When it is not there or does not decode.
    pub fn pending<R: Request>(&self, key: &str, number: u64) -> Result<R, StateError> {
        let bytes = self.get(&keys::pending(key, number))?;
        let bytes = bytes.ok_or_else(|| self.damaged("pending", "a request that is listed is not there"))?;
        crate::store::decode(&bytes, self.shard(), "pending")
    }
}

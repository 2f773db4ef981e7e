//! Changing the number of shards of a state.
//!
//! Every key moves to its shard of the new number, with its timer and its unanswered requests, into a new generation of
//! databases; then the manifest names that generation, in one atomic step. A crash before leaves the old state as it
//! was, one after it the new one.
//!
//! A shard has one offset a partition, so keys of different shards can only come together where their shards have read
//! equally far, as they have after a run that came to its end. Rows in the outbox carry the marks of their old shards,
//! so the outboxes must be empty. New shards go on with the highest epoch of the old ones: every mark that a table has
//! is then at or below it.

use std::collections::BTreeMap;

use memoir_core::source::{Offset, Position};
use memoir_core::{Epoch, ShardId};
use rocksdb::WriteBatch;

use crate::keys::{self, Table};
use crate::store::decode;
use crate::{EpochBatch, Resources, ShardMeta, ShardStore, StateError, StateHome};

/// Bytes of a write while copying.
const BATCH_BYTES: usize = 8 << 20;

impl StateHome {
    /// Moves all keys to `shards` shards.
    ///
    /// # Errors
    /// [`StateError::NotSettled`] where shards have not read equally far or rows wait in an outbox; and when a database
    /// can't be read or written. The state is then as it was.
    pub fn repartition(&mut self, shards: u32, resources: &Resources) -> Result<(), StateError> {
        self.delete_other_generations()?;
        let old = self.open_shards(resources)?;
        self.check_settled(&old)?;
        let mut manifest = self.manifest().clone();
        manifest.shards = shards;
        manifest.generation += 1;
        let new = self.open_generation(&manifest, resources)?;
        copy_meta(&old, &new)?;
        copy_trimmed(&old, &new)?;
        for store in &old {
            copy_keys(store, &new)?;
        }
        drop((old, new));
        self.replace_manifest(manifest)
    }

    fn check_settled(&self, stores: &[ShardStore]) -> Result<(), StateError> {
        let unsettled = |reason: String| StateError::NotSettled { path: self.path().to_owned(), reason };
        let mut first: Option<Positions> = None;
        for store in stores {
            let positions = positions(store)?;
            match &first {
                Some(first) => {
                    if let Some(source) = differing(first, &positions) {
                        let earlier = if *source == store.meta()?.source {
                            ""
                        } else {
                            ", which the state read before: set the source.* keys to it once more"
                        };
                        let shard = store.shard();
                        return Err(unsettled(format!(
                            "shard {shard} has not read as far in {source} as others{earlier}"
                        )));
                    }
                }
                None => first = Some(positions),
            }
            let mut waits = false;
            store.scan(Table::Outbox, |_, _| {
                waits = true;
                Ok(())
            })?;
            if waits {
                return Err(unsettled(format!("shard {} has rows that its tables do not hold yet", store.shard())));
            }
            if store.is_reconciling()? {
                return Err(unsettled("`memoir state reconcile` was interrupted, so run it again".to_owned()));
            }
        }
        Ok(())
    }
}

/// By source, how far each partition was read. Also of sources that are not read any more: going back to one would read
/// some records twice, or never.
type Positions = BTreeMap<String, BTreeMap<String, Position>>;

fn positions(store: &ShardStore) -> Result<Positions, StateError> {
    let mut positions = Positions::new();
    store.scan(Table::Offsets, |key, value| {
        let offset: Offset = decode(value, store.shard(), "offsets")?;
        let parsed = keys::parse_offset(key);
        let (source, partition) = parsed.ok_or_else(|| store.damaged("offsets", "a key that is no partition"))?;
        // A partition that was not begun is as far as one that nobody knows.
        if offset.position != Position::default() {
            positions.entry(source).or_default().insert(partition.to_owned(), offset.position);
        }
        Ok(())
    })?;
    Ok(positions)
}

/// A source that one has read further than the other.
fn differing<'a>(one: &'a Positions, other: &'a Positions) -> Option<&'a str> {
    let sources = one.keys().chain(other.keys());
    sources.map(String::as_str).find(|source| one.get(*source) != other.get(*source))
}

/// The shards' own records and offsets.
fn copy_meta(old: &[ShardStore], new: &[ShardStore]) -> Result<(), StateError> {
    let Some(first) = old.first() else { return Ok(()) };
    let metas = old.iter().map(ShardStore::meta).collect::<Result<Vec<_>, _>>()?;
    let epoch = metas.iter().map(|meta| meta.epoch).max().unwrap_or(Epoch(0));
    let first_meta = first.meta()?;
    for store in new {
        let mut batch = EpochBatch::default();
        let mut meta = ShardMeta { epoch, ..first_meta.clone() };
        if store.shard() != ShardId(0) {
            meta.origins.clear();
            meta.attached.clear();
        }
        batch.put_meta(&meta);
        store.commit(batch)?;
        let mut offsets = WriteBatch::default();
        first.scan(Table::Offsets, |key, value| {
            offsets.put(key, value);
            Ok(())
        })?;
        store.write(offsets, true)?;
    }
    Ok(())
}

/// How far each table held the rows of each shard: what tells a table that lost rows again. A table keeps the marks of
/// shards that are no more, so shard 0 keeps what there was of them, until a shard of that number is there again.
fn copy_trimmed(old: &[ShardStore], new: &[ShardStore]) -> Result<(), StateError> {
    let Some(first) = new.first() else { return Ok(()) };
    let mut all = Vec::new();
    for store in old {
        all.extend(store.trimmed_elsewhere()?);
        store.scan(Table::Trimmed, |entry, value| {
            let table = keys::parse_trimmed(entry).ok_or_else(|| store.damaged("trimmed", "a key that is no table"))?;
            all.push((store.shard(), table.to_owned(), decode(value, store.shard(), "trimmed")?));
            Ok(())
        })?;
    }
    for (shard, table, through) in all {
        let mut batch = EpochBatch::default();
        match new.get(shard.0 as usize) {
            Some(store) => {
                batch.put_trimmed(&table, through);
                store.commit(batch)?;
            }
            None => {
                batch.put_trimmed_elsewhere(shard, &table, through);
                first.commit(batch)?;
            }
        }
    }
    Ok(())
}

/// The entries of each key: cells, timer, requests, what tables hold of requests. Held rows name no key: every shard gets
/// them, and the one that is given their record uses them up.
fn copy_keys(old: &ShardStore, new: &[ShardStore]) -> Result<(), StateError> {
    let shards = u32::try_from(new.len()).unwrap_or(u32::MAX);
    let mut batches: Vec<WriteBatch> = new.iter().map(|_| WriteBatch::default()).collect();
    for table in [Table::State, Table::Timers, Table::Pending, Table::HeldRequests, Table::HeldRows, Table::HeldBack] {
        old.scan(table, |entry, value| {
            if table == Table::HeldRows {
                batches.iter_mut().for_each(|batch| batch.put(entry, value));
                return Ok(());
            }
            let key = match table {
                Table::State => keys::split_state(entry).and_then(|(prefix, ..)| keys::parse_state_prefix(prefix)),
                Table::Timers => keys::parse_timer(entry).map(|(_, key)| key.to_owned()),
                Table::HeldRequests | Table::HeldBack => keys::parse_held_request(entry).map(|(key, ..)| key),
                _ => keys::parse_pending(entry).map(|(key, _)| key),
            };
            let key = key.ok_or_else(|| old.damaged("state", "a key that does not decode"))?;
            let shard = ShardId::of_key(&key, shards).0 as usize;
            let Some((batch, store)) = batches.get_mut(shard).zip(new.get(shard)) else { return Ok(()) };
            batch.put(entry, value);
            if batch.size_in_bytes() >= BATCH_BYTES {
                store.write(std::mem::take(batch), false)?;
            }
            Ok(())
        })?;
    }
    // The last write of each database is synced, and with it all before.
    new.iter().zip(batches).try_for_each(|(store, batch)| store.write(batch, true))
}

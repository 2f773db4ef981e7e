//! Before anything runs: state, tables and source must belong together.
//!
//! A state has a random id. In each table it leaves that id as the version of an application transaction of its own
//! ([`state_app_id`]), so the table knows which state writes under this query's name. How far each shard has written
//! is the version of [`writer_app_id`]. From these marks, and from how far a shard saw its rows in a table, every mix-up
//! shows: a deleted state, a deleted table, an old copy of either. The way out of each is [`crate::reconcile()`].

use memoir_core::sink::{Sink, Transaction};
use memoir_core::source::{Offset, Position, Source};
use memoir_core::table::TableSchema;
use memoir_core::{Epoch, ShardId};
use memoir_state::{EpochBatch, Manifest, Origin, ShardMeta, ShardStore};
use tracing::info;

use crate::{ClockMode, EngineError, EngineOptions};

/// The application under which a query's state leaves its id in a table.
#[must_use]
pub fn state_app_id(query: &str) -> String {
    format!("{query}/state")
}

/// The application under which a shard marks the epochs that a table holds.
#[must_use]
pub fn writer_app_id(query: &str, shard: ShardId) -> String {
    format!("{query}/{shard}")
}

/// What a mark says in epochs. Nobody writes a negative one.
pub(crate) fn epoch_of(mark: i64) -> Epoch {
    Epoch(u64::try_from(mark).unwrap_or(0))
}

/// Checks that tables and state know each other, introduces them where both are new, and returns how far each table
/// holds the rows of each shard.
pub(crate) fn tables(
    sink: &dyn Sink,
    tables: &[&'static TableSchema],
    manifest: &Manifest,
    stores: &[ShardStore],
) -> Result<Vec<Vec<Epoch>>, EngineError> {
    if let Some(first) = stores.first()
        && first.is_reconciling()?
    {
        return Err(EngineError::ReconcileInterrupted { query: manifest.query.clone() });
    }
    tables.iter().map(|table| attach_table(sink, table, manifest, stores)).collect()
}

fn attach_table(
    sink: &dyn Sink,
    table: &'static TableSchema,
    manifest: &Manifest,
    stores: &[ShardStore],
) -> Result<Vec<Epoch>, EngineError> {
    let query = &manifest.query;
    let (name, app_id) = (table.name.to_owned(), state_app_id(query));
    let known = match stores.first() {
        Some(store) => store.meta()?.attached.contains(&name),
        None => false,
    };
    match sink.committed(table, &app_id)? {
        Some(id) if id == manifest.state_id => {}
        None if !known => {
            sink.append(table, &[], &[Transaction { app_id, version: manifest.state_id }])?;
        }
        None => return Err(EngineError::StateWithoutTables { table: name, query: query.clone() }),
        Some(_) if known => return Err(EngineError::StateWithoutTables { table: name, query: query.clone() }),
        Some(_) => {
            let state = format!("id {:016x}", manifest.state_id);
            return Err(EngineError::TablesWithoutState { table: name, query: query.clone(), state });
        }
    }
    if let Some(store) = stores.first()
        && !known
    {
        change_meta(store, |meta| meta.attached.push(name))?;
    }
    stores.iter().map(|store| attach_shard(sink, table, query, store)).collect()
}

fn attach_shard(
    sink: &dyn Sink,
    table: &'static TableSchema,
    query: &str,
    store: &ShardStore,
) -> Result<Epoch, EngineError> {
    let mark = sink.committed(table, &writer_app_id(query, store.shard()))?;
    let (table_epoch, state_epoch) = (mark.map_or(Epoch(0), epoch_of), store.meta()?.epoch);
    if table_epoch > state_epoch {
        return Err(EngineError::StateBehindTables {
            shard: store.shard().0,
            query: query.to_owned(),
            table: table.name.to_owned(),
            state_epoch: state_epoch.0,
            table_epoch: table_epoch.0,
        });
    }
    let trimmed = store.trimmed(table.name)?;
    if table_epoch < trimmed {
        return Err(EngineError::TableBehindState {
            table: table.name.to_owned(),
            query: query.to_owned(),
            shard: store.shard().0,
            table_epoch: table_epoch.0,
            trimmed_epoch: trimmed.0,
        });
    }
    store.trim_outbox(table.name, table_epoch)?;
    Ok(table_epoch)
}

/// Keeps the clock in force in the state, and refuses the way back to event time.
pub(crate) fn clock(options: &EngineOptions, stores: &[ShardStore]) -> Result<(), EngineError> {
    for store in stores {
        let kept = store.meta()?.clock;
        if kept == options.clock.as_str() {
            continue;
        }
        if kept == ClockMode::ProcessingTime.as_str() {
            return Err(EngineError::ClockGoesBack);
        }
        if !kept.is_empty() && store.shard() == ShardId(0) {
            info!("the state ran by event time and goes on by processing time: timers that are due fire at once");
        }
        change_meta(store, |meta| options.clock.as_str().clone_into(&mut meta.clock))?;
    }
    Ok(())
}

/// Binds the state to its source, and returns where reading goes on: for each partition the least that a shard has.
///
/// Where a source begins is found out once, and kept by shard 0 before any other shard learns of it; so a crash in
/// between can't make shards begin at different places. A state that comes back to a source goes on where it was.
pub(crate) fn source<E>(
    source: &mut dyn Source<E>,
    options: &EngineOptions,
    stores: &[ShardStore],
) -> Result<Vec<(String, Offset)>, EngineError> {
    let name = source.describe();
    let Some(first) = stores.first() else { return Ok(Vec::new()) };
    let origin = match first.meta()?.origins.into_iter().find(|origin| origin.source == name) {
        Some(origin) => origin,
        None => {
            let origin = Origin { source: name.clone(), offsets: source.origin(&options.start)? };
            change_meta(first, |meta| meta.origins.push(origin.clone()))?;
            origin
        }
    };
    for store in stores {
        if store.meta()?.source == name {
            continue;
        }
        let held = store.offsets(&name)?;
        let mut batch = EpochBatch::default();
        for (partition, offset) in &origin.offsets {
            if !held.iter().any(|(held, _)| held == partition) {
                batch.put_offset(&name, partition, offset);
            }
        }
        let meta = store.meta()?;
        batch.put_meta(&ShardMeta { source: name.clone(), ..meta });
        store.commit(batch)?;
    }
    least_offsets(stores, &name)
}

/// For each partition the least position of all shards, with the notes of the furthest one.
fn least_offsets(stores: &[ShardStore], source: &str) -> Result<Vec<(String, Offset)>, EngineError> {
    let mut merged: std::collections::BTreeMap<String, (usize, Position, Offset)> = std::collections::BTreeMap::new();
    for store in stores {
        for (partition, offset) in store.offsets(source)? {
            let position = offset.position;
            let (held, least, furthest) = merged.entry(partition).or_insert_with(|| (0, position, offset.clone()));
            *held += 1;
            *least = position.min(*least);
            if offset.position > furthest.position {
                *furthest = offset;
            }
        }
    }
    let least = merged.into_iter().map(|(partition, (held, least, furthest))| {
        // A shard that has nothing of a partition begins at its first record.
        let position = if held == stores.len() { least } else { Position::default() };
        (partition, Offset { position, notes: furthest.notes })
    });
    Ok(least.collect())
}

pub(crate) fn change_meta(store: &ShardStore, change: impl FnOnce(&mut ShardMeta)) -> Result<(), EngineError> {
    let mut meta = store.meta()?;
    change(&mut meta);
    let mut batch = EpochBatch::default();
    batch.put_meta(&meta);
    Ok(store.commit(batch)?)
}

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
use tracing::{info, warn};

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
    if let Some(first) = stores.first() {
        for (shard, of, trimmed) in first.trimmed_elsewhere()?.into_iter().filter(|(_, of, _)| of == table.name) {
            check_trimmed(&of, query, shard, mark(sink, table, query, shard)?, trimmed)?;
        }
    }
    stores.iter().map(|store| attach_shard(sink, table, query, store)).collect()
}

/// How far a table holds the rows of a shard.
fn mark(sink: &dyn Sink, table: &'static TableSchema, query: &str, shard: ShardId) -> Result<Epoch, EngineError> {
    Ok(sink.committed(table, &writer_app_id(query, shard))?.map_or(Epoch(0), epoch_of))
}

/// A table that held more before is an older copy.
fn check_trimmed(
    table: &str,
    query: &str,
    shard: ShardId,
    table_epoch: Epoch,
    trimmed: Epoch,
) -> Result<(), EngineError> {
    if table_epoch >= trimmed {
        return Ok(());
    }
    Err(EngineError::TableBehindState {
        table: table.to_owned(),
        query: query.to_owned(),
        shard: shard.0,
        table_epoch: table_epoch.0,
        trimmed_epoch: trimmed.0,
    })
}

fn attach_shard(
    sink: &dyn Sink,
    table: &'static TableSchema,
    query: &str,
    store: &ShardStore,
) -> Result<Epoch, EngineError> {
    let (table_epoch, state_epoch) = (mark(sink, table, query, store.shard())?, store.meta()?.epoch);
    if table_epoch > state_epoch {
        return Err(EngineError::StateBehindTables {
            shard: store.shard().0,
            query: query.to_owned(),
            table: table.name.to_owned(),
            state_epoch: state_epoch.0,
            table_epoch: table_epoch.0,
        });
    }
    check_trimmed(table.name, query, store.shard(), table_epoch, store.trimmed(table.name)?)?;
    store.trim_outbox(table.name, table_epoch)?;
    Ok(table_epoch)
}

/// Refuses the way back to event time. A state that has not committed anything may go any way: no timer has fired.
pub(crate) fn check_clock(options: &EngineOptions, stores: &[ShardStore]) -> Result<(), EngineError> {
    if options.clock == ClockMode::ProcessingTime {
        return Ok(());
    }
    let (mut ran_by_the_wall_clock, mut committed) = (false, false);
    for store in stores {
        let meta = store.meta()?;
        ran_by_the_wall_clock |= meta.clock == ClockMode::ProcessingTime.as_str();
        committed |= meta.epoch > Epoch(0);
    }
    if ran_by_the_wall_clock && committed { Err(EngineError::ClockGoesBack) } else { Ok(()) }
}

/// Keeps the clock in force in the state. Comes last: there is no way back from it, so a run that can't begin must not
/// leave it behind.
pub(crate) fn keep_clock(options: &EngineOptions, stores: &[ShardStore]) -> Result<(), EngineError> {
    for store in stores {
        let kept = store.meta()?.clock;
        if kept == options.clock.as_str() {
            continue;
        }
        if kept == ClockMode::EventTime.as_str() && store.shard() == ShardId(0) {
            info!("the state ran by event time and goes on by processing time: timers that are due fire at once");
        }
        change_meta(store, |meta| options.clock.as_str().clone_into(&mut meta.clock))?;
    }
    Ok(())
}

/// How a state goes on from a source, before anything of it is written.
pub(crate) struct Binding {
    source: String,
    /// Where reading of a source began that the state did not know.
    new_origin: Option<Origin>,
    /// For each shard that reads another source so far, the offsets that it begins with.
    begins: Vec<(usize, Vec<(String, Offset)>)>,
    /// For each partition, where reading goes on: the least that a shard has.
    pub offsets: Vec<(String, Offset)>,
}

/// Finds out how the state goes on from its source. Nothing is written before [`Binding::write`], so that a source that
/// turns out not to be there leaves the state with the one that it has.
pub(crate) fn source<E>(
    source: &mut dyn Source<E>,
    options: &EngineOptions,
    stores: &[ShardStore],
) -> Result<Binding, EngineError> {
    let name = source.identity();
    let mut binding = Binding { source: name.clone(), new_origin: None, begins: Vec::new(), offsets: Vec::new() };
    let Some(first) = stores.first() else { return Ok(binding) };
    let origin = match first.meta()?.origins.into_iter().find(|origin| origin.source == name) {
        Some(origin) => origin,
        None => {
            let origin = Origin { source: name.clone(), offsets: source.origin(&options.start)? };
            binding.new_origin = Some(origin.clone());
            origin
        }
    };
    let before = first.meta()?.source;
    if !before.is_empty() && before != name {
        let (now, at) = (&name, source.describe());
        warn!(%before, %now, %at, "the state read another source before: events that both hold may be taken twice");
    }
    let mut held_by_all = Vec::with_capacity(stores.len());
    for (at, store) in stores.iter().enumerate() {
        let mut held = store.offsets(&name)?;
        if store.meta()?.source != name {
            let is_new = |(partition, _): &&(String, Offset)| !held.iter().any(|(held, _)| held == partition);
            let begins: Vec<_> = origin.offsets.iter().filter(is_new).cloned().collect();
            held.extend(begins.iter().cloned());
            binding.begins.push((at, begins));
        }
        held_by_all.push(held);
    }
    binding.offsets = least_offsets(held_by_all);
    Ok(binding)
}

impl Binding {
    /// Binds the state to its source.
    ///
    /// Where a source begins is found out once, and kept by shard 0 before any other shard learns of it; so a crash in
    /// between can't make shards begin at different places. A state that comes back to a source goes on where it was.
    pub(crate) fn write(self, stores: &[ShardStore]) -> Result<(), EngineError> {
        if let (Some(first), Some(origin)) = (stores.first(), self.new_origin) {
            change_meta(first, |meta| meta.origins.push(origin))?;
        }
        for (at, offsets) in self.begins {
            let Some(store) = stores.get(at) else { continue };
            let mut batch = EpochBatch::default();
            for (partition, offset) in &offsets {
                batch.put_offset(&self.source, partition, offset);
            }
            let meta = store.meta()?;
            batch.put_meta(&ShardMeta { source: self.source.clone(), ..meta });
            store.commit(batch)?;
        }
        Ok(())
    }
}

/// For each partition the least position of all shards, with the notes of the furthest one.
fn least_offsets(held_by_all: Vec<Vec<(String, Offset)>>) -> Vec<(String, Offset)> {
    let shards = held_by_all.len();
    let mut merged: std::collections::BTreeMap<String, (usize, Position, Offset)> = std::collections::BTreeMap::new();
    for (partition, offset) in held_by_all.into_iter().flatten() {
        let position = offset.position;
        let (held, least, furthest) = merged.entry(partition).or_insert_with(|| (0, position, offset.clone()));
        *held += 1;
        *least = position.min(*least);
        if offset.position > furthest.position {
            *furthest = offset;
        }
    }
    let least = merged.into_iter().map(|(partition, (held, least, furthest))| {
        // A shard that has nothing of a partition begins at its first record.
        let position = if held == shards { least } else { Position::default() };
        (partition, Offset { position, notes: furthest.notes })
    });
    least.collect()
}

pub(crate) fn change_meta(store: &ShardStore, change: impl FnOnce(&mut ShardMeta)) -> Result<(), EngineError> {
    let mut meta = store.meta()?;
    change(&mut meta);
    let mut batch = EpochBatch::default();
    batch.put_meta(&meta);
    Ok(store.commit(batch)?)
}

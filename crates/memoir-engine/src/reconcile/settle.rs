//! Changes one shard, in one atomic write: its epoch is raised to the tables' marks, the outbox keeps only what the tables
//! do not hold, and pending requests that they hold are applied.

use std::collections::{BTreeMap, BTreeSet};

use memoir_core::processor::Processor;
use memoir_core::table::RowBuffer;
use memoir_core::{Epoch, ShardId};
use memoir_state::{EpochBatch, ShardMeta, ShardStore};

use super::survey::{ShardFound, damaged, each_epoch, each_row, row_fingerprint};
use super::{Found, Reconciled};
use crate::{EngineError, held};

/// Settles a shard, or where nothing may be changed only counts.
pub(super) fn shard<P: Processor>(
    processor: &P,
    store: &ShardStore,
    shard: &ShardFound,
    tables: &[Found],
    changes: bool,
    reconciled: &mut Reconciled,
) -> Result<(), EngineError> {
    let meta = store.meta()?;
    let raised = tables.iter().map(|table| table.mark(store)).max().unwrap_or_default().max(meta.epoch);
    let mut batch = EpochBatch::default();
    let mut outbox = Outbox::default();
    for (index, found) in tables.iter().enumerate() {
        let kept = outbox.take(processor, store, shard, index, found)?;
        if let Some(table) = reconciled.tables.get_mut(index) {
            table.kept += kept.kept;
            table.dropped += kept.dropped;
        }
        if store.trimmed(found.table.name)? > found.mark(store) {
            // What was there and is not any more can't be had again.
            batch.put_trimmed(found.table.name, found.mark(store));
        }
        for (gone, mark) in found.lost_elsewhere.iter().filter(|_| store.shard() == ShardId(0)) {
            batch.put_trimmed_elsewhere(*gone, found.table.name, *mark);
        }
    }
    reconciled.applied += shard.pending.len() as u64;
    if !changes {
        return Ok(());
    }
    let written = apply_pending(processor, store, shard, tables, &mut batch)?;
    let epoch = outbox.move_above(raised, tables, written, &mut batch);
    batch.put_meta(&ShardMeta { epoch, ..meta });
    Ok(store.commit(batch)?)
}

/// The rows of a shard's outbox that are to be moved.
#[derive(Default)]
struct Outbox {
    /// By table and the epoch that they stand in now.
    moved: BTreeMap<(usize, Epoch), RowBuffer>,
    gone: Vec<(usize, Epoch)>,
}

/// Rows of one table's outbox.
#[derive(Default)]
struct Kept {
    kept: u64,
    dropped: u64,
}

impl Outbox {
    /// Takes what the table does not hold, where anything must change: rows that it holds, or rows at or below its mark,
    /// which would be taken for rows that it holds.
    fn take<P: Processor>(
        &mut self,
        processor: &P,
        store: &ShardStore,
        shard: &ShardFound,
        index: usize,
        found: &Found,
    ) -> Result<Kept, EngineError> {
        let (table, mark) = (found.table, found.mark(store));
        let mut counted = Kept::default();
        let (mut entries, mut must_move) = (BTreeMap::new(), false);
        let mut there = shard.rows.clone();
        each_epoch(store, table, |epoch, buffer| {
            let mut left = RowBuffer::default();
            each_row(table, &buffer, |row| {
                let is_there = match shard.requests.get(index) {
                    Some(requests) => processor
                        .request_of(index, row)
                        .map_err(damaged(table))?
                        .is_some_and(|id| requests.contains(&id)),
                    None => {
                        let times = there.get_mut(&(index, row_fingerprint(table, row)?)).filter(|times| **times > 0);
                        times.map(|times| *times -= 1).is_some()
                    }
                };
                if is_there {
                    counted.dropped += 1;
                } else {
                    counted.kept += 1;
                    left.push(row);
                }
                Ok(())
            })?;
            must_move |= left.rows < buffer.rows || epoch <= mark;
            entries.insert((index, epoch), left);
            Ok(())
        })?;
        if must_move {
            self.gone.extend(entries.keys());
            self.moved.extend(entries.into_iter().filter(|(_, rows)| !rows.is_empty()));
        }
        Ok(counted)
    }

    /// Moves the rows to epochs above `raised`, in the order in which they are, and adds those that were written now.
    /// Returns the last epoch.
    fn move_above(self, raised: Epoch, tables: &[Found], written: Vec<RowBuffer>, batch: &mut EpochBatch) -> Epoch {
        let name = |index: usize| tables.get(index).map_or("", |found| found.table.name);
        for (index, epoch) in &self.gone {
            batch.delete_rows(name(*index), *epoch);
        }
        let before: BTreeSet<Epoch> = self.moved.keys().map(|(_, epoch)| *epoch).collect();
        let mut last = raised;
        let after: BTreeMap<Epoch, Epoch> = before
            .into_iter()
            .map(|epoch| {
                last = last.next();
                (epoch, last)
            })
            .collect();
        for ((index, epoch), rows) in &self.moved {
            if let Some(epoch) = after.get(epoch) {
                batch.put_rows(name(*index), *epoch, rows);
            }
        }
        if written.iter().any(|rows| !rows.is_empty()) {
            last = last.next();
            for (index, rows) in written.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
                batch.put_rows(name(index), last, rows);
            }
        }
        last
    }
}

/// Applies what is held of requests that are still pending: the state triggered them, so they are the very same. Returns the
/// rows that the tables should have and do not.
fn apply_pending<P: Processor>(
    processor: &P,
    store: &ShardStore,
    shard: &ShardFound,
    tables: &[Found],
    batch: &mut EpochBatch,
) -> Result<Vec<RowBuffer>, EngineError> {
    let schemas: Vec<_> = tables.iter().map(|found| found.table).collect();
    let mut rows = vec![RowBuffer::default(); tables.len()];
    let mut reader = store.reader();
    let mut ids = shard.pending.iter().peekable();
    while let Some((key, _)) = ids.peek().copied() {
        let mut loaded = reader.load::<P::State>(key)?;
        let held = held::of_key(store, key, &schemas)?;
        while let Some((_, number)) = ids.next_if(|(of, _)| of == key) {
            let Some(held) = held.iter().find(|held| held.number == *number) else { continue };
            let request: P::Request = store.pending(key, *number)?;
            processor
                .on_held(key, &mut loaded.state, &request, held, &mut rows)
                .map_err(|cause| EngineError::Cell { key: key.clone(), cause })?;
            batch.delete_pending(key, *number);
            held::delete(key, held, &schemas, batch);
        }
        let timer = processor.timer(&loaded.state);
        batch.put_state(key, &mut loaded.state, loaded.timer, timer);
    }
    Ok(rows)
}

//! Reads the tables once, in an order that keeps what belongs together side by side, and leaves in each shard what it does
//! not know of. Nothing is kept in memory but the outboxes' identities and the emission at hand.

use std::collections::{BTreeSet, HashMap, HashSet};

use memoir_core::processor::{Processor, StreamEvent as _};
use memoir_core::rejected::{REJECTED, REJECTED_PLACE, rejected_fingerprint};
use memoir_core::sink::TableScan;
use memoir_core::table::{RowBuffer, RowError, RowReader, TableSchema, fingerprint};
use memoir_core::{Epoch, ShardId};
use memoir_state::state_table::StateReader;
use memoir_state::{EpochBatch, ShardStore};

use crate::EngineError;

/// A request by its key and number.
pub(super) type RequestId = (String, u64);

/// What of a shard the tables hold.
#[derive(Default)]
pub(super) struct ShardFound {
    /// Pending requests that are held.
    pub pending: BTreeSet<RequestId>,
    /// By table, requests whose rows the outbox and the table have.
    pub requests: Vec<HashSet<RequestId>>,
    /// By table and fingerprint, how many rows of the outbox the table has.
    pub rows: HashMap<(usize, u128), u64>,
}

/// What a survey comes to.
pub(super) struct Surveyed {
    pub shards: Vec<ShardFound>,
    /// By table, what is held.
    pub held: Vec<u64>,
}

/// A shard while the tables are read.
struct Shard<'a> {
    store: &'a ShardStore,
    states: StateReader<'a>,
    /// Pending requests, but for those that are asked again although tables hold them.
    pending: HashSet<RequestId>,
    /// By table, the requests of which the outbox has rows.
    outbox_requests: Vec<HashSet<RequestId>>,
    /// By table and fingerprint, how many rows the outbox has.
    outbox_rows: HashMap<(usize, u128), u64>,
    batch: EpochBatch,
    found: ShardFound,
}

/// Equal rows of a table that came of records alone.
struct RowAtHand {
    fingerprint: u128,
    times: u64,
    /// The only shard that can meet their record, where that is known.
    shard: Option<ShardId>,
}

pub(super) struct Survey<'a, P: Processor> {
    processor: &'a P,
    shards: u32,
    work: Vec<Shard<'a>>,
    held: Vec<u64>,
    changes: bool,
    /// The user at hand, and the last number that its state knows.
    last: Option<RequestId>,
}

/// Bytes of a write while the tables are read.
const BATCH_BYTES: usize = 4 << 20;

/// Rows of an outbox that are looked at together, in bytes.
pub(super) const OUTBOX_BYTES: usize = 4 << 20;

/// What tells a row of a table that is no processor's apart.
pub(super) fn row_fingerprint(table: &TableSchema, row: &[u8]) -> Result<u128, EngineError> {
    if table.name == REJECTED.name { rejected_fingerprint(row).map_err(damaged(table)) } else { Ok(fingerprint(row)) }
}

pub(super) fn damaged(table: &TableSchema) -> impl Fn(RowError) -> EngineError {
    let table = table.name.to_owned();
    move |cause| EngineError::TableRow { table: table.clone(), cause }
}

/// Calls `visit` for each row of a buffer.
pub(super) fn each_row(
    table: &TableSchema,
    buffer: &RowBuffer,
    mut visit: impl FnMut(&[u8]) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let mut reader = RowReader::new(&buffer.bytes);
    while !reader.is_at_end() {
        visit(reader.row(table.columns).map_err(damaged(table))?)?;
    }
    Ok(())
}

/// Calls `visit` for all rows of a table that wait in a shard's outbox, epoch by epoch.
pub(super) fn each_epoch(
    store: &ShardStore,
    table: &TableSchema,
    mut visit: impl FnMut(Epoch, RowBuffer) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let (mut after, last) = (Epoch(0), store.meta()?.epoch);
    loop {
        let entries = store.outbox(table.name, after, last, OUTBOX_BYTES)?;
        let Some((epoch, _)) = entries.last() else { return Ok(()) };
        after = *epoch;
        for (epoch, rows) in entries {
            visit(epoch, rows)?;
        }
    }
}

impl<'a, P: Processor> Survey<'a, P> {
    pub fn new(
        processor: &'a P,
        tables: &[&'static TableSchema],
        shards: u32,
        stores: &'a [ShardStore],
        changes: bool,
    ) -> Result<Self, EngineError> {
        let work = stores.iter().map(|store| Shard::open(processor, tables, store)).collect::<Result<_, _>>()?;
        Ok(Self { processor, shards, work, held: vec![0; tables.len()], changes, last: None })
    }

    /// Reads one of the processor's tables.
    pub fn requests(
        &mut self,
        scan: &dyn TableScan,
        at: usize,
        table: &'static TableSchema,
    ) -> Result<(), EngineError> {
        let mut at_hand: Option<(RequestId, RowBuffer)> = None;
        self.last = None;
        for buffer in scan.rows(table, self.processor.row_order())? {
            each_row(table, &buffer?, |row| {
                let Some(id) = self.processor.request_of(at, row).map_err(damaged(table))? else { return Ok(()) };
                if at_hand.as_ref().is_none_or(|(held, _)| *held != id)
                    && let Some((id, rows)) = at_hand.replace((id, RowBuffer::default()))
                {
                    self.hold_request(at, table, id, &rows)?;
                }
                if let Some((_, rows)) = &mut at_hand {
                    rows.push(row);
                }
                Ok(())
            })?;
        }
        match at_hand {
            Some((id, rows)) => self.hold_request(at, table, id, &rows),
            None => Ok(()),
        }
    }

    fn hold_request(
        &mut self,
        at: usize,
        table: &'static TableSchema,
        id: RequestId,
        rows: &RowBuffer,
    ) -> Result<(), EngineError> {
        let shard = ShardId::of_key(&id.0, self.shards).0 as usize;
        let Some(shard) = self.work.get_mut(shard) else {
            // There is no state at all.
            self.add_held(at);
            return Ok(());
        };
        if shard.outbox_requests.get(at).is_some_and(|outbox| outbox.contains(&id))
            && let Some(found) = shard.found.requests.get_mut(at)
        {
            found.insert(id.clone());
        }
        let last = match &self.last {
            Some((key, last)) if *key == id.0 => *last,
            _ => {
                let last = self.processor.last_number(&shard.states.load::<P::State>(&id.0)?.state);
                self.last = Some((id.0.clone(), last));
                last
            }
        };
        let is_pending = shard.pending.contains(&id);
        if id.1 <= last && !is_pending {
            return Ok(());
        }
        if self.changes {
            shard.batch.put_held_request(&id.0, id.1, table.name, rows);
            shard.write_if_large()?;
        }
        if is_pending {
            shard.found.pending.insert(id);
        }
        self.add_held(at);
        Ok(())
    }

    /// Reads a table whose rows came of records alone: equal ones stand side by side.
    pub fn rows(&mut self, scan: &dyn TableScan, at: usize, table: &'static TableSchema) -> Result<(), EngineError> {
        let order = if table.name == REJECTED.name { REJECTED_PLACE } else { &[] };
        let mut at_hand: Option<RowAtHand> = None;
        for buffer in scan.rows(table, order)? {
            each_row(table, &buffer?, |row| {
                let fingerprint = row_fingerprint(table, row)?;
                match &mut at_hand {
                    Some(held) if held.fingerprint == fingerprint => held.times += 1,
                    _ => {
                        let next = RowAtHand { fingerprint, times: 1, shard: self.shard_of(table, row)? };
                        if let Some(held) = at_hand.replace(next) {
                            self.hold_row(at, table, &held)?;
                        }
                    }
                }
                Ok(())
            })?;
        }
        at_hand.map_or(Ok(()), |held| self.hold_row(at, table, &held))
    }

    /// The shard that will be given a row's record, where the row tells: an archived event does, a dead letter may have
    /// been one of anybody's.
    fn shard_of(&self, table: &TableSchema, row: &[u8]) -> Result<Option<ShardId>, EngineError> {
        if table.name != P::Event::SCHEMA.name {
            return Ok(None);
        }
        let event = P::Event::from_row(&mut RowReader::new(row)).map_err(damaged(table))?;
        Ok(event.ok().map(|event| ShardId::of_key(event.key(), self.shards)))
    }

    fn hold_row(&mut self, at: usize, table: &'static TableSchema, held: &RowAtHand) -> Result<(), EngineError> {
        let RowAtHand { fingerprint, times, shard: of } = *held;
        // Where a row does not tell its key every shard gets it, and the one that is given its record uses it up.
        for shard in self.work.iter_mut().filter(|shard| of.is_none_or(|of| of == shard.store.shard())) {
            let waiting = shard.outbox_rows.get(&(at, fingerprint)).copied().unwrap_or(0).min(times);
            if waiting > 0 {
                shard.found.rows.insert((at, fingerprint), waiting);
            }
            if self.changes && times > waiting {
                shard.batch.put_held_row(table.name, fingerprint, times - waiting);
                shard.write_if_large()?;
            }
        }
        if let Some(held) = self.held.get_mut(at) {
            *held += times;
        }
        Ok(())
    }

    fn add_held(&mut self, at: usize) {
        if let Some(held) = self.held.get_mut(at) {
            *held += 1;
        }
    }

    /// Writes what is left to be written.
    pub fn finish(self) -> Result<Surveyed, EngineError> {
        let mut shards = Vec::with_capacity(self.work.len());
        for shard in self.work {
            if self.changes {
                shard.store.commit(shard.batch)?;
            }
            shards.push(shard.found);
        }
        Ok(Surveyed { shards, held: self.held })
    }
}

impl<'a> Shard<'a> {
    fn open<P: Processor>(
        processor: &P,
        tables: &[&'static TableSchema],
        store: &'a ShardStore,
    ) -> Result<Self, EngineError> {
        let of_processor = processor.tables().len();
        let mut outbox_requests = vec![HashSet::new(); of_processor];
        let mut outbox_rows = HashMap::new();
        for (at, table) in tables.iter().enumerate() {
            each_epoch(store, table, |_, buffer| {
                each_row(table, &buffer, |row| {
                    if let Some(requests) = outbox_requests.get_mut(at) {
                        requests.extend(processor.request_of(at, row).map_err(damaged(table))?);
                    } else {
                        *outbox_rows.entry((at, row_fingerprint(table, row)?)).or_default() += 1;
                    }
                    Ok(())
                })
            })?;
        }
        let mut pending: HashSet<RequestId> = store.pending_numbers()?.into_iter().collect();
        for (key, number, _) in store.held_back()? {
            pending.remove(&(key, number));
        }
        Ok(Self {
            store,
            states: store.reader(),
            pending,
            outbox_requests,
            outbox_rows,
            batch: EpochBatch::default(),
            found: ShardFound { requests: vec![HashSet::new(); of_processor], ..ShardFound::default() },
        })
    }

    fn write_if_large(&mut self) -> Result<(), EngineError> {
        if self.batch.size_in_bytes() >= BATCH_BYTES {
            self.store.write_part(std::mem::take(&mut self.batch))?;
        }
        Ok(())
    }
}

//! Polls the source on a thread of its own, and routes each record to the worker that has its shard.
//!
//! Every worker gets every batch's offsets, also where it gets no record: a shard without events moves on too.

use std::sync::Arc;

use crossbeam_channel::{Sender, select};
use memoir_core::ShardId;
use memoir_core::processor::StreamEvent;
use memoir_core::source::{BadRecord, Offset, Polled, Position, Source, SourceBatch};

use crate::{BadRecords, EngineError, EngineOptions, Halt};

/// Records of a poll.
pub(crate) const BATCH_RECORDS: usize = 4096;

/// A record with the shard that it belongs to.
pub(crate) struct Routed<E> {
    pub shard: ShardId,
    /// An index into the batch's partitions.
    pub partition: usize,
    pub position: Position,
    pub event: Result<E, BadRecord>,
}

/// What a worker is told.
pub(crate) enum FromReader<E> {
    Batch {
        /// The records of the worker's shards, in the order of the source.
        records: Vec<Routed<E>>,
        /// How far all partitions are read when the batch was taken.
        partitions: Arc<[(Arc<str>, Offset)]>,
    },
    /// There is nothing more in this run.
    End,
}

/// What became of reading.
#[derive(Default)]
pub(crate) struct Read {
    /// What the source left unread at its end.
    pub leftovers: Vec<String>,
    /// The bad record that ended it. All before it was handed to the workers, who take it although nothing follows.
    pub bad: Option<EngineError>,
}

/// Reads until the source ends, everybody halts, or there is a bad record where none may be.
pub(crate) fn read<E: StreamEvent>(
    source: &mut dyn Source<E>,
    options: &EngineOptions,
    shards: u32,
    workers: &[Sender<FromReader<E>>],
    halt: &Halt,
) -> Result<Read, EngineError> {
    let mut batch = SourceBatch::default();
    // Epochs are committed between batches: a batch must not be larger than an epoch may be.
    let max_records = BATCH_RECORDS.min(options.epoch_events.max(1));
    while !halt.is_halted() {
        batch.partitions.clear();
        batch.records.clear();
        match source.poll(&mut batch, max_records)? {
            Polled::Some => {
                let bad = if options.bad_records == BadRecords::Fail { cut_at_bad(&mut batch) } else { None };
                if !route(&mut batch, shards, workers, halt) {
                    break;
                }
                if let Some(bad) = bad {
                    let place = format!("{}, partition {}, record {}", bad.source, bad.partition, bad.place);
                    let bad = Some(EngineError::BadRecord { place, reason: bad.reason });
                    return Ok(Read { bad, ..Read::default() });
                }
            }
            Polled::Idle => {
                select! {
                    recv(halt.signal()) -> _ => break,
                    default(options.poll_interval) => {}
                }
            }
            Polled::End => {
                for worker in workers {
                    if !send(worker, FromReader::End, halt) {
                        break;
                    }
                }
                return Ok(Read { leftovers: source.leftovers(), bad: None });
            }
        }
    }
    Ok(Read::default())
}

/// Cuts a batch before its first bad record, and returns that.
fn cut_at_bad<E>(batch: &mut SourceBatch<E>) -> Option<BadRecord> {
    let at = batch.records.iter().position(|record| record.event.is_err())?;
    let bad = batch.records.drain(at..).next()?.event.err();
    // The partitions are read only as far as what is left of the batch.
    let mut positions = vec![None; batch.partitions.len()];
    for record in &batch.records {
        if let Some(position) = positions.get_mut(record.partition) {
            *position = Some(record.position);
        }
    }
    for ((_, offset), position) in batch.partitions.iter_mut().zip(positions) {
        // Without a record nothing moves: positions only count where they are above what a shard has.
        offset.position = position.unwrap_or_default();
    }
    bad
}

/// Sends a batch to the workers; `false` when everybody halts.
fn route<E: StreamEvent>(
    batch: &mut SourceBatch<E>,
    shards: u32,
    workers: &[Sender<FromReader<E>>],
    halt: &Halt,
) -> bool {
    let partitions = batch.partitions.drain(..).map(|(id, offset)| (Arc::from(id), offset)).collect::<Arc<[_]>>();
    let mut parts: Vec<Vec<Routed<E>>> = workers.iter().map(|_| Vec::new()).collect();
    for record in batch.records.drain(..) {
        let shard = match &record.event {
            Ok(event) => ShardId::of_key(event.key(), shards),
            Err(bad) => bad.key.as_deref().map_or(ShardId(0), |key| ShardId::of_key(key, shards)),
        };
        let routed = Routed { shard, partition: record.partition, position: record.position, event: record.event };
        if let Some(part) = parts.get_mut(shard.0 as usize % workers.len()) {
            part.push(routed);
        }
    }
    workers
        .iter()
        .zip(parts)
        .all(|(worker, records)| send(worker, FromReader::Batch { records, partitions: Arc::clone(&partitions) }, halt))
}

fn send<T>(worker: &Sender<T>, message: T, halt: &Halt) -> bool {
    select! {
        send(worker, message) -> sent => sent.is_ok(),
        recv(halt.signal()) -> _ => false,
    }
}

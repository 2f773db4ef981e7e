//! Appends the rows of committed epochs to their tables, many shards and epochs in one append, and empties the outbox
//! when they are durable there.
//!
//! Every append carries a mark a shard: how far that shard's rows are in that table. What the marks say at the start
//! of a run is what was appended, whatever the outbox still holds.
//!
//! A round takes the epochs that are committed when it begins, to one table after the other. So a later table never holds
//! an epoch that an earlier one lacks, and what it holds tells that the earlier ones are complete.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, select};
use memoir_core::Epoch;
use memoir_core::sink::{Sink, SinkError, Transaction};
use memoir_core::source::ReadUntil;
use memoir_core::table::{RowBuffer, TableSchema};
use memoir_state::ShardStore;
use tracing::warn;

use crate::attach::writer_app_id;
use crate::shard::CommittedEpochs;
use crate::worker::notify;
use crate::{EngineError, EngineOptions, Halt, Metrics};

/// Rows of one append, in bytes: what an append holds in memory.
const MAX_APPEND_BYTES: usize = 16 << 20;

pub(crate) struct Drainer<'a> {
    pub sink: &'a dyn Sink,
    pub stores: &'a [ShardStore],
    pub tables: &'a [&'static TableSchema],
    pub options: &'a EngineOptions,
    pub metrics: &'a Metrics,
    pub committed: &'a CommittedEpochs,
    /// How far each table holds the rows of each shard.
    pub drained: Vec<Vec<Epoch>>,
    /// Tells each worker that there is room again.
    pub room: Vec<Sender<()>>,
}

/// How far a table's rows were appended.
enum Drained {
    /// There may be more.
    Partly,
    Wholly,
    /// Everybody halts, and the table can't be reached or the grace time is over: its rows wait for the next run.
    NotNow,
}

/// When everybody is told to halt, how long it is that the drainer knows.
struct Grace<'a> {
    halt: &'a Halt,
    length: Duration,
    halted_at: Option<Instant>,
}

impl Grace<'_> {
    fn is_over(&mut self) -> bool {
        self.halt.is_halted() && self.halted_at.get_or_insert_with(Instant::now).elapsed() >= self.length
    }
}

impl Drainer<'_> {
    /// Appends until all workers are gone and the outboxes are empty. After a halt, only as long as the grace allows:
    /// what is left stays in the outbox, and the next run appends it.
    pub fn run(&mut self, work: &Receiver<()>, halt: &Halt) -> Result<(), EngineError> {
        let mut grace = Grace { halt, length: self.options.grace, halted_at: None };
        loop {
            let workers_are_gone = self.wait(work, halt);
            if !self.drain_all(&mut grace)? {
                warn!("rows that are left stay in the outbox for the next run");
                return Ok(());
            }
            if workers_are_gone {
                return Ok(());
            }
        }
    }

    /// Waits for the next append: the commit interval, or less where the outboxes fill up. Says whether all workers
    /// are gone.
    fn wait(&self, work: &Receiver<()>, halt: &Halt) -> bool {
        let interval = crossbeam_channel::after(self.options.commit_interval);
        let is_pressing = || self.metrics.outbox_bytes.get() >= MAX_APPEND_BYTES as u64;
        loop {
            select! {
                recv(work) -> message => match message {
                    Err(_) => return true,
                    Ok(()) if is_pressing() => return false,
                    Ok(()) => {}
                },
                recv(interval) -> _ => return false,
            }
            if halt.is_halted() {
                // The workers commit and go: their end of the channel closes.
                return work.recv().is_err();
            }
        }
    }

    /// Appends what is committed now to all tables; `false` where that can't be done in time.
    fn drain_all(&mut self, grace: &mut Grace<'_>) -> Result<bool, EngineError> {
        let committed: Vec<Epoch> = self.committed.iter().map(|epoch| Epoch(epoch.load(Ordering::Acquire))).collect();
        for at in 0..self.tables.len() {
            loop {
                match self.drain(at, &committed, grace)? {
                    Drained::Partly => {}
                    Drained::Wholly => break,
                    Drained::NotNow => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    /// Appends once to one table.
    fn drain(&mut self, at: usize, committed: &[Epoch], grace: &mut Grace<'_>) -> Result<Drained, EngineError> {
        let (Some(table), Some(drained)) = (self.tables.get(at), self.drained.get(at)) else {
            return Ok(Drained::Wholly);
        };
        let (mut rows, mut marks, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut reached = Vec::new();
        for ((store, committed), drained) in self.stores.iter().zip(committed).zip(drained) {
            if bytes >= MAX_APPEND_BYTES {
                break;
            }
            let entries = store.outbox(table.name, *drained, *committed, MAX_APPEND_BYTES - bytes)?;
            let Some((last, _)) = entries.last() else { continue };
            let version = i64::try_from(last.0).unwrap_or(i64::MAX);
            marks.push(Transaction { app_id: writer_app_id(&self.options.query, store.shard()), version });
            reached.push((store, *last));
            for (_, buffer) in entries {
                bytes += buffer.bytes.len();
                rows.push(buffer);
            }
        }
        if rows.is_empty() {
            return Ok(Drained::Wholly);
        }
        if grace.is_over() {
            warn!("the grace time is over");
            return Ok(Drained::NotNow);
        }
        if !self.append(table, &rows, &marks, grace.halt)? {
            warn!(table = table.name, "the table can't be reached");
            return Ok(Drained::NotNow);
        }
        for (store, epoch) in reached {
            store.trim_outbox(table.name, epoch)?;
            let drained = self.drained.get_mut(at).and_then(|table| table.get_mut(store.shard().0 as usize));
            if let Some(drained) = drained {
                *drained = epoch;
            }
        }
        self.metrics.rows.add(rows.iter().map(|rows| rows.rows).sum());
        self.metrics.appends.add(1);
        self.metrics.outbox_bytes.subtract(bytes as u64);
        self.room.iter().for_each(notify);
        Ok(if bytes >= MAX_APPEND_BYTES { Drained::Partly } else { Drained::Wholly })
    }

    /// Appends, and tries again while that may help; `false` where it would be tried again but everybody halts.
    fn append(
        &self,
        table: &TableSchema,
        rows: &[RowBuffer],
        marks: &[Transaction],
        halt: &Halt,
    ) -> Result<bool, EngineError> {
        let (began, mut pause) = (Instant::now(), Duration::from_millis(100));
        loop {
            let error = match self.sink.append(table, rows, marks) {
                Ok(()) => return Ok(true),
                Err(error) => error,
            };
            let gives_up =
                self.options.until == ReadUntil::WhatIsThere && began.elapsed() >= self.options.sink_patience;
            if !matches!(error, SinkError::Failed { transient: true, .. }) || gives_up {
                return Err(error.into());
            }
            if halt.is_halted() {
                warn!(table = table.name, %error, "append failed");
                return Ok(false);
            }
            warn!(table = table.name, %error, retry_in_ms = pause.as_millis(), "append failed, trying again");
            select! {
                recv(halt.signal()) -> _ => {},
                default(pause) => {},
            }
            pause = (pause * 2).min(Duration::from_secs(10));
        }
    }
}

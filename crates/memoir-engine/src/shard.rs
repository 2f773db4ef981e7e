//! One shard: takes records, answers and timers, and commits what they changed as epochs.
//!
//! Everything between two commits is one epoch: it is in memory until [`Shard::commit`] writes it at once. So a crash
//! anywhere leaves the shard as it was after its last commit, and the records since then are read again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use memoir_core::processor::{Handled, Processor, Request as _, StreamEvent};
use memoir_core::rejected::{REJECTED, rejected_fingerprint, write_rejected};
use memoir_core::source::{BadRecord, Offset, Position};
use memoir_core::table::{RowBuffer, TableSchema, fingerprint};
use memoir_core::{ShardId, Timestamp};
use memoir_state::state_table::StateReader;
use memoir_state::timer_table::Timer;
use memoir_state::{EpochBatch, ShardMeta, ShardStore};

use crate::answer::{AnswerNow, Answerer};
use crate::cache::StateCache;
use crate::held::Held;
use crate::pending::PendingRequests;
use crate::{ClockMode, EngineError, EngineOptions, Metrics};

/// The tables that a run's rows go to: the processor's, the dead letters, and the archive of events.
pub(crate) fn tables<P: Processor>(processor: &P, options: &EngineOptions) -> Vec<&'static TableSchema> {
    let mut tables = processor.tables().to_vec();
    tables.push(&REJECTED);
    if options.archive {
        tables.push(P::Event::SCHEMA);
    }
    tables
}

/// How far each shard has committed, for the drainer to see.
pub(crate) type CommittedEpochs = [AtomicU64];

/// What all shards of a run share.
pub(crate) struct Shared<'a, P: Processor> {
    pub processor: &'a P,
    pub answerer: &'a Answerer<P>,
    pub options: &'a EngineOptions,
    /// Workers that the shards are dealt to, one by one.
    pub threads: usize,
    pub metrics: &'a Metrics,
    pub tables: &'a [&'static TableSchema],
    pub committed: &'a CommittedEpochs,
}

/// A request to be answered over the network.
pub(crate) struct RemoteCall<P: Processor> {
    pub key: Arc<str>,
    pub number: u64,
    pub call: P::Call,
}

/// One shard at work.
pub(crate) struct Shard<'a, P: Processor> {
    shared: &'a Shared<'a, P>,
    store: &'a ShardStore,
    meta: ShardMeta,
    states: StateCache<P::State>,
    /// Sees what the last commit left; made when first needed after it.
    reader: Option<StateReader<'a>>,
    offsets: BTreeMap<Arc<str>, Offset>,
    moved_offsets: BTreeSet<Arc<str>>,
    pending: PendingRequests<P::Request>,
    held: Held,
    /// The epoch's changes that are already final: requests asked and answered, what is held used up.
    batch: EpochBatch,
    batch_is_empty: bool,
    /// The epoch's rows, a buffer a table.
    rows: Vec<RowBuffer>,
    records: usize,
    requests: Vec<P::Request>,
    /// No timer stands before this one.
    first_timer: Timer,
    /// Whether [`Shard::first_timer`] is a timer, or only a bound.
    timer_is_known: bool,
}

impl<'a, P: Processor> Shard<'a, P> {
    pub fn open(shared: &'a Shared<'a, P>, store: &'a ShardStore, cache_bytes: usize) -> Result<Self, EngineError> {
        let meta = store.meta()?;
        let offsets =
            store.offsets(&meta.source)?.into_iter().map(|(partition, offset)| (Arc::from(partition), offset));
        let mut pending = PendingRequests::default();
        for (key, number) in store.pending_numbers()? {
            pending.restore(&key, number);
        }
        shared.metrics.pending.add(pending.len() as u64);
        Ok(Self {
            meta,
            states: StateCache::new(cache_bytes),
            reader: None,
            offsets: offsets.collect(),
            moved_offsets: BTreeSet::new(),
            pending,
            held: Held::open(store)?,
            batch: EpochBatch::default(),
            batch_is_empty: true,
            rows: vec![RowBuffer::default(); shared.tables.len()],
            records: 0,
            requests: Vec::new(),
            first_timer: (Timestamp::MIN, String::new()),
            timer_is_known: false,
            shared,
            store,
        })
    }

    pub fn id(&self) -> ShardId {
        self.store.shard()
    }

    /// The position up to which a partition's records were taken.
    pub fn position(&self, partition: &str) -> Position {
        self.offsets.get(partition).map_or(Position::default(), |offset| offset.position)
    }

    /// Takes an event. `now` is the wall clock.
    pub fn take(&mut self, event: P::Event, now: Timestamp) -> Result<(), EngineError> {
        self.records += 1;
        if self.shared.options.archive {
            let key = event.key().to_owned();
            let mut archived = RowBuffer::default();
            event.write_row(&mut archived.row());
            let taken = self.take_event(&key, event, now)?;
            if taken == Handled::Taken {
                let last = self.rows.len() - 1;
                self.add_row(last, &archived, || fingerprint(&archived.bytes))?;
            }
            return Ok(());
        }
        let key = event.key().to_owned();
        self.take_event(&key, event, now).map(drop)
    }

    fn take_event(&mut self, key: &str, event: P::Event, now: Timestamp) -> Result<Handled, EngineError> {
        let now = match self.shared.options.clock {
            ClockMode::EventTime => event.ts(),
            ClockMode::ProcessingTime => now,
        };
        let processor = self.shared.processor;
        let handled = self.change(key, |state, requests| processor.on_event(key, state, event, now, requests))?;
        match handled {
            Handled::Taken => self.shared.metrics.events.add(1),
            Handled::Duplicate => self.shared.metrics.duplicates.add(1),
        }
        Ok(handled)
    }

    /// Takes a record that is no event.
    pub fn reject(&mut self, bad: &BadRecord, now: Timestamp) -> Result<(), EngineError> {
        self.records += 1;
        self.shared.metrics.rejected.add(1);
        let mut rejected = RowBuffer::default();
        write_rejected(bad, now, &mut rejected);
        // Behind the processor's own tables. A row that was just written reads back.
        let at = self.shared.processor.tables().len();
        self.add_row(at, &rejected, || rejected_fingerprint(&rejected.bytes).unwrap_or_default())
    }

    /// Adds a row that came of a record alone, unless its table holds it already.
    fn add_row(&mut self, at: usize, row: &RowBuffer, fingerprint: impl FnOnce() -> u128) -> Result<(), EngineError> {
        let Some((table, rows)) = self.shared.tables.get(at).zip(self.rows.get_mut(at)) else { return Ok(()) };
        if self.held.use_row(self.store, table.name, fingerprint, &mut self.batch)? {
            self.batch_is_empty = false;
        } else {
            rows.append(row);
        }
        Ok(())
    }

    /// All records of a partition up to this offset have been taken.
    pub fn advance(&mut self, partition: &Arc<str>, offset: &Offset) {
        if self.offsets.get(partition).is_none_or(|held| held.position < offset.position) {
            self.offsets.insert(Arc::clone(partition), offset.clone());
            self.moved_offsets.insert(Arc::clone(partition));
        }
    }

    /// Lets `step` change the state of a key, and takes the requests that it makes.
    fn change<T>(
        &mut self,
        key: &str,
        step: impl FnOnce(&mut P::State, &mut Vec<P::Request>) -> Result<T, memoir_core::cell::CellError>,
    ) -> Result<T, EngineError> {
        let Self { shared, store, reader, states, requests, pending, held, batch, batch_is_empty, rows, meta, .. } =
            self;
        let failed = |cause| EngineError::Cell { key: key.to_owned(), cause };
        let cached = states.change(key, meta.epoch.0 + 1, || reader.get_or_insert_with(|| store.reader()).load(key))?;
        let result = step(&mut cached.state, requests).map_err(failed)?;
        if !requests.is_empty() && held.has_requests() {
            let ahead = held.requests(store, key, shared.tables)?;
            if !ahead.is_empty() {
                let taken = std::mem::take(requests);
                let aligned =
                    shared.processor.on_held_ahead(key, &mut cached.state, taken, &ahead, rows).map_err(failed)?;
                *requests = aligned.ask;
                shared.metrics.held.add(held.use_requests(key, &ahead, aligned.through, shared.tables, batch));
                for again in ahead.iter().filter(|held| aligned.again.contains(&held.number)) {
                    held.ask_again(key, again, shared.tables, batch);
                }
                *batch_is_empty = false;
            }
        }
        for request in requests.drain(..) {
            match shared.answerer {
                // What is left of an earlier run comes first.
                Answerer::Now(answer) if !pending.contains(key) => {
                    let before = held.before_answer(key, request.number(), shared.tables, rows, batch);
                    answer_at_once(shared.processor, answer.as_ref(), key, &mut cached.state, request, rows)
                        .map_err(failed)?;
                    before.restore(rows);
                    shared.metrics.answers.add(1);
                }
                _ => {
                    batch.put_pending(key, &request);
                    *batch_is_empty = false;
                    pending.push(key, request);
                    shared.metrics.pending.add(1);
                }
            }
        }
        Ok(result)
    }

    /// Whether so much is pending that no more events should be taken.
    pub fn is_full(&self) -> bool {
        self.pending.len() >= self.shared.options.max_pending
    }

    pub fn has_pending(&self) -> bool {
        self.pending.len() > 0
    }

    /// Answers what can be answered at once, and hands out the calls that are to be made over the network.
    pub fn dispatch(&mut self, mut call_out: impl FnMut(RemoteCall<P>)) -> Result<(), EngineError> {
        while self.pending.under_way() < self.shared.options.max_in_flight {
            let Some((key, number, request)) = self.pending.next_ready() else { break };
            let request = match request {
                Some(request) => request,
                None => self.store.pending::<P::Request>(&key, number)?,
            };
            let processor = self.shared.processor;
            let call = self.change(&key, |state, _| processor.call(&key, state, request))?;
            match self.shared.answerer {
                Answerer::Now(answer) => {
                    let answer = answer(&call);
                    self.answer(RemoteCall { key, number, call }, answer)?;
                }
                Answerer::Later(_) => call_out(RemoteCall { key, number, call }),
            }
        }
        Ok(())
    }

    /// Applies an answer.
    pub fn answer(&mut self, call: RemoteCall<P>, answer: P::Answer) -> Result<(), EngineError> {
        let RemoteCall { key, number, call } = call;
        let processor = self.shared.processor;
        let mut rows = std::mem::take(&mut self.rows);
        let before = self.held.before_answer(&key, number, self.shared.tables, &rows, &mut self.batch);
        let applied = self.change(&key, |state, _| processor.on_answer(&key, state, call, answer, &mut rows));
        before.restore(&mut rows);
        self.rows = rows;
        applied?;
        self.batch.delete_pending(&key, number);
        self.batch_is_empty = false;
        self.pending.answered(&key);
        self.shared.metrics.answers.add(1);
        self.shared.metrics.pending.subtract(1);
        Ok(())
    }

    /// The next time at which a timer is due, as far as the last commit tells.
    pub fn next_timer(&mut self) -> Result<Option<Timestamp>, EngineError> {
        if !self.timer_is_known {
            match self.store.timers(&self.first_timer, Timestamp::MAX, 1)?.pop() {
                Some(first) => self.first_timer = first,
                None => self.first_timer = (Timestamp::MAX, String::new()),
            }
            self.timer_is_known = true;
        }
        Ok(Some(self.first_timer.0).filter(|due| *due < Timestamp::MAX))
    }

    /// Fires the timers that are due by the wall clock; says whether there may be more. Commits before, so that the
    /// timer table is true, and leaves the changes for the next commit.
    pub fn fire_timers(&mut self, now: Timestamp) -> Result<bool, EngineError> {
        if self.is_full() || self.next_timer()?.is_none_or(|due| due > now) {
            return Ok(false);
        }
        self.commit()?;
        let due = self.store.timers(&self.first_timer, now, TIMERS_AT_ONCE)?;
        for (_, key) in &due {
            let processor = self.shared.processor;
            self.change(key, |state, requests| processor.on_time(key, state, now, requests))?;
        }
        self.commit()?;
        self.timer_is_known = false;
        Ok(due.len() == TIMERS_AT_ONCE)
    }

    /// Drains the next keys that hold timers; says whether there may be more.
    pub fn drain(&mut self, drain: &mut Drain, now: Timestamp) -> Result<bool, EngineError> {
        self.commit()?;
        let now = (self.shared.options.clock == ClockMode::ProcessingTime).then_some(now);
        if drain.keys.as_slice().is_empty() {
            drain.keys = self.next_to_drain(&mut drain.behind)?;
        }
        for key in drain.keys.by_ref().take(TIMERS_AT_ONCE) {
            let processor = self.shared.processor;
            self.change(&key, |state, requests| processor.on_drain(&key, state, now, requests))?;
        }
        Ok(!drain.keys.as_slice().is_empty() || drain.behind.0 < Timestamp::MAX)
    }

    /// The keys of the next timers, in the order in which their states lie in the database: what is due first does not
    /// matter where all are drained, and states that lie side by side are read together.
    fn next_to_drain(&self, behind: &mut Timer) -> Result<std::vec::IntoIter<String>, EngineError> {
        let timers = self.store.timers(behind, Timestamp::MAX, DRAINED_AT_ONCE)?;
        *behind = match timers.last() {
            // The next text after this one.
            Some((due, key)) if timers.len() == DRAINED_AT_ONCE => (*due, format!("{key}\0")),
            _ => (Timestamp::MAX, String::new()),
        };
        let mut keys: Vec<String> = timers.into_iter().map(|(_, key)| key).collect();
        keys.sort_unstable();
        Ok(keys.into_iter())
    }

    /// Whether anything waits for a commit.
    pub fn has_changes(&self) -> bool {
        self.states.has_changes()
            || !self.batch_is_empty
            || !self.moved_offsets.is_empty()
            || self.rows.iter().any(|rows| !rows.is_empty())
    }

    /// Whether the epoch has grown so large that it should be committed at once.
    pub fn is_large(&self) -> bool {
        let options = self.shared.options;
        self.records >= options.epoch_events
            || self.states.changes() >= options.epoch_events
            || self.rows.iter().map(|rows| rows.bytes.len()).sum::<usize>() >= MAX_EPOCH_ROW_BYTES
    }

    /// Commits the epoch: offsets, states, timers, requests and rows in one atomic, synced write.
    pub fn commit(&mut self) -> Result<(), EngineError> {
        if !self.has_changes() {
            return Ok(());
        }
        let epoch = self.meta.epoch.next();
        let mut batch = std::mem::take(&mut self.batch);
        let processor = self.shared.processor;
        let (first_timer, timer_is_known) = (&mut self.first_timer, &mut self.timer_is_known);
        self.states.take_changes(|key, cached| {
            let timer = processor.timer(&cached.state);
            batch.put_state(key, &mut cached.state, cached.stored_timer, timer);
            if timer != cached.stored_timer {
                *timer_is_known = false;
            }
            cached.stored_timer = timer;
            if let Some(due) = timer
                && due <= first_timer.0
            {
                *first_timer = (due, String::new());
            }
        });
        for partition in std::mem::take(&mut self.moved_offsets) {
            if let Some(offset) = self.offsets.get(&partition) {
                batch.put_offset(&self.meta.source, &partition, offset);
            }
        }
        let mut row_bytes = 0;
        for (table, rows) in self.shared.tables.iter().zip(&mut self.rows) {
            if !rows.is_empty() {
                batch.put_rows(table.name, epoch, rows);
                row_bytes += rows.bytes.len();
                *rows = RowBuffer::default();
            }
        }
        self.meta.epoch = epoch;
        batch.put_meta(&self.meta);
        // What is read from here on must see this commit.
        self.reader = None;
        self.store.commit(batch)?;
        self.batch_is_empty = true;
        self.records = 0;
        self.pending.committed();
        self.held.committed();
        self.states.evict();
        self.shared.metrics.outbox_bytes.add(row_bytes as u64);
        self.shared.metrics.epochs.add(1);
        if let Some(committed) = self.shared.committed.get(self.id().0 as usize) {
            committed.store(epoch.0, Ordering::Release);
        }
        Ok(())
    }
}

fn answer_at_once<P: Processor>(
    processor: &P,
    answer: &AnswerNow<P>,
    key: &str,
    state: &mut P::State,
    request: P::Request,
    rows: &mut [RowBuffer],
) -> Result<(), memoir_core::cell::CellError> {
    let call = processor.call(key, state, request)?;
    let answer = answer(&call);
    processor.on_answer(key, state, call, answer, rows)
}

/// How far a shard's drain came.
pub(crate) struct Drain {
    /// What is still to be drained of the timers before `behind`.
    keys: std::vec::IntoIter<String>,
    /// Where the other timers begin.
    behind: Timer,
}

impl Drain {
    pub fn new() -> Self {
        Self { keys: Vec::new().into_iter(), behind: (Timestamp::MIN, String::new()) }
    }
}

/// Keys whose timers fire, or that are drained, between two commits.
const TIMERS_AT_ONCE: usize = 1024;

/// Timers that a drain takes from the table at once.
const DRAINED_AT_ONCE: usize = 32 * 1024;

/// Rows of one epoch at which it is committed, in bytes.
const MAX_EPOCH_ROW_BYTES: usize = 8 << 20;

//! The profile processor, watched: tests wait for what it has handled, and let it fail where they want a crash.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use memoir_core::cell::CellError;
use memoir_core::processor::{Aligned, Handled, HeldRequest, Processor, Request as _};
use memoir_core::profile::{
    ExtractionAnswer, ExtractionCall, ExtractionRequest, ProfileConfig, ProfileProcessor, UserState,
};
use memoir_core::table::{RowBuffer, RowError, TableSchema};
use memoir_core::{ConversationEvent, Timestamp};

use super::sink::PATIENCE;

/// What was handled so far.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Events taken or dropped.
    pub events: u64,
    /// The emission ids whose answers were applied, by user, in order.
    pub applied: HashMap<String, Vec<String>>,
    /// The due times of the timers that fired by the clock, in the order in which they did.
    pub fired: Vec<Timestamp>,
    /// Requests that were made and not answered, now and at most.
    pub pending: i64,
    pub most_pending: i64,
}

pub struct Watched {
    inner: ProfileProcessor,
    progress: Mutex<Progress>,
    changed: Condvar,
    /// Calls of any kind until one fails; a shard that fails loses what it has not committed.
    until_failure: AtomicU64,
}

impl Watched {
    pub fn new(config: &ProfileConfig) -> Self {
        Self {
            inner: ProfileProcessor::new(config.clone()),
            progress: Mutex::default(),
            changed: Condvar::new(),
            until_failure: AtomicU64::new(u64::MAX),
        }
    }

    /// Fails at the `n`th call from now on.
    pub fn failing_at(config: &ProfileConfig, n: u64) -> Self {
        let watched = Self::new(config);
        watched.until_failure.store(n, Ordering::SeqCst);
        watched
    }

    pub fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn wait_until(&self, what: &str, is_there: impl Fn(&Progress) -> bool) {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(progress, PATIENCE, |progress| !is_there(progress));
        let (progress, result) = waited.unwrap_or_else(PoisonError::into_inner);
        let reached = progress.clone();
        drop(progress);
        assert!(!result.timed_out(), "waited in vain for {what}: {reached:?}");
    }

    fn note(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn note_requests(&self, made: usize, change: impl FnOnce(&mut Progress)) {
        self.note(|progress| {
            change(progress);
            progress.pending += i64::try_from(made).unwrap_or(i64::MAX);
            progress.most_pending = progress.most_pending.max(progress.pending);
        });
    }

    fn may_fail(&self) -> Result<(), CellError> {
        let left = self.until_failure.fetch_sub(1, Ordering::SeqCst);
        if left <= 1 { Err(CellError::Empty(0)) } else { Ok(()) }
    }
}

impl Processor for Watched {
    type Event = ConversationEvent;
    type State = UserState;
    type Request = ExtractionRequest;
    type Call = ExtractionCall;
    type Answer = ExtractionAnswer;

    fn tables(&self) -> &'static [&'static TableSchema] {
        self.inner.tables()
    }

    fn on_event(
        &self,
        key: &str,
        state: &mut UserState,
        event: ConversationEvent,
        now: Timestamp,
        requests: &mut Vec<ExtractionRequest>,
    ) -> Result<Handled, CellError> {
        self.may_fail()?;
        let handled = self.inner.on_event(key, state, event, now, requests)?;
        self.note_requests(requests.len(), |progress| progress.events += 1);
        Ok(handled)
    }

    fn on_time(
        &self,
        key: &str,
        state: &mut UserState,
        now: Timestamp,
        requests: &mut Vec<ExtractionRequest>,
    ) -> Result<(), CellError> {
        self.may_fail()?;
        let due =
            self.inner.timer(state).filter(|due| *due <= now).expect("a user is woken only when its timer is due");
        self.inner.on_time(key, state, now, requests)?;
        assert!(self.inner.timer(state).is_none_or(|due| due > now), "a timer that fired is still due");
        self.note_requests(requests.len(), |progress| progress.fired.push(due));
        Ok(())
    }

    fn on_drain(
        &self,
        key: &str,
        state: &mut UserState,
        now: Option<Timestamp>,
        requests: &mut Vec<ExtractionRequest>,
    ) -> Result<(), CellError> {
        self.may_fail()?;
        self.inner.on_drain(key, state, now, requests)?;
        assert_eq!(self.inner.timer(state), None, "a drained user has nothing pending");
        self.note_requests(requests.len(), |_| {});
        Ok(())
    }

    fn timer(&self, state: &UserState) -> Option<Timestamp> {
        self.inner.timer(state)
    }

    fn call(&self, key: &str, state: &UserState, request: ExtractionRequest) -> Result<ExtractionCall, CellError> {
        self.inner.call(key, state, request)
    }

    fn on_answer(
        &self,
        key: &str,
        state: &mut UserState,
        call: ExtractionCall,
        answer: ExtractionAnswer,
        rows: &mut [RowBuffer],
    ) -> Result<(), CellError> {
        self.may_fail()?;
        let emission_id = call.emission_id.clone();
        self.inner.on_answer(key, state, call, answer, rows)?;
        self.note(|progress| {
            progress.applied.entry(key.to_owned()).or_default().push(emission_id);
            progress.pending -= 1;
        });
        Ok(())
    }

    fn last_number(&self, state: &UserState) -> u64 {
        self.inner.last_number(state)
    }

    fn row_order(&self) -> &'static [&'static str] {
        self.inner.row_order()
    }

    fn request_of(&self, table: usize, row: &[u8]) -> Result<Option<(String, u64)>, RowError> {
        self.may_fail().map_err(|_| RowError { at: 0, reason: "as wanted" })?;
        self.inner.request_of(table, row)
    }

    fn on_held(
        &self,
        key: &str,
        state: &mut UserState,
        request: &ExtractionRequest,
        held: &HeldRequest,
        rows: &mut [RowBuffer],
    ) -> Result<(), CellError> {
        self.may_fail()?;
        assert_eq!(request.number(), held.number, "a pending request is answered by its own rows");
        self.inner.on_held(key, state, request, held, rows)
    }

    fn on_held_ahead(
        &self,
        key: &str,
        state: &mut UserState,
        requests: Vec<ExtractionRequest>,
        held: &[HeldRequest],
        rows: &mut [RowBuffer],
    ) -> Result<Aligned<ExtractionRequest>, CellError> {
        self.may_fail()?;
        let made = requests.len();
        let aligned = self.inner.on_held_ahead(key, state, requests, held, rows)?;
        self.note(|progress| progress.pending -= i64::try_from(made - aligned.ask.len()).unwrap_or(i64::MAX));
        Ok(aligned)
    }
}

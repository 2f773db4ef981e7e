//! A thread with some shards: takes what comes when it may be taken, and commits by size and by time.
//!
//! The source is paused, by not taking its batches, while a shard has too many unanswered requests or the outboxes
//! are too full. Answers, timers and commits go on meanwhile, so nothing waits in a circle.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use futures::FutureExt;
use memoir_core::processor::Processor;
use memoir_core::source::Offset;
use memoir_core::{Clock, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::answer::{Answerer, RemoteAnswerer};
use crate::reader::{FromReader, Routed};
use crate::shard::{Drain, RemoteCall, Shard, Shared};
use crate::{ClockMode, EngineError, Halt};

/// An answer that came over the network.
struct Answered<P: Processor> {
    /// The shard's place among the worker's.
    at: usize,
    call: RemoteCall<P>,
    answer: P::Answer,
}

/// An answer, or `None` where the answerer panicked.
type Arrived<P> = Option<Answered<P>>;

/// What a worker works with.
pub(crate) struct Channels<P: Processor> {
    pub batches: Receiver<FromReader<P::Event>>,
    /// The drainer made room in the outboxes.
    pub room: Receiver<()>,
    /// Tells the drainer that there is something to append.
    pub committed: Sender<()>,
}

/// What a worker asks remote answers with.
pub(crate) struct Remote {
    pub runtime: Handle,
    /// Calls under way in the whole process.
    pub in_flight: Arc<Semaphore>,
}

/// The end of an available-now run, step by step. After each step what it asked must be answered.
enum Phase {
    Reading,
    FiringTimers,
    Draining(Drain),
    Ended,
}

struct Worker<'a, P: Processor> {
    shared: &'a Shared<'a, P>,
    shards: Vec<(Shard<'a, P>, Phase)>,
    channels: Channels<P>,
    remote: &'a Remote,
    answered: (Sender<Arrived<P>>, Receiver<Arrived<P>>),
    clock: &'a dyn Clock,
    source_ended: bool,
    /// When the oldest uncommitted change was made.
    changed_at: Option<Instant>,
}

/// Works until the run ends or everybody halts; what was taken until then is committed.
pub(crate) fn work<'a, P: Processor>(
    shared: &'a Shared<'a, P>,
    shards: Vec<Shard<'a, P>>,
    channels: Channels<P>,
    remote: &'a Remote,
    clock: &'a dyn Clock,
    halt: &Halt,
) -> Result<(), EngineError> {
    // Room for every call that may be under way, so that no answer ever waits to be handed over.
    let answers = shards.len() * shared.options.max_in_flight.max(1);
    let mut worker = Worker {
        shared,
        shards: shards.into_iter().map(|shard| (shard, Phase::Reading)).collect(),
        channels,
        remote,
        answered: bounded(answers),
        clock,
        source_ended: false,
        changed_at: None,
    };
    worker.run(halt)
}

impl<P: Processor> Worker<'_, P> {
    fn run(&mut self, halt: &Halt) -> Result<(), EngineError> {
        loop {
            let now = self.clock.now();
            self.fire_timers(now)?;
            if self.source_ended {
                self.end(now)?;
            }
            // Behind all that may have asked something, so that nothing asked waits for the next message.
            self.dispatch()?;
            let until_commit = self.commit_due()?;
            // Behind the commit, which is what brings new timers into the timer table.
            let wait = until_commit.min(self.until_timer(now)?);
            if self.shards.iter().all(|(_, phase)| matches!(phase, Phase::Ended)) {
                return Ok(());
            }
            let nothing = never();
            let batches = if self.may_read() { &self.channels.batches } else { &nothing };
            let timeout = crossbeam_channel::after(wait);
            select! {
                recv(halt.signal()) -> _ => return self.commit_all(),
                recv(self.answered.1) -> answered => match answered {
                    Ok(Some(answered)) => self.answer(answered)?,
                    Ok(None) => return Err(EngineError::Panicked),
                    // Never: the worker holds a sender itself.
                    Err(_) => {}
                },
                recv(batches) -> message => match message {
                    Ok(FromReader::Batch { records, partitions }) => self.take(records, &partitions)?,
                    Ok(FromReader::End) => self.source_ended = true,
                    // The reader is gone without an end: everybody is being halted, or it met a bad record. What it read
                    // before has been taken.
                    Err(_) => return self.commit_all(),
                },
                recv(self.channels.room) -> _ => {},
                recv(timeout) -> _ => {},
            }
        }
    }

    fn answer(&mut self, answered: Answered<P>) -> Result<(), EngineError> {
        let Answered { at, call, answer } = answered;
        match self.shards.get_mut(at) {
            Some((shard, _)) => shard.answer(call, answer),
            None => Ok(()),
        }
    }

    fn may_read(&self) -> bool {
        !self.source_ended
            && self.shared.metrics.outbox_bytes.get() < self.shared.options.max_outbox_bytes as u64
            && !self.shards.iter().any(|(shard, _)| shard.is_full())
    }

    fn take(
        &mut self,
        records: Vec<Routed<P::Event>>,
        partitions: &Arc<[(Arc<str>, Offset)]>,
    ) -> Result<(), EngineError> {
        let now = self.clock.now();
        let workers = self.shared.threads;
        // What each shard had of each partition before this batch.
        let had: Vec<Vec<_>> = self
            .shards
            .iter()
            .map(|(shard, _)| partitions.iter().map(|(partition, _)| shard.position(partition)).collect())
            .collect();
        let mut skipped = 0;
        for Routed { shard, partition, position, event } in records {
            // Shards are dealt to workers one by one: shard s is the (s / workers)th of its worker.
            let at = shard.0 as usize / workers;
            let Some((shard, _)) = self.shards.get_mut(at) else { continue };
            if had.get(at).and_then(|had| had.get(partition)).is_some_and(|had| position <= *had) {
                skipped += 1;
                continue;
            }
            match event {
                Ok(event) => shard.take(event, now)?,
                Err(bad) => shard.reject(&bad, now)?,
            }
        }
        self.shared.metrics.skipped.add(skipped);
        for (shard, _) in &mut self.shards {
            for (partition, offset) in partitions.iter() {
                shard.advance(partition, offset);
            }
        }
        Ok(())
    }

    fn dispatch(&mut self) -> Result<(), EngineError> {
        for (at, (shard, _)) in self.shards.iter_mut().enumerate() {
            if !shard.has_pending() {
                continue;
            }
            let answered = &self.answered.0;
            let (answerer, remote) = (self.shared.answerer, self.remote);
            shard.dispatch(|call| {
                if let Answerer::Later(answerer) = answerer {
                    call_out(answerer, remote, call, at, answered.clone());
                }
            })?;
        }
        Ok(())
    }

    fn fire_timers(&mut self, now: Timestamp) -> Result<(), EngineError> {
        if self.shared.options.clock == ClockMode::ProcessingTime {
            for (shard, _) in &mut self.shards {
                while shard.fire_timers(now)? {}
            }
        }
        Ok(())
    }

    /// How long no timer is due. Timers of a shard that is full wait for its answers.
    fn until_timer(&mut self, now: Timestamp) -> Result<Duration, EngineError> {
        let mut wait = IDLE;
        if self.shared.options.clock == ClockMode::ProcessingTime {
            for (shard, _) in self.shards.iter_mut().filter(|(shard, _)| !shard.is_full()) {
                if let Some(due) = shard.next_timer()? {
                    wait = wait.min(due.since(now));
                }
            }
        }
        Ok(wait)
    }

    /// Commits what is large or has waited for long enough. Returns how long nothing more is to be committed.
    fn commit_due(&mut self) -> Result<Duration, EngineError> {
        for (shard, _) in &mut self.shards {
            if shard.is_large() {
                shard.commit()?;
                notify(&self.channels.committed);
            }
        }
        if !self.shards.iter().any(|(shard, _)| shard.has_changes()) {
            self.changed_at = None;
            return Ok(IDLE);
        }
        let since = *self.changed_at.get_or_insert_with(Instant::now);
        let left = self.shared.options.epoch_interval.saturating_sub(since.elapsed());
        if left.is_zero() {
            self.commit_all()?;
            return Ok(IDLE);
        }
        Ok(left)
    }

    /// Takes the steps to the end of an available-now run as far as they can be taken now.
    fn end(&mut self, now: Timestamp) -> Result<(), EngineError> {
        let options = self.shared.options;
        for (shard, phase) in &mut self.shards {
            loop {
                let is_over = match phase {
                    Phase::Ended => break,
                    _ if shard.has_pending() => break,
                    Phase::Reading => true,
                    Phase::FiringTimers if options.clock == ClockMode::EventTime => true,
                    Phase::FiringTimers => !shard.fire_timers(now)?,
                    Phase::Draining(drain) => !options.drain || !shard.drain(drain, now)?,
                };
                // A step that asked something is followed by the next one when all is answered.
                if !is_over {
                    continue;
                }
                *phase = match phase {
                    Phase::Reading => Phase::FiringTimers,
                    Phase::FiringTimers => Phase::Draining(Drain::new()),
                    Phase::Draining(_) if shard.has_pending() => break,
                    Phase::Draining(_) | Phase::Ended => {
                        shard.commit()?;
                        notify(&self.channels.committed);
                        Phase::Ended
                    }
                };
            }
        }
        Ok(())
    }

    fn commit_all(&mut self) -> Result<(), EngineError> {
        for (shard, _) in &mut self.shards {
            shard.commit()?;
        }
        self.changed_at = None;
        notify(&self.channels.committed);
        Ok(())
    }
}

/// Tells somebody who may know already.
pub(crate) fn notify(channel: &Sender<()>) {
    // Full means that it was told and has not looked yet; gone means that nobody wants to know.
    let _ = channel.try_send(());
}

fn call_out<P: Processor>(
    answerer: &Arc<dyn RemoteAnswerer<P>>,
    remote: &Remote,
    call: RemoteCall<P>,
    at: usize,
    answered: Sender<Arrived<P>>,
) {
    let (answerer, in_flight) = (Arc::clone(answerer), Arc::clone(&remote.in_flight));
    remote.runtime.spawn(async move {
        let RemoteCall { key, number, call } = call;
        // Closed only when the run is over, and then nobody waits for the answer.
        let Ok(_permit) = in_flight.acquire().await else { return };
        // A panic must not leave the worker waiting for ever.
        let answer = AssertUnwindSafe(async move { answerer.answer(call).await }).catch_unwind().await;
        let answer = answer.ok().map(|(call, answer)| Answered { at, call: RemoteCall { key, number, call }, answer });
        // There is room for it; where the worker is gone, the request is kept as state and asked again.
        let _ = answered.try_send(answer);
    });
}

/// How long a worker waits where nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

//! A run: brings state, tables and source together, starts the threads, and waits for the end.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};

use crossbeam_channel::bounded;
use memoir_core::Clock;
use memoir_core::processor::Processor;
use memoir_core::sink::Sink;
use memoir_core::source::Source;
use memoir_state::{Manifest, ShardStore};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::drainer::Drainer;
use crate::shard::{Shard, Shared, tables};
use crate::worker::{Channels, Remote, work};
use crate::{Answerer, Counts, EngineError, EngineOptions, Halt, Metrics, attach, reader};

/// What a run works with.
pub struct Job<'a, P: Processor> {
    pub processor: &'a P,
    pub source: &'a mut dyn Source<P::Event>,
    pub sink: &'a dyn Sink,
    pub answerer: Answerer<P>,
    pub manifest: &'a Manifest,
    pub stores: &'a [ShardStore],
    pub options: &'a EngineOptions,
    pub clock: &'a dyn Clock,
    /// Where remote answers are awaited.
    pub runtime: Handle,
    pub metrics: &'a Metrics,
    pub halt: &'a Halt,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All that was there has been processed and appended.
    Complete,
    /// It was told to stop.
    Halted,
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Summary {
    pub ending: Ending,
    pub counts: Counts,
    /// What the source left unread.
    pub leftovers: Vec<String>,
}

/// Batches that wait for a worker.
const QUEUED_BATCHES: usize = 4;

/// Runs until the source ends, or until everybody is told to halt. Blocks; must not be called on a runtime's worker.
///
/// # Errors
/// The first error of any part. What was committed stays; a next run goes on from there.
pub fn run<P: Processor>(job: Job<'_, P>) -> Result<Summary, EngineError> {
    let Job { processor, source, sink, answerer, manifest, stores, options, clock, runtime, metrics, halt } = job;
    let tables = tables(processor, options);
    attach::check_clock(options, stores)?;
    let drained = attach::tables(sink, &tables, manifest, stores)?;
    // A mistyped source must leave no trace in the state: it is opened before the state is bound to it.
    let mut binding = attach::source(source, options, stores)?;
    source.resume(std::mem::take(&mut binding.offsets), options.until)?;
    binding.write(stores)?;
    attach::keep_clock(options, stores)?;
    for store in stores {
        for table in &tables {
            metrics.outbox_bytes.add(store.outbox_bytes(table.name)? as u64);
        }
    }

    let committed: Vec<AtomicU64> =
        stores.iter().map(|store| Ok(AtomicU64::new(store.meta()?.epoch.0))).collect::<Result<_, EngineError>>()?;
    let threads = options.threads.clamp(1, stores.len().max(1));
    let shared =
        Shared { processor, answerer: &answerer, options, threads, metrics, tables: &tables, committed: &committed };
    let mut shards: Vec<Vec<Shard<'_, P>>> = (0..threads).map(|_| Vec::new()).collect();
    for (at, store) in stores.iter().enumerate() {
        let shard = Shard::open(&shared, store, options.cache_bytes / stores.len())?;
        if let Some(worker) = shards.get_mut(at % threads) {
            worker.push(shard);
        }
    }

    let remote = Remote { runtime, in_flight: Arc::new(Semaphore::new(options.max_in_flight.max(1))) };
    let failure = Failure { halt, first: Mutex::new(None) };
    let (committed_sender, committed_receiver) = bounded(1);
    let mut read = reader::Read::default();
    let mut ending = Ending::Halted;
    thread::scope(|scope| {
        let (mut batches, mut room, mut workers) = (Vec::new(), Vec::new(), Vec::new());
        for shards in shards {
            let (batch_sender, batch_receiver) = bounded(QUEUED_BATCHES);
            let (room_sender, room_receiver) = bounded(1);
            batches.push(batch_sender);
            room.push(room_sender);
            let channels =
                Channels { batches: batch_receiver, room: room_receiver, committed: committed_sender.clone() };
            let (shared, remote, failure) = (&shared, &remote, &failure);
            workers.push(scope.spawn(move || failure.watch(|| work(shared, shards, channels, remote, clock, halt))));
        }
        drop(committed_sender);
        let mut drainer =
            Drainer { sink, stores, tables: &tables, options, metrics, committed: &committed, drained, room };
        let watching = &failure;
        let drainer = scope.spawn(move || watching.watch(|| drainer.run(&committed_receiver, halt)));
        // The channels go with the reader: what is in them is still taken, and then the workers know that nothing follows.
        let reader = scope.spawn(move || {
            let batches = batches;
            watching.watch(|| reader::read(source, options, manifest.shards, &batches, halt))
        });
        read = failure.join(reader).flatten().unwrap_or_default();
        let workers_ended = workers.into_iter().filter_map(|worker| failure.join(worker).flatten()).count();
        let drained = failure.join(drainer).flatten().is_some();
        if drained && workers_ended == threads && !halt.is_halted() {
            ending = Ending::Complete;
        }
    });
    remote.in_flight.close();
    if let Some(bad) = read.bad {
        failure.keep(bad);
    }
    match failure.first.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(Summary { ending, counts: metrics.counts(), leftovers: read.leftovers }),
    }
}

/// Keeps the first error of any thread, and halts the others.
struct Failure<'a> {
    halt: &'a Halt,
    first: Mutex<Option<EngineError>>,
}

impl Failure<'_> {
    fn keep(&self, error: EngineError) {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.halt.halt();
    }

    fn watch<T>(&self, work: impl FnOnce() -> Result<T, EngineError>) -> Option<T> {
        let _guard = HaltOnPanic(self.halt);
        work().map_err(|error| self.keep(error)).ok()
    }

    /// What a thread returned; a panic counts as an error.
    fn join<T>(&self, thread: ScopedJoinHandle<'_, T>) -> Option<T> {
        thread.join().map_err(|_| self.keep(EngineError::Panicked)).ok()
    }
}

/// Halts everybody when its thread panics, so that nobody waits for a thread that is gone.
struct HaltOnPanic<'a>(&'a Halt);

impl Drop for HaltOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.halt();
        }
    }
}

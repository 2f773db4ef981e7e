//! Laws that hold for every audit, however a run is sharded, cut, cached, faulted and stopped.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use memoir_core::ConversationEvent;
use memoir_core::profile::ProfileConfig;
use memoir_engine::{Answerer, Ending, EngineError, Halt};
use memoir_state::Resources;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::audit_equals_reference::assert_same;
use crate::support::extractor::{Extract, extract};
use crate::support::processor::Watched;
use crate::support::query::{Query, fast_folder, image_of_running, now, now_by};
use crate::support::reference::Reference;
use crate::support::sink::{Fault, MemorySink, Tables};
use crate::support::source::{Log, MemorySource, Stop};
use crate::support::streams::{cases, config, events};

/// All that must not matter.
#[derive(Clone, Debug)]
pub struct Cut {
    threads: usize,
    epoch_events: usize,
    epoch_interval: Duration,
    cache_bytes: usize,
    max_outbox_bytes: usize,
    batches: Vec<usize>,
}

pub fn cut() -> impl Strategy<Value = Cut> {
    (
        1usize..5,
        prop_oneof![1usize..20, Just(8192)],
        prop::sample::select(vec![0u64, 2, 500]),
        prop::sample::select(vec![0usize, 3000, 96 << 20]),
        prop::sample::select(vec![1usize, 2000, 64 << 20]),
        prop::collection::vec(1usize..40, 1..5),
    )
        .prop_map(|(threads, epoch_events, interval, cache_bytes, max_outbox_bytes, batches)| Cut {
            threads,
            epoch_events,
            epoch_interval: Duration::from_millis(interval),
            cache_bytes,
            max_outbox_bytes,
            batches,
        })
}

impl Cut {
    pub fn apply(&self, query: &mut Query) {
        query.options.threads = self.threads;
        query.options.epoch_events = self.epoch_events;
        query.options.epoch_interval = self.epoch_interval;
        query.options.cache_bytes = self.cache_bytes;
        query.options.max_outbox_bytes = self.max_outbox_bytes;
    }

    pub fn source(&self, log: &Arc<Log>, stop: Stop) -> MemorySource {
        MemorySource::new(log, &self.batches, stop)
    }
}

pub fn shards() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![1u32, 2, 5, 8])
}

/// What section 2 promises of every audit, read in the order in which rows were appended.
pub fn assert_lawful(sink: &MemorySink) -> Result<(), TestCaseError> {
    let mut last: HashMap<String, (String, memoir_core::Timestamp)> = HashMap::new();
    let mut keys: HashSet<(String, String)> = HashSet::new();
    for row in sink.audit_as_appended() {
        prop_assert!(
            keys.insert((row.emission_id.clone(), row.key.clone())),
            "two rows of a key in one emission: {row:?}"
        );
        if let Some((emission_id, emission_ts)) = last.get(&row.user_id) {
            prop_assert!(
                *emission_id <= row.emission_id,
                "emissions of a user out of order: {row:?} after {emission_id}"
            );
            let is_same = *emission_id == row.emission_id;
            let is_right = if is_same { *emission_ts == row.emission_ts } else { *emission_ts < row.emission_ts };
            prop_assert!(is_right, "{row:?} after {emission_ts}");
        }
        last.insert(row.user_id, (row.emission_id, row.emission_ts));
    }
    let emissions: Vec<_> = sink.extractions().into_iter().map(|row| row.emission_id).collect();
    prop_assert_eq!(emissions.iter().collect::<HashSet<_>>().len(), emissions.len(), "an extraction is there twice");
    Ok(())
}

/// How a run comes to its end before its time.
#[derive(Clone, Debug)]
pub enum Interruption {
    /// It is told to halt after so many records.
    Halt(usize),
    /// It is told to halt after so many answers.
    HaltAtAnswer(usize),
    /// The source fails after so many records.
    Source(usize),
    /// The processor fails at some call: its worker loses what it has not committed.
    Processor(u64),
    /// Appends go wrong.
    Sink(Vec<Option<Fault>>),
}

pub fn interruption() -> impl Strategy<Value = Interruption> {
    let fault = prop::sample::select(vec![None, None, Some(Fault::After), Some(Fault::Fatal), Some(Fault::FatalAfter)]);
    prop_oneof![
        2 => (0usize..120).prop_map(Interruption::Halt),
        2 => (0usize..40).prop_map(Interruption::HaltAtAnswer),
        1 => (0usize..120).prop_map(Interruption::Source),
        3 => (1u64..150).prop_map(Interruption::Processor),
        2 => prop::collection::vec(fault, 1..5).prop_map(Interruption::Sink),
    ]
}

/// Runs until the interruption, if it comes to that. Other errors than the wanted ones fail the test.
pub fn run_interrupted(
    query: &Query,
    log: &Arc<Log>,
    cut: &Cut,
    interruption: &Interruption,
    extract: Extract,
) -> Result<(), TestCaseError> {
    let halt = Halt::default();
    let (mut stop, mut processor, mut answerer) = (Stop::Never, Watched::new(&query.config), now_by(extract));
    match interruption {
        Interruption::Halt(records) => stop = Stop::Halt(*records, halt.clone()),
        Interruption::HaltAtAnswer(answers) => answerer = halting_at(*answers, &halt, extract),
        Interruption::Source(records) => stop = Stop::Fail(*records),
        Interruption::Processor(calls) => processor = Watched::failing_at(&query.config, *calls),
        Interruption::Sink(faults) => query.sink.set_faults(faults.clone()),
    }
    let ended = query.run_with(&processor, &mut cut.source(log, stop), answerer, &halt);
    query.sink.set_faults([]);
    match (ended, interruption) {
        (Ok(_), _)
        | (Err(EngineError::Source(_)), Interruption::Source(_))
        | (Err(EngineError::Cell { .. }), Interruption::Processor(_))
        | (Err(EngineError::Sink(_)), Interruption::Sink(_)) => Ok(()),
        (Err(error), _) => Err(TestCaseError::fail(format!("{interruption:?} ended with {error}"))),
    }
}

fn halting_at(answers: usize, halt: &Halt, extract: Extract) -> Answerer<Watched> {
    let (halt, left) = (halt.clone(), AtomicUsize::new(answers));
    now_by(move |call| {
        if left.fetch_sub(1, Ordering::SeqCst) == 0 {
            halt.halt();
        }
        extract(call)
    })
}

fn finish(query: &Query, log: &Arc<Log>, cut: &Cut) -> Result<(), TestCaseError> {
    let summary =
        query.run(&mut cut.source(log, Stop::Never), now()).map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert_eq!(summary.ending, Ending::Complete);
    prop_assert_eq!(query.metrics.outbox_bytes.get(), 0, "the outbox is empty at the end");
    Ok(())
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn the_audit_is_the_same_however_the_work_is_cut(
        config in config(), events in events(150), shards in shards(), cut in cut(), partitions in 1usize..4,
    ) {
        let mut query = Query::new(&config, shards);
        cut.apply(&mut query);
        finish(&query, &Log::of(&events, partitions), &cut)?;
        assert_same(&query, &Reference::of_stream(&config, extract, &events, true))?;
        assert_lawful(&query.sink)?;
    }

    #[test]
    fn the_audit_is_the_same_wherever_runs_are_interrupted(
        config in config(), events in events(150), shards in shards(),
        interruptions in prop::collection::vec((interruption(), cut()), 1..6), last in cut(), partitions in 1usize..4,
    ) {
        let mut query = Query::new(&config, shards);
        let log = Log::of(&events, partitions);
        for (interruption, cut) in &interruptions {
            cut.apply(&mut query);
            run_interrupted(&query, &log, cut, interruption, extract)?;
            query.metrics = Arc::default();
        }
        last.apply(&mut query);
        finish(&query, &log, &last)?;
        assert_same(&query, &Reference::of_stream(&config, extract, &events, true))?;
        assert_lawful(&query.sink)?;
        // And again: nothing is left to be done.
        let before = query.sink.tables();
        finish(&query, &log, &last)?;
        prop_assert_eq!(before.len(), query.sink.tables().len());
        assert_same(&query, &Reference::of_stream(&config, extract, &events, true))?;
    }

    #[test]
    fn a_crash_in_any_append_leaves_a_state_that_ends_with_the_same_audit(
        config in config(), events in events(150), shards in shards(), cut in cut(), last in cut(),
        at in 0usize..25, lost in any::<bool>(),
    ) {
        let mut query = Query::new(&config, shards);
        // Many small epochs and appends, so that there are moments to crash in.
        cut.apply(&mut query);
        query.options.epoch_interval = Duration::ZERO;
        query.options.commit_interval = Duration::ZERO;
        let log = Log::of(&events, 2);
        let images: Arc<Mutex<Option<(Tables, tempfile::TempDir)>>> = Arc::default();
        let (kept, folder, mut appends) = (Arc::clone(&images), query.folder.path().to_owned(), 0);
        let mut before = Tables::new();
        query.sink.set_hook(move |tables| {
            // The machine stops here: the tables hold this append, or it never reached them; the state is as it is.
            if appends == at {
                let image = fast_folder();
                image_of_running(&folder, image.path());
                let tables = if lost { before.clone() } else { tables.clone() };
                *kept.lock().unwrap() = Some((tables, image));
            }
            before.clone_from(tables);
            appends += 1;
        });
        finish(&query, &log, &cut)?;
        let reference = Reference::of_stream(&config, extract, &events, true);
        assert_same(&query, &reference)?;
        let image = images.lock().unwrap().take();
        // Before the first append of rows the tables hold the marks of the state at most, and `before` lacks them.
        if let Some((tables, folder)) = image && !(lost && at == 0) {
            let mut after = Query::new(&config, shards);
            after.folder = folder;
            after.sink = Arc::new(MemorySink::of(tables));
            last.apply(&mut after);
            finish(&after, &log, &last)?;
            assert_same(&after, &reference)?;
            assert_lawful(&after.sink)?;
        }
    }

    #[test]
    fn runs_without_a_drain_give_the_rows_of_one_run(
        config in config(), pieces in prop::collection::vec((events(60), cut()), 1..4), shards in shards(), drain in any::<bool>(),
    ) {
        let mut query = Query::new(&config, shards);
        let (log, mut all, mut pieces) = (Log::new("memory:log", 2), Vec::new(), pieces.into_iter().peekable());
        while let Some((piece, cut)) = pieces.next() {
            cut.apply(&mut query);
            query.options.drain = drain && pieces.peek().is_none();
            log.feed(&piece);
            all.extend(piece);
            finish(&query, &log, &cut)?;
        }
        assert_same(&query, &Reference::of_stream(&config, extract, &all, drain))?;
    }

    #[test]
    fn the_audit_is_the_same_though_the_state_is_repartitioned_between_runs(
        config in config(), pieces in prop::collection::vec((events(60), cut(), shards()), 1..4),
    ) {
        let mut query = Query::new(&config, pieces[0].2);
        let (log, mut all, mut pieces) = (Log::new("memory:log", 2), Vec::new(), pieces.into_iter().peekable());
        while let Some((piece, cut, shards)) = pieces.next() {
            cut.apply(&mut query);
            query.options.drain = pieces.peek().is_none();
            query.shards = shards;
            let (mut home, stores) = query.stores();
            drop(stores);
            home.repartition(shards, &Resources::new(1 << 20, 4 << 20)).map_err(|error| TestCaseError::fail(error.to_string()))?;
            drop(home);
            log.feed(&piece);
            all.extend(piece);
            finish(&query, &log, &cut)?;
        }
        assert_same(&query, &Reference::of_stream(&config, extract, &all, true))?;
    }

    #[test]
    fn a_drain_is_an_emission_like_any_other(
        config in config(), pieces in prop::collection::vec((events(60), cut()), 1..4), shards in shards(),
    ) {
        let mut query = Query::new(&config, shards);
        let (log, mut reference) = (Log::new("memory:log", 2), Reference::new(&config, extract));
        for (piece, cut) in pieces {
            cut.apply(&mut query);
            log.feed(&piece);
            finish(&query, &log, &cut)?;
            piece.iter().for_each(|event| reference.event(event, event.ts));
            reference.drain(None);
        }
        assert_same(&query, &reference.sorted())?;
    }

    #[test]
    fn what_was_corrected_or_forgotten_never_comes_back_from_older_words(
        config in config(), events in events(200), cut in cut(),
    ) {
        // The extractor proposes all words of the window each time, so old words are tried over and over.
        let config = ProfileConfig { require_evidence: true, ..config };
        let mut events: Vec<ConversationEvent> = events;
        for (at, event) in events.iter_mut().enumerate() {
            event.event_id = format!("e{at}");
        }
        let mut query = Query::new(&config, 2);
        cut.apply(&mut query);
        finish(&query, &Log::of(&events, 1), &cut)?;
        let place: HashMap<&str, usize> = events.iter().enumerate().map(|(at, event)| (event.event_id.as_str(), at)).collect();
        let mut newest: BTreeMap<(String, String), usize> = BTreeMap::new();
        for row in query.sink.audit() {
            let is_change = row.action != "unchanged" && !row.key.starts_with("__") && row.reason.as_deref() != Some("expired");
            let rests_on = row.source_event_ids.iter().filter_map(|id| place.get(id.as_str())).max();
            if is_change && let Some(rests_on) = rests_on {
                prop_assert_eq!(&events[*rests_on].role, "user");
                let before = newest.insert((row.user_id.clone(), row.key.clone()), *rests_on);
                let is_newer = before.is_none_or(|before| before < *rests_on);
                prop_assert!(is_newer, "{row:?} rests on words not newer than {before:?}");
            }
        }
    }
}

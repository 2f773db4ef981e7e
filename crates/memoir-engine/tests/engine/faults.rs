//! Bad records, an archive, and tables that can't be reached.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use memoir_core::ConversationEvent;
use memoir_core::profile::{ExtractionAnswer, ExtractionCall, ProfileConfig};
use memoir_engine::{Answerer, BadRecords, Ending, EngineError, Halt, RemoteAnswerer};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::audit_equals_reference::assert_same;
use crate::laws::{assert_lawful, cut, shards};
use crate::support::extractor::extract;
use crate::support::processor::Watched;
use crate::support::query::{Query, now, now_by};
use crate::support::reference::Reference;
use crate::support::sink::{Fault, audit, extractions};
use crate::support::source::{Log, MemorySource, Stop};
use crate::support::streams::{cases, config, event, events, seconds};

fn eager() -> ProfileConfig {
    ProfileConfig { query_name: "test".to_owned(), emission_threshold: 1, ..ProfileConfig::default() }
}

fn messages(count: i64) -> Vec<ConversationEvent> {
    (0..count).map(|n| event(&format!("e{n}"), "ann", "c", "user", seconds(n), &format!("set city=Town{n}"))).collect()
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn dead_letters_and_archived_events_are_there_once_wherever_runs_are_interrupted(
        config in config(), records in prop::collection::vec(prop_oneof![3 => events(12).prop_map(Ok), 1 => prop::option::of("[a-d]").prop_map(Err)], 0..12),
        shards in shards(), cut in cut(), halts in prop::collection::vec(0usize..80, 0..4), failures in prop::collection::vec(1u64..80, 0..3),
    ) {
        let mut query = Query::new(&config, shards);
        query.options.archive = true;
        cut.apply(&mut query);
        let log = Log::new("memory:log", 3);
        let (mut all, mut bad) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                Ok(events) => {
                    log.feed(&events);
                    all.extend(events);
                }
                Err(key) => {
                    bad.push(log.len() as i64);
                    log.feed_bad("it is no event", key.as_deref());
                }
            }
        }
        for halt_at in halts {
            let halt = Halt::default();
            let mut source = cut.source(&log, Stop::Halt(halt_at, halt.clone()));
            query.run_with(&Watched::new(&config), &mut source, now(), &halt).map_err(|error| TestCaseError::fail(error.to_string()))?;
        }
        for failure in failures {
            // It fails or comes to its end before.
            let _ = query.run_with(&Watched::failing_at(&config, failure), &mut cut.source(&log, Stop::Never), now(), &Halt::default());
        }
        let ended = query.run(&mut cut.source(&log, Stop::Never), now());
        prop_assert_eq!(ended.map_err(|error| TestCaseError::fail(error.to_string()))?.ending, Ending::Complete);

        let reference = Reference::of_stream(&config, extract, &all, true);
        assert_same(&query, &reference)?;
        assert_lawful(&query.sink)?;
        let mut rejected: Vec<_> = query.sink.rejected().into_iter().map(|row| row.position).collect();
        rejected.sort_unstable();
        prop_assert_eq!(rejected, bad);
        let archived = query.sink.archived();
        prop_assert_eq!(archived.len() as u64, all.len() as u64 - reference.duplicates);
        for user in ["ann", "bob", "cy", "dora\u{0}x"] {
            let of_user = |events: &[ConversationEvent]| -> Vec<_> { events.iter().filter(|event| event.user_id == user).cloned().collect() };
            let mut given = of_user(&all).into_iter();
            for event in of_user(&archived) {
                prop_assert!(given.any(|one| one == event), "{:?} is out of order in the archive", event);
            }
        }
    }
}

#[test]
fn a_run_that_must_not_meet_a_bad_record_stops_before_the_first_and_goes_on_behind_it_when_it_may() {
    let mut query = Query::new(&eager(), 1);
    let log = Log::new("memory:log", 2);
    log.feed(&messages(5));
    log.feed_bad("it is no event", None);
    log.feed(&messages(10)[5..]);
    query.options.bad_records = BadRecords::Fail;
    let failed = query.run(&mut MemorySource::new(&log, &[4], Stop::Never), now()).unwrap_err();
    assert!(matches!(&failed, EngineError::BadRecord { reason, .. } if reason == "it is no event"), "{failed}");
    assert!(query.sink.rejected().is_empty());
    assert!(query.metrics.events.get() <= 5);
    let failed = query.run(&mut MemorySource::new(&log, &[100], Stop::Never), now()).unwrap_err();
    assert!(matches!(failed, EngineError::BadRecord { .. }), "{failed}");

    query.options.bad_records = BadRecords::DeadLetter;
    query.run(&mut MemorySource::new(&log, &[100], Stop::Never), now()).unwrap();
    assert_eq!(query.sink.rejected().len(), 1);
    assert_same(&query, &Reference::of_stream(&query.config, extract, &messages(10), true)).unwrap();
}

#[test]
fn a_full_outbox_pauses_the_source_until_the_tables_can_be_reached_again() {
    let mut query = Query::new(&eager(), 2);
    query.options.max_outbox_bytes = 2000;
    query.options.epoch_events = 1;
    query.options.sink_patience = Duration::from_secs(60);
    let log = Log::of(&messages(2000), 1);
    let metrics = Arc::clone(&query.metrics);
    query.sink.set_down(true);
    std::thread::scope(|scope| {
        let engine = scope.spawn(|| query.run(&mut MemorySource::new(&log, &[1], Stop::Never), now()));
        // Each attempt is looked at; the first one that finds the outbox full is followed by others that find it no fuller.
        query.sink.wait_until("a full outbox", |_, attempts| attempts >= 2 && metrics.outbox_bytes.get() >= 2000);
        let taken = metrics.events.get();
        query.sink.wait_until("another attempt", |_, attempts| attempts >= 4);
        assert!(metrics.events.get() <= taken + 1, "the source is not paused: {taken}, then {}", metrics.events.get());
        assert!(taken < 100, "{taken} events were taken");
        query.sink.set_down(false);
        assert_eq!(engine.join().unwrap().unwrap().ending, Ending::Complete);
    });
    assert_same(&query, &Reference::of_stream(&query.config, extract, &messages(2000), true)).unwrap();
}

#[test]
fn slow_tables_lose_and_double_nothing() {
    let mut query = Query::new(&eager(), 2);
    query.options.epoch_events = 1;
    let log = Log::of(&messages(200), 1);
    query.sink.hold(true);
    std::thread::scope(|scope| {
        let engine = scope.spawn(|| query.run(&mut MemorySource::new(&log, &[7], Stop::Never), now()));
        query.sink.wait_until("an append that waits", |_, attempts| attempts == 1);
        query.sink.hold(false);
        assert_eq!(engine.join().unwrap().unwrap().ending, Ending::Complete);
    });
    assert_same(&query, &Reference::of_stream(&query.config, extract, &messages(200), true)).unwrap();
}

#[test]
fn a_run_gives_up_when_its_patience_with_the_tables_is_over_and_the_next_one_appends_what_it_left() {
    let mut query = Query::new(&eager(), 2);
    query.options.sink_patience = Duration::ZERO;
    let log = Log::of(&messages(50), 1);
    query.sink.set_down(true);
    let failed = query.run(&mut MemorySource::new(&log, &[7], Stop::Never), now()).unwrap_err();
    assert!(matches!(failed, EngineError::Sink(_)), "{failed}");
    query.sink.set_down(false);
    query.run(&mut MemorySource::new(&log, &[7], Stop::Never), now()).unwrap();
    assert_same(&query, &Reference::of_stream(&query.config, extract, &messages(50), true)).unwrap();
}

#[test]
fn a_daemon_that_is_told_to_stop_while_its_tables_are_down_leaves_the_rows_for_the_next_run() {
    let query = Query::new(&eager(), 2).daemon();
    let log = Log::of(&messages(50), 1);
    query.sink.set_down(true);
    let processor = Watched::new(&query.config);
    let mut source = MemorySource::new(&log, &[7], Stop::Never);
    let (ended, ()) = query.while_running(&processor, &mut source, now(), |_| {
        processor.wait_until("the events", |progress| progress.events == 50);
        query.sink.wait_until("a refused append", |_, attempts| attempts >= 1);
    });
    assert_eq!(ended.unwrap().ending, Ending::Halted);
    assert!(query.sink.audit().is_empty());
    query.sink.set_down(false);
    let processor = Watched::new(&query.config);
    let mut source = MemorySource::new(&log, &[7], Stop::Never);
    let (ended, ()) = query.while_running(&processor, &mut source, now(), |_| {
        query.sink.wait_until("all rows", |tables, _| crate::support::sink::extractions(tables).len() == 50);
    });
    assert_eq!(ended.unwrap().ending, Ending::Halted);
    assert_eq!((processor.progress().events, query.sink.extractions().len()), (0, 50));
}

#[test]
fn a_result_that_is_lost_again_and_again_doubles_nothing() {
    let mut query = Query::new(&eager(), 2);
    query.options.epoch_events = 10;
    query.options.epoch_interval = Duration::ZERO;
    query.sink.set_faults([Some(Fault::After), Some(Fault::Before), None, Some(Fault::After)]);
    let log = Log::of(&messages(100), 1);
    query.run(&mut MemorySource::new(&log, &[7], Stop::Never), now()).unwrap();
    assert_same(&query, &Reference::of_stream(&query.config, extract, &messages(100), true)).unwrap();
}

/// Ten users, so that every worker has some.
fn crowd() -> Vec<ConversationEvent> {
    let one = |n: i64| {
        event(&format!("e{n}"), &format!("user{}", n % 10), "c", "user", seconds(n), &format!("set city=Town{n}"))
    };
    (0..100).map(one).collect()
}

#[test]
fn a_panic_anywhere_ends_the_run_with_an_error_and_the_next_run_goes_on() {
    let log = Log::of(&crowd(), 1);
    let reference = Reference::of_stream(&eager(), extract, &crowd(), true);
    let query = |threads| {
        let mut query = Query::new(&eager(), 8);
        query.options.threads = threads;
        query
    };
    // In any of the workers, by the user whose call panics.
    for user in 0..10 {
        let query = query(4).daemon();
        let panicking = now_by(move |call| {
            assert!(
                !call.request.window.iter().any(|window| window.message.event_id.ends_with(&user.to_string())),
                "as wanted"
            );
            extract(call)
        });
        let ended = query.run(&mut MemorySource::new(&log, &[5], Stop::Never), panicking);
        assert!(matches!(ended, Err(EngineError::Panicked)), "{ended:?}");
    }
    // In the drainer.
    let drained = query(2);
    drained.sink.set_hook(|_| panic!("as wanted"));
    let ended = drained.run(&mut MemorySource::new(&log, &[5], Stop::Never), now());
    assert!(matches!(ended, Err(EngineError::Panicked)), "{ended:?}");
    drained.sink.set_hook(|_| {});
    drained.run(&mut MemorySource::new(&log, &[5], Stop::Never), now()).unwrap();
    assert_same(&drained, &reference).unwrap();
    // Over the network.
    let remote = query(2);
    let ended = remote.run(&mut MemorySource::new(&log, &[5], Stop::Never), Answerer::Later(Arc::new(Panicking)));
    assert!(matches!(ended, Err(EngineError::Panicked)), "{ended:?}");
    remote.run(&mut MemorySource::new(&log, &[5], Stop::Never), now()).unwrap();
    assert_same(&remote, &reference).unwrap();
}

struct Panicking;

impl RemoteAnswerer<Watched> for Panicking {
    fn answer(&self, _call: ExtractionCall) -> BoxFuture<'static, (ExtractionCall, ExtractionAnswer)> {
        async { panic!("as wanted") }.boxed()
    }
}

#[test]
fn all_that_was_read_before_a_bad_record_is_committed_and_nothing_behind_it() {
    for (threads, batch) in [(1, 1), (1, 100), (4, 3), (4, 100)].into_iter().cycle().take(60) {
        let mut query = Query::new(&eager(), 4);
        query.options.threads = threads;
        query.options.bad_records = BadRecords::Fail;
        // Commits by time would hide what is lost at the end.
        query.options.epoch_interval = Duration::from_secs(3600);
        let log = Log::new("memory:log", 1);
        log.feed(&crowd()[..37]);
        log.feed_bad("it is no event", Some("user3"));
        log.feed(&crowd()[37..]);
        let failed = query.run(&mut MemorySource::new(&log, &[batch], Stop::Never), now()).unwrap_err();
        assert!(matches!(failed, EngineError::BadRecord { .. }), "{failed}");
        let (_home, stores) = query.stores();
        for store in &stores {
            let offsets = store.offsets("memory:log").unwrap();
            let read: Vec<u64> = offsets.iter().map(|(_, offset)| offset.position.major).collect();
            assert_eq!(read, [37], "shard {}, {threads} threads, batches of {batch}", store.shard());
        }
        assert_eq!(query.sink.extractions().len(), 37);
    }
}

#[test]
fn a_table_never_holds_an_epoch_that_an_earlier_table_lacks() {
    let mut query = Query::new(&eager(), 3);
    query.options.epoch_events = 1;
    query.sink.set_hook(|tables| {
        let audit: BTreeSet<String> = audit(tables)
            .into_iter()
            .filter(|row| row.action == "new" || row.action == "updated")
            .map(|row| row.emission_id)
            .collect();
        for row in extractions(tables) {
            assert!(audit.contains(&row.emission_id), "{} is extracted and has no audit row", row.emission_id);
        }
    });
    let log = Log::of(&messages(500), 1);
    query.run(&mut MemorySource::new(&log, &[1], Stop::Never), now()).unwrap();
    assert_eq!(query.sink.extractions().len(), 500);
}

#[test]
fn the_grace_time_is_also_looked_at_between_the_appends_of_a_round() {
    let mut query = Query::new(&eager(), 1);
    query.options.grace = Duration::ZERO;
    let log = Log::of(&messages(50), 1);
    let halt = Halt::default();
    let (halting, first) = (halt.clone(), Arc::new(Mutex::new(None)));
    let seen = Arc::clone(&first);
    // The first append of rows is one to the first table. It halts everybody.
    query.sink.set_hook(move |tables| {
        halting.halt();
        seen.lock().unwrap().get_or_insert_with(|| audit(tables).len());
    });
    let processor = Watched::new(&query.config);
    let ended = query.run_with(&processor, &mut MemorySource::new(&log, &[50], Stop::Never), now(), &halt).unwrap();
    assert_eq!(ended.ending, Ending::Halted);
    let appended = first.lock().unwrap().unwrap();
    assert!(appended > 0);
    assert_eq!((query.sink.audit().len(), query.sink.extractions().len()), (appended, 0));
    query.sink.set_hook(|_| {});
    query.run(&mut MemorySource::new(&log, &[50], Stop::Never), now()).unwrap();
    assert_same(&query, &Reference::of_stream(&query.config, extract, &messages(50), true)).unwrap();
}

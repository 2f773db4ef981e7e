//! Answers that take their time: the stream goes on, order is kept, nothing is asked again after it was committed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use memoir_core::ConversationEvent;
use memoir_core::profile::{ProfileConfig, emission_id};
use memoir_engine::{Ending, Halt};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::audit_equals_reference::assert_same;
use crate::laws::{assert_lawful, cut, shards};
use crate::support::extractor::extract;
use crate::support::processor::Watched;
use crate::support::query::{Query, later, now};
use crate::support::reference::Reference;
use crate::support::remote::Remote;
use crate::support::sink::extractions;
use crate::support::source::{Log, MemorySource, Stop};
use crate::support::streams::{cases, config, event, events, seconds};

#[derive(Clone, Debug)]
enum Interruption {
    Halt(usize),
    Processor(u64),
}

fn interruption() -> impl Strategy<Value = Interruption> {
    prop_oneof![(0usize..120).prop_map(Interruption::Halt), (1u64..150).prop_map(Interruption::Processor)]
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn late_answers_in_any_order_give_the_same_audit_wherever_runs_are_interrupted(
        config in config(), events in events(150), shards in shards(), spread in 1u64..60,
        interruptions in prop::collection::vec((interruption(), cut()), 0..4), last in cut(),
        max_in_flight in 1usize..6, max_pending in prop::sample::select(vec![1usize, 3, 1000]), then_at_once in any::<bool>(),
    ) {
        let mut query = Query::new(&config, shards);
        query.options.max_in_flight = max_in_flight;
        query.options.max_pending = max_pending;
        let log = Log::of(&events, 2);
        let mut committed: HashSet<String> = HashSet::new();
        for (interruption, cut) in &interruptions {
            cut.apply(&mut query);
            let (halt, remote) = (Halt::default(), Remote::new(spread));
            let (stop, processor) = match interruption {
                Interruption::Halt(records) => (Stop::Halt(*records, halt.clone()), Watched::new(&config)),
                Interruption::Processor(calls) => (Stop::Never, Watched::failing_at(&config, *calls)),
            };
            let ended = query.run_with(&processor, &mut cut.source(&log, stop), later(&remote), &halt);
            for (emission, times) in remote.asked() {
                prop_assert_eq!(times, 1, "one run asks once");
                prop_assert!(!committed.contains(&emission), "{} was asked again after its answer was committed", emission);
            }
            prop_assert!(remote.most_under_way() <= max_in_flight);
            if ended.is_ok() {
                // A run that ends well has committed all that it applied.
                committed.extend(processor.progress().applied.into_values().flatten());
            }
            // What the tables hold was committed, however the run ended.
            committed.extend(query.sink.extractions().into_iter().map(|row| row.emission_id));
        }
        last.apply(&mut query);
        let (processor, remote) = (Watched::new(&config), Remote::new(spread));
        // The endpoint may be gone: what is still pending is then answered by the rules.
        let answerer = if then_at_once { now() } else { later(&remote) };
        let ended = query.run_with(&processor, &mut last.source(&log, Stop::Never), answerer, &Halt::default());
        prop_assert_eq!(ended.map_err(|error| TestCaseError::fail(error.to_string()))?.ending, Ending::Complete);
        prop_assert!(remote.asked().keys().all(|emission| !committed.contains(emission)));
        prop_assert_eq!(query.metrics.outbox_bytes.get(), 0);
        for applied in processor.progress().applied.values() {
            prop_assert!(applied.is_sorted(), "a user's answers are applied in order: {:?}", applied);
        }
        assert_same(&query, &Reference::of_stream(&config, extract, &events, true))?;
        assert_lawful(&query.sink)?;
    }
}

/// One emission for each message.
fn eager() -> ProfileConfig {
    ProfileConfig { query_name: "test".to_owned(), emission_threshold: 1, ..ProfileConfig::default() }
}

fn talk(user: &str, messages: usize) -> Vec<ConversationEvent> {
    (0..messages)
        .map(|n| event(&format!("{user}-{n}"), user, "c", "user", seconds(n as i64), &format!("set city=Town{n}")))
        .collect()
}

/// Messages of all users in turn.
fn in_turn(users: &[&str], messages: usize) -> Vec<ConversationEvent> {
    let talks: Vec<_> = users.iter().map(|user| talk(user, messages)).collect();
    (0..messages).flat_map(|n| talks.iter().map(move |talk| talk[n].clone())).collect()
}

#[test]
fn a_slow_user_holds_up_nobody_else() {
    let query = Query::new(&eager(), 1);
    let events = in_turn(&["slow", "ann", "bob"], 10);
    let (log, remote, halt) = (Log::of(&events, 1), Remote::new(5), Halt::default());
    remote.hold("slow");
    std::thread::scope(|scope| {
        let engine = scope.spawn(|| {
            let mut source = MemorySource::new(&log, &[4], Stop::Never);
            query.run_with(&Watched::new(&query.config), &mut source, later(&remote), &halt)
        });
        query.sink.wait_until("all emissions of the others", |tables, _| {
            extractions(tables).iter().filter(|row| row.user_id != "slow").count() == 20
        });
        assert!(query.sink.extractions().iter().all(|row| row.user_id != "slow"));
        // Of a user's emissions one is asked at a time.
        assert_eq!(remote.asked().keys().filter(|id| is_of(id, "slow")).count(), 1);
        remote.release();
        assert_eq!(engine.join().unwrap().unwrap().ending, Ending::Complete);
    });
    assert_same(&query, &Reference::of_stream(&query.config, extract, &events, true)).unwrap();
}

fn is_of(id: &str, user: &str) -> bool {
    let of_user = emission_id("test", user, 1);
    id.split_once('-').map(|(user, _)| user) == of_user.split_once('-').map(|(user, _)| user)
}

#[test]
fn too_much_pending_pauses_the_source_and_drops_nothing() {
    for (threads, max_pending) in [(1, 1), (2, 3)] {
        let mut query = Query::new(&eager(), 2);
        query.options.threads = threads;
        query.options.max_pending = max_pending;
        let events = in_turn(&["ann", "bob", "cy", "dora"], 25);
        let (log, remote, halt) = (Log::of(&events, 1), Remote::new(5), Halt::default());
        let processor = Watched::new(&query.config);
        remote.hold_all();
        std::thread::scope(|scope| {
            let engine = scope.spawn(|| {
                let mut source = MemorySource::new(&log, &[1], Stop::Never);
                query.run_with(&processor, &mut source, later(&remote), &halt)
            });
            remote.wait_until_under_way(1);
            // A batch holds one event, a shard that is full takes no more of them.
            processor.wait_until("the first events", |progress| progress.events >= 1);
            remote.release();
            assert_eq!(engine.join().unwrap().unwrap().ending, Ending::Complete);
        });
        let most = i64::from(query.shards) * max_pending as i64;
        assert!(processor.progress().most_pending <= most, "{} pending", processor.progress().most_pending);
        assert_same(&query, &Reference::of_stream(&query.config, extract, &events, true)).unwrap();
    }
}

#[test]
fn a_pending_extraction_survives_a_restart_and_is_asked_with_the_window_of_its_trigger() {
    let mut query = Query::new(&eager(), 2).daemon();
    query.options.clock = memoir_engine::ClockMode::EventTime;
    let events = in_turn(&["ann", "bob"], 8);
    let (log, remote) = (Log::of(&events, 1), Remote::new(1));
    remote.hold_all();
    let processor = Watched::new(&query.config);
    let mut source = MemorySource::new(&log, &[3], Stop::Never);
    let (ended, ()) = query.while_running(&processor, &mut source, later(&remote), |_| {
        processor.wait_until("all events", |progress| progress.events == 16);
        remote.wait_until_under_way(2);
    });
    assert_eq!(ended.unwrap().ending, Ending::Halted);
    assert!(query.sink.extractions().is_empty());
    remote.release();

    // A later message must not get into the windows that are already fixed.
    log.feed(&[event("late", "ann", "c", "user", seconds(9000), "set city=Later")]);
    query.options.until = memoir_core::source::ReadUntil::WhatIsThere;
    let remote = Remote::new(7);
    let ended = query.run(&mut MemorySource::new(&log, &[3], Stop::Never), later(&remote));
    assert_eq!(ended.unwrap().ending, Ending::Complete);
    let all: Vec<_> =
        events.into_iter().chain([event("late", "ann", "c", "user", seconds(9000), "set city=Later")]).collect();
    assert_same(&query, &Reference::of_stream(&query.config, extract, &all, true)).unwrap();
    assert_eq!(query.metrics.skipped.get(), 0, "a source gives a state nothing twice where all shards are as far");
}

#[test]
fn calls_under_way_are_bounded_in_the_whole_process() {
    let mut query = Query::new(&eager(), 8);
    query.options.threads = 4;
    query.options.max_in_flight = 3;
    let users: Vec<String> = (0..40).map(|n| format!("user{n}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let events = in_turn(&users, 2);
    let (log, remote, halt) = (Log::of(&events, 1), Remote::new(9), Halt::default());
    remote.hold_all();
    std::thread::scope(|scope| {
        let engine = scope.spawn(|| {
            let mut source = MemorySource::new(&log, &[10], Stop::Never);
            query.run_with(&Watched::new(&query.config), &mut source, later(&remote), &halt)
        });
        remote.wait_until_under_way(3);
        remote.release();
        assert_eq!(engine.join().unwrap().unwrap().ending, Ending::Complete);
    });
    assert_eq!(remote.most_under_way(), 3);
    let asked: HashMap<_, _> = remote.asked();
    assert_eq!((asked.len(), asked.values().max()), (80, Some(&1)));
}

#[test]
fn a_halt_does_not_wait_for_answers() {
    let query = Query::new(&eager(), 2).daemon();
    let (log, remote) = (Log::of(&talk("ann", 3), 1), Remote::new(1));
    remote.hold_all();
    let processor = Watched::new(&query.config);
    let mut source = MemorySource::new(&log, &[], Stop::Never);
    let (ended, ()) = query.while_running(&processor, &mut source, later(&remote), |_| remote.wait_until_under_way(1));
    assert_eq!(ended.unwrap().ending, Ending::Halted);
    remote.release();
}

#[test]
fn epochs_are_committed_while_answers_are_awaited() {
    let query = Query::new(&eager(), 1);
    let (log, remote, halt): (_, Arc<Remote>, _) = (Log::of(&talk("ann", 20), 1), Remote::new(1), Halt::default());
    remote.hold_all();
    std::thread::scope(|scope| {
        let engine = scope.spawn(|| {
            let mut source = MemorySource::new(&log, &[1], Stop::Never);
            query.run_with(&Watched::new(&query.config), &mut source, later(&remote), &halt)
        });
        remote.wait_until_under_way(1);
        let deadline = std::time::Instant::now() + crate::support::sink::PATIENCE;
        while query.metrics.epochs.get() == 0 {
            assert!(std::time::Instant::now() < deadline, "no epoch is committed");
            std::thread::yield_now();
        }
        remote.release();
        assert_eq!(engine.join().unwrap().unwrap().ending, Ending::Complete);
    });
    assert_eq!(query.sink.extractions().len(), 20);
    assert!(query.options.epoch_interval < Duration::from_secs(1));
}

//! Processing time: the wall clock tells emissions and timers the time, also for what fell due while nobody ran.

use std::sync::Arc;
use std::time::Duration;

use memoir_core::profile::ProfileConfig;
use memoir_core::source::ReadUntil;
use memoir_core::{ConversationEvent, SystemClock};
use memoir_engine::{ClockMode, Ending, EngineError, Halt};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::audit_equals_reference::assert_same;
use crate::laws::{Cut, assert_lawful, cut, shards};
use crate::support::extractor::extract;
use crate::support::processor::Watched;
use crate::support::query::{Query, later, now};
use crate::support::reference::Reference;
use crate::support::remote::Remote;
use crate::support::sink::extractions;
use crate::support::source::{Log, MemorySource, Stop};
use crate::support::streams::{cases, config, event, events, seconds, start};

/// The wall clock goes on by so much, then these events come; and the daemon may be stopped and started before it does.
type Script = Vec<(Duration, Vec<ConversationEvent>, bool)>;

fn script() -> impl Strategy<Value = Script> {
    let pause = prop::sample::select(vec![0u64, 1, 59, 60, 61, 300, 600, 1000]).prop_map(Duration::from_secs);
    prop::collection::vec((pause, events(25), prop::bool::weighted(0.3)), 1..6)
}

/// Plays a script against a daemon and the reference.
fn play(
    query: &mut Query,
    log: &Arc<Log>,
    script: Script,
    cut: &Cut,
    mut reference: Reference,
) -> Result<Reference, TestCaseError> {
    let mut script = script.into_iter().peekable();
    while script.peek().is_some() {
        cut.apply(query);
        let processor = Watched::new(&query.config);
        let mut source = cut.source(log, Stop::Never);
        let running: &Query = query;
        let (ended, fed) = running.while_running(&processor, &mut source, now(), |_| {
            let mut fed = 0;
            for (pause, events, stops) in script.by_ref() {
                query.manual.advance(pause);
                let at = query.clock.now();
                log.poke();
                log.feed(&events);
                events.iter().for_each(|event| reference.event(event, at));
                fed += events.len() as u64;
                processor.wait_until("the events of a step", |progress| progress.events == fed);
                if stops {
                    break;
                }
            }
            if script.peek().is_none() {
                query.manual.advance(Duration::from_secs(3600));
                log.poke();
                reference.time(query.clock.now());
                let expected = reference.extractions.len();
                query.sink.wait_until("all extractions", |tables, _| extractions(tables).len() >= expected);
            }
            fed
        });
        let summary = ended.map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!((summary.ending, processor.progress().events), (Ending::Halted, fed));
    }
    Ok(reference)
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn a_daemon_equals_the_reference_also_when_it_is_stopped_and_started(
        config in config(), script in script(), cut in cut(), shards in shards(),
    ) {
        let mut query = Query::new(&config, shards).daemon();
        let reference = Reference::new(&config, extract);
        let reference = play(&mut query, &Log::new("memory:log", 2), script, &cut, reference)?;
        assert_same(&query, &reference.sorted())?;
        assert_lawful(&query.sink)?;
    }

    #[test]
    fn an_available_now_run_in_processing_time_fires_what_is_due_and_drains_the_rest(
        config in config(), pieces in prop::collection::vec((events(40), 0u64..1000), 1..4), cut in cut(), shards in shards(),
    ) {
        let mut query = Query::new(&config, shards);
        query.options.clock = ClockMode::ProcessingTime;
        cut.apply(&mut query);
        let (log, mut reference) = (Log::new("memory:log", 2), Reference::new(&config, extract));
        let mut pieces = pieces.into_iter().peekable();
        while let Some((piece, pause)) = pieces.next() {
            query.manual.advance(Duration::from_secs(pause));
            let at = query.clock.now();
            query.options.drain = pieces.peek().is_none();
            log.feed(&piece);
            let summary = query.run(&mut cut.source(&log, Stop::Never), now());
            prop_assert_eq!(summary.map_err(|error| TestCaseError::fail(error.to_string()))?.ending, Ending::Complete);
            piece.iter().for_each(|event| reference.event(event, at));
            reference.time(at);
        }
        reference.drain(Some(query.clock.now()));
        assert_same(&query, &reference.sorted())?;
    }

    #[test]
    fn a_daemon_that_takes_over_a_backfill_goes_on_in_processing_time(
        config in config(), backfill in events(60), script in script(), cut in cut(), shards in shards(),
    ) {
        let mut query = Query::new(&config, shards);
        query.options.drain = false;
        let log = Log::new("memory:log", 2);
        log.feed(&backfill);
        let summary = query.run(&mut cut.source(&log, Stop::Never), now());
        prop_assert_eq!(summary.map_err(|error| TestCaseError::fail(error.to_string()))?.ending, Ending::Complete);
        let mut query = query.daemon();
        query.manual.set(seconds(30_000));
        let mut script = script;
        script.insert(0, (Duration::ZERO, Vec::new(), false));

        // The reference sees the backfill first, by its own time.
        let mut reference = Reference::new(&config, extract);
        backfill.iter().for_each(|event| reference.event(event, event.ts));
        let continued = play(&mut query, &log, script, &cut, reference)?;
        assert_same(&query, &continued.sorted())?;

        query.options.clock = ClockMode::EventTime;
        let back = query.run(&mut cut.source(&log, Stop::Never), now());
        // There is no way back, but for a state that never took anything.
        prop_assert!(matches!(back, Err(EngineError::ClockGoesBack)) || query.metrics.epochs.get() == 0);
    }
}

/// A daemon on the machine's own clock, with short timers.
fn on_the_wall_clock(timer_ms: u64, shards: u32) -> Query {
    let timer_ttl = Some(Duration::from_millis(timer_ms));
    let config = ProfileConfig { query_name: "test".to_owned(), timer_ttl, ..ProfileConfig::default() };
    let mut query = Query::new(&config, shards).daemon();
    query.clock = Arc::new(SystemClock);
    query
}

fn hello(id: &str, user: &str) -> ConversationEvent {
    event(id, user, "c", "user", start(), "set city=Leeds")
}

#[test]
fn a_timer_fires_though_nothing_else_happens() {
    for epoch_ms in [0, 20] {
        let mut query = on_the_wall_clock(150, 2);
        query.options.epoch_interval = Duration::from_millis(epoch_ms);
        let (log, processor) = (Log::of(&[hello("e1", "ann")], 1), Watched::new(&query.config));
        let mut source = MemorySource::new(&log, &[], Stop::Never);
        let (ended, ()) = query.while_running(&processor, &mut source, now(), |_| {
            query.sink.wait_until("the timer's emission", |tables, _| extractions(tables).len() == 1);
        });
        assert_eq!(ended.unwrap().ending, Ending::Halted);
        assert_eq!(query.sink.audit()[0].trigger, "timer");
    }
}

#[test]
fn what_a_timer_asks_is_asked_at_once_though_nothing_else_happens() {
    let query = on_the_wall_clock(50, 1);
    let (log, processor, remote) = (Log::of(&[hello("e1", "ann")], 1), Watched::new(&query.config), Remote::new(3));
    let mut source = MemorySource::new(&log, &[], Stop::Never);
    let (ended, ()) = query.while_running(&processor, &mut source, later(&remote), |_| {
        query.sink.wait_until("the timer's emission", |tables, _| extractions(tables).len() == 1);
    });
    assert_eq!(ended.unwrap().ending, Ending::Halted);
}

#[test]
fn timers_of_a_shard_fire_in_the_order_of_their_due_times_and_once() {
    let config = ProfileConfig { query_name: "test".to_owned(), ..ProfileConfig::default() };
    let query = Query::new(&config, 1).daemon();
    let (log, processor) = (Log::new("memory:log", 1), Watched::new(&query.config));
    let mut source = MemorySource::new(&log, &[], Stop::Never);
    let (ended, expected) = query.while_running(&processor, &mut source, now(), |_| {
        let mut expected = Vec::new();
        // Names in another order than times.
        for (n, user) in ["zoe", "ann", "mia", "bob", "yan"].into_iter().enumerate() {
            query.manual.advance(Duration::from_secs(7));
            expected.push(query.clock.now().plus(Duration::from_secs(600)));
            log.feed(&[hello(&format!("e{n}"), user)]);
            processor.wait_until("the event", |progress| progress.events == n as u64 + 1);
        }
        query.manual.advance(Duration::from_secs(3600));
        log.poke();
        query.sink.wait_until("the timers' emissions", |tables, _| extractions(tables).len() == 5);
        expected
    });
    assert_eq!(ended.unwrap().ending, Ending::Halted);
    assert_eq!(processor.progress().fired, expected);
    let stamps: Vec<_> = query.sink.audit().into_iter().map(|row| (row.trigger, row.emission_ts)).collect();
    assert!(stamps.iter().all(|(trigger, at)| trigger == "timer" && expected.contains(at)), "{stamps:?}");
}

#[test]
fn more_timers_than_are_taken_at_once_all_fire() {
    let config = ProfileConfig { query_name: "test".to_owned(), ..ProfileConfig::default() };
    let query = Query::new(&config, 2).daemon();
    let events: Vec<_> = (0..3000).map(|n| hello(&format!("e{n}"), &format!("user{n}"))).collect();
    let (log, processor) = (Log::of(&events, 1), Watched::new(&query.config));
    let mut source = MemorySource::new(&log, &[], Stop::Never);
    let (ended, ()) = query.while_running(&processor, &mut source, now(), |_| {
        processor.wait_until("the events", |progress| progress.events == 3000);
        query.manual.advance(Duration::from_secs(600));
        log.poke();
        query.sink.wait_until("the timers' emissions", |tables, _| extractions(tables).len() == 3000);
    });
    assert_eq!(ended.unwrap().ending, Ending::Halted);
    assert_eq!(processor.progress().fired.len(), 3000);
}

#[test]
fn what_fell_due_while_nobody_ran_fires_at_the_start_with_its_due_time() {
    let config = ProfileConfig { query_name: "test".to_owned(), ..ProfileConfig::default() };
    let query = Query::new(&config, 2).daemon();
    let log = Log::of(&[hello("e1", "ann"), hello("e2", "bob")], 1);
    let processor = Watched::new(&query.config);
    let (ended, ()) = query.while_running(&processor, &mut MemorySource::new(&log, &[], Stop::Never), now(), |_| {
        processor.wait_until("the events", |progress| progress.events == 2);
    });
    assert_eq!(ended.unwrap().ending, Ending::Halted);
    assert!(query.sink.audit().is_empty());

    query.manual.advance(Duration::from_secs(86_400));
    let processor = Watched::new(&query.config);
    let (ended, ()) = query.while_running(&processor, &mut MemorySource::new(&log, &[], Stop::Never), now(), |_| {
        query.sink.wait_until("the timers' emissions", |tables, _| extractions(tables).len() == 2);
    });
    assert_eq!(ended.unwrap().ending, Ending::Halted);
    assert!(query.sink.audit().iter().all(|row| row.emission_ts == start().plus(Duration::from_secs(600))));
    assert_eq!(processor.progress().events, 0, "what was taken is not read again");
}

#[test]
fn a_wall_clock_that_steps_back_never_takes_an_emission_back() {
    let config = ProfileConfig { query_name: "test".to_owned(), emission_threshold: 1, ..ProfileConfig::default() };
    let query = Query::new(&config, 1).daemon();
    let (log, processor) = (Log::new("memory:log", 1), Watched::new(&query.config));
    let (ended, ()) = query.while_running(&processor, &mut MemorySource::new(&log, &[], Stop::Never), now(), |_| {
        for n in 0..5 {
            log.feed(&[hello(&format!("e{n}"), "ann")]);
            processor.wait_until("the event", |progress| progress.events == n + 1);
            query.manual.set(seconds(-100 * n as i64));
        }
    });
    assert_eq!(ended.unwrap().ending, Ending::Halted);
    let stamps: Vec<_> =
        query.sink.audit().into_iter().map(|row| row.emission_ts.as_micros() - start().as_micros()).collect();
    assert_eq!(stamps, [0, 1, 2, 3, 4]);
}

#[test]
fn a_daemon_that_is_told_to_halt_before_it_began_ends_at_once() {
    let query = Query::new(&ProfileConfig::default(), 2).daemon();
    assert_eq!(query.options.until, ReadUntil::Stopped);
    let halt = Halt::default();
    halt.halt();
    let log = Log::of(&[hello("e1", "ann")], 1);
    let ended =
        query.run_with(&Watched::new(&query.config), &mut MemorySource::new(&log, &[], Stop::Never), now(), &halt);
    assert_eq!(ended.unwrap().ending, Ending::Halted);
}

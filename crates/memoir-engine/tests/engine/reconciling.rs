//! After a reconcile and a run the tables are those of a run that was never disturbed: nothing is appended again, and
//! nothing is lost.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use memoir_core::ConversationEvent;
use memoir_core::processor::StreamEvent as _;
use memoir_core::profile::{AuditRows, ProfileConfig, emission_id};
use memoir_core::source::{ReadUntil, StartAt};
use memoir_core::table::{RowBuffer, fingerprint};
use memoir_engine::{Answerer, Ending, EngineError, Finding, Halt, Reconciled, Summary};
use memoir_state::ShardStore;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::laws::{Cut, Interruption, assert_lawful, cut, interruption, run_interrupted, shards};
use crate::support::extractor::extract_fresh;
use crate::support::processor::Watched;
use crate::support::query::{Query, copy_folder, fast_folder, later, now_by};
use crate::support::reference::Reference;
use crate::support::remote::Remote;
use crate::support::rows::{AuditRow, ExtractionRow};
use crate::support::sink::{MemorySink, Tables, audit, extractions};
use crate::support::source::{Log, MemorySource, Stop};
use crate::support::streams::{cases, config, event, events, seconds};

/// Settings under which the tables tell all that a state needs: see "What the tables can't tell" in the design.
fn telling_config() -> impl Strategy<Value = ProfileConfig> {
    config().prop_map(|config| ProfileConfig {
        dedup_window: 256,
        dedup_ttl: None,
        facts_ttl: config.facts_ttl.filter(|_| config.audit_rows == AuditRows::Snapshot),
        ..config
    })
}

fn careful() -> Answerer<Watched> {
    now_by(extract_fresh)
}

fn fail(error: &EngineError) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

fn finish(query: &Query, log: &Arc<Log>, cut: &Cut) -> Result<(), TestCaseError> {
    let ended = query.run(&mut cut.source(log, Stop::Never), careful()).map_err(|error| fail(&error))?;
    prop_assert_eq!(ended.ending, Ending::Complete);
    prop_assert_eq!(query.metrics.outbox_bytes.get(), 0, "the outbox is empty at the end");
    Ok(())
}

/// What of an extraction row does not depend on whether it was written from the audit alone.
fn told(rows: &[ExtractionRow]) -> Vec<ExtractionRow> {
    let told = |row: &ExtractionRow| ExtractionRow { attempts: 0, facts_proposed: 0, facts_accepted: 0, ..row.clone() };
    rows.iter().map(told).collect()
}

fn assert_undisturbed(query: &Query, reference: &Reference) -> Result<(), TestCaseError> {
    let audit = query.sink.audit();
    for (at, (row, expected)) in audit.iter().zip(&reference.audit).enumerate() {
        prop_assert_eq!(row, expected, "audit row {}", at);
    }
    prop_assert_eq!(audit.len(), reference.audit.len());
    prop_assert_eq!(told(&query.sink.extractions()), told(&reference.extractions));
    assert_lawful(&query.sink)
}

/// Reconciles, after attempts that end somewhere in the middle; behind each of those no run starts. Then once more, which
/// finds the same.
fn reconcile_at_last(query: &Query, log: &Arc<Log>, crashes: &[(u64, u64)]) -> Result<Reconciled, TestCaseError> {
    let tables = query.sink.tables();
    let looked = query.reconcile_with(&Watched::new(&query.config), true).map_err(|error| fail(&error))?;
    for (calls, marks) in crashes {
        query.sink.fail_marks_at(Some(*marks));
        let crashed = query.reconcile_with(&Watched::failing_at(&query.config, *calls), false).is_err();
        query.sink.fail_marks_at(None);
        if crashed {
            let refused = query.run(&mut MemorySource::new(log, &[], Stop::Never), careful());
            prop_assert!(matches!(refused, Err(EngineError::ReconcileInterrupted { .. })), "{:?}", refused);
        }
    }
    let first = query.reconcile_with(&Watched::new(&query.config), false).map_err(|error| fail(&error))?;
    if crashes.is_empty() {
        prop_assert_eq!(&looked, &first, "a dry run tells what is done");
    }
    let second = query.reconcile_with(&Watched::new(&query.config), false).map_err(|error| fail(&error))?;
    prop_assert_eq!(second.applied, 0);
    for (first, second) in first.tables.iter().zip(&second.tables) {
        prop_assert_eq!(second.finding, Finding::InOrder);
        prop_assert_eq!((second.dropped, second.raised, second.attached), (0, 0, false));
        prop_assert!(second.held <= first.held);
    }
    for (name, table) in query.sink.tables() {
        let before = tables.get(name).map_or(0, |table| table.appended.len());
        prop_assert_eq!(table.appended.len(), before, "a reconcile appends no rows");
    }
    Ok(first)
}

fn crashes() -> impl Strategy<Value = Vec<(u64, u64)>> {
    prop::collection::vec((prop_oneof![1u64..400, Just(u64::MAX)], 1u64..5), 0..3)
}

fn interruptions() -> impl Strategy<Value = Vec<(Interruption, Cut)>> {
    prop::collection::vec((interruption(), cut()), 1..5)
}

proptest! {
    #![proptest_config(cases(160))]

    #[test]
    fn a_deleted_state_is_made_again_from_source_and_tables(
        config in telling_config(), events in events(150), (before, after) in (shards(), shards()),
        interruptions in interruptions(), last in cut(), crashes in crashes(), new_id in prop::sample::select(vec![1i64, 815_000]),
    ) {
        let mut query = Query::new(&config, before);
        let log = Log::of(&events, 2);
        for (interruption, cut) in &interruptions {
            cut.apply(&mut query);
            run_interrupted(&query, &log, cut, interruption, extract_fresh)?;
            query.metrics = Arc::default();
        }
        let before = query.sink.tables();
        query.restore_state(None);
        (query.state_id, query.shards, query.metrics) = (new_id, after, Arc::default());
        reconcile_at_last(&query, &log, &crashes)?;
        last.apply(&mut query);
        let asked: Arc<Mutex<HashSet<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let answerer = now_by(move |call| {
            seen.lock().unwrap().insert(call.emission_id.clone());
            extract_fresh(call)
        });
        let ended = query.run(&mut last.source(&log, Stop::Never), answerer).map_err(|error| fail(&error))?;
        prop_assert_eq!(ended.ending, Ending::Complete);
        assert_undisturbed(&query, &Reference::of_stream(&config, extract_fresh, &events, true))?;
        let told: HashSet<_> = audit(&before).into_iter().map(|row| row.emission_id).collect();
        for row in extractions(&before) {
            let may_be_asked = row.trigger == "drain" && !told.contains(&row.emission_id);
            prop_assert!(may_be_asked || !asked.lock().unwrap().contains(&row.emission_id), "{:?} was asked again", row);
        }
        let (_home, stores) = query.stores();
        for store in &stores {
            prop_assert_eq!(store.holds().unwrap(), (false, false), "all that was held is used up");
        }
    }

    #[test]
    fn an_older_copy_of_the_state_goes_on_from_what_the_tables_hold(
        config in telling_config(), events in events(150), shards in shards(), at in 0usize..5,
        interruptions in interruptions(), last in cut(), crashes in crashes(), spread in prop::option::of(1u64..20),
    ) {
        let mut query = Query::new(&config, shards);
        let (log, copy) = (Log::of(&events, 2), fast_folder());
        // Answers that come late leave requests pending in the copy.
        let run = |query: &Query, interruption: &Interruption, cut: &Cut| match (spread, interruption) {
            (Some(spread), Interruption::Halt(records)) => {
                let halt = Halt::default();
                let mut source = cut.source(&log, Stop::Halt(*records, halt.clone()));
                let answerer = later(&Remote::by(spread, extract_fresh));
                query.run_with(&Watched::new(&query.config), &mut source, answerer, &halt).map(drop).map_err(|error| fail(&error))
            }
            _ => run_interrupted(query, &log, cut, interruption, extract_fresh),
        };
        for (n, (interruption, cut)) in interruptions.iter().enumerate() {
            cut.apply(&mut query);
            if n == at % interruptions.len() && n > 0 {
                copy_folder(query.folder.path(), copy.path());
            }
            run(&query, interruption, cut)?;
            query.metrics = Arc::default();
        }
        if at % interruptions.len() > 0 {
            query.restore_state(Some(copy.path()));
        }
        query.metrics = Arc::default();
        reconcile_at_last(&query, &log, &crashes)?;
        last.apply(&mut query);
        finish(&query, &log, &last)?;
        assert_undisturbed(&query, &Reference::of_stream(&config, extract_fresh, &events, true))?;
    }

    #[test]
    fn behind_a_lost_or_older_table_only_what_it_lost_is_missing(
        config in telling_config(), events in events(150), shards in shards(), at in 0usize..5, one in prop::option::of(0usize..3),
        interruptions in interruptions(), last in cut(), crashes in crashes(), deleted in any::<bool>(),
    ) {
        let mut query = Query::new(&config, shards);
        let log = Log::of(&events, 2);
        let mut older = MemorySink::default().tables();
        for (n, (interruption, cut)) in interruptions.iter().enumerate() {
            cut.apply(&mut query);
            if n == at % interruptions.len() && !deleted {
                older = query.sink.tables();
            }
            run_interrupted(&query, &log, cut, interruption, extract_fresh)?;
            query.metrics = Arc::default();
        }
        let newest = query.sink.tables();
        let mut restored: Tables = newest.clone();
        for (n, name) in newest.keys().copied().enumerate() {
            if one.is_none_or(|one| one == n) {
                restored.remove(name);
                restored.extend(older.get(name).map(|table| (name, table.clone())));
            }
        }
        query.sink.restore(restored.clone());
        reconcile_at_last(&query, &log, &crashes)?;
        last.apply(&mut query);
        query.metrics = Arc::default();
        finish(&query, &log, &last)?;
        let reference = Reference::of_stream(&config, extract_fresh, &events, true);
        let ids = |rows: Vec<ExtractionRow>| -> BTreeSet<String> { rows.into_iter().map(|row| row.emission_id).collect() };
        let lost = &ids(extractions(&newest)) - &ids(extractions(&restored));
        let expected: Vec<_> = reference.extractions.iter().filter(|row| !lost.contains(&row.emission_id)).cloned().collect();
        prop_assert!(covers(&query.sink.extractions(), &expected, &reference.extractions), "extractions");
        let id = |row: &AuditRow| (row.emission_id.clone(), row.key.clone());
        let of = |tables: &Tables| -> BTreeSet<_> { audit(tables).iter().map(id).collect() };
        let lost = &of(&newest) - &of(&restored);
        let expected: Vec<_> = reference.audit.iter().filter(|row| !lost.contains(&id(row))).cloned().collect();
        prop_assert!(covers(&query.sink.audit(), &expected, &reference.audit), "audit");
        assert_lawful(&query.sink)?;
    }

    #[test]
    fn no_message_goes_unread_where_runs_drained_in_between(
        config in telling_config(), pieces in prop::collection::vec(events(50), 2..5), new in events(40), shards in shards(), cut in cut(),
    ) {
        let mut query = Query::new(&config, shards);
        cut.apply(&mut query);
        let log = Log::new("memory:log", 2);
        let mut clock = 0;
        // In the order of their times: what a message that comes late can do is said in the design.
        let mut in_time = |events: Vec<ConversationEvent>| -> Vec<ConversationEvent> {
            let later = |event| { clock += 7; ConversationEvent { ts: seconds(clock), event_id: format!("e{clock}"), ..event } };
            events.into_iter().map(later).collect()
        };
        for piece in pieces {
            log.feed(&in_time(piece));
            finish(&query, &log, &cut)?;
        }
        let before = query.sink.tables();
        query.restore_state(None);
        (query.state_id, query.metrics) = (815, Arc::default());
        reconcile_at_last(&query, &log, &[])?;
        let new = in_time(new);
        log.feed(&new);
        let asked: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let seen = Arc::clone(&asked);
        let answerer = now_by(move |call| {
            seen.lock().unwrap().extend(call.request.window.iter().map(|window| window.message.event_id.clone()));
            extract_fresh(call)
        });
        let ended = query.run(&mut cut.source(&log, Stop::Never), answerer).map_err(|error| fail(&error))?;
        prop_assert_eq!(ended.ending, Ending::Complete);
        assert_lawful(&query.sink)?;
        let kept: BTreeSet<_> = query.sink.audit().iter().map(|row| (row.emission_id.clone(), row.key.clone(), row.value.clone())).collect();
        prop_assert!(audit(&before).iter().all(|row| kept.contains(&(row.emission_id.clone(), row.key.clone(), row.value.clone()))));
        // Messages that a TTL or a full buffer takes away unseen are nobody's.
        if config.buffer_ttl.is_none() && config.emit_before_overflow {
            let asked = asked.lock().unwrap();
            for event in new.iter().filter(|event| event.role == "user") {
                prop_assert!(asked.contains(&event.event_id), "{} was never asked about", event.event_id);
            }
        }
    }
}

/// Whether rows are all of `least`, and no other than those of `most`, each at most once.
fn covers<T: PartialEq>(rows: &[T], least: &[T], most: &[T]) -> bool {
    let times = |row: &T, of: &[T]| of.iter().filter(|other| *other == row).count();
    least.iter().all(|row| times(row, rows) == 1)
        && rows.iter().all(|row| times(row, most) == 1 && times(row, rows) == 1)
}

/// Emissions of two messages each, and no other.
fn pairs() -> ProfileConfig {
    ProfileConfig { query_name: "test".to_owned(), emission_threshold: 2, ..ProfileConfig::default() }
}

/// Of one user, a second apart.
fn messages(from: i64, count: i64) -> Vec<ConversationEvent> {
    let one = |n: i64| event(&format!("e{n}"), "ann", "c", "user", seconds(n), &format!("set city=Town{n}"));
    (from..from + count).map(one).collect()
}

fn run(query: &Query, log: &Arc<Log>) -> Result<Summary, EngineError> {
    query.run(&mut MemorySource::new(log, &[3], Stop::Never), careful())
}

#[test]
fn an_older_copy_of_a_table_is_refused_with_what_was_found_until_it_is_reconciled() {
    let query = Query::new(&pairs(), 1);
    let log = Log::of(&messages(0, 4), 1);
    run(&query, &log).unwrap();
    let older = query.sink.tables();
    log.feed(&messages(4, 4));
    run(&query, &log).unwrap();
    let newest = query.sink.tables();
    query.sink.restore(older);
    let refused = run(&query, &log).unwrap_err();
    assert!(matches!(&refused, EngineError::TableBehindState { shard: 0, .. }), "{refused}");
    assert!(refused.to_string().contains("memoir state reconcile"), "{refused}");
    // The newest one fits.
    let older = query.sink.tables();
    query.sink.restore(newest);
    run(&query, &log).unwrap();
    query.sink.restore(older);
    let reconciled = query.reconcile();
    assert!(reconciled.tables.iter().take(2).all(|table| table.finding == Finding::TableBehind), "{reconciled:?}");
    log.feed(&messages(8, 2));
    run(&query, &log).unwrap();
    let emissions: Vec<String> = query.sink.extractions().into_iter().map(|row| row.emission_id).collect();
    assert_eq!(emissions, [1, 2, 5].map(|number| emission_id("test", "ann", number)));
}

#[test]
fn dead_letters_and_archived_events_are_not_appended_again() {
    let mut query = Query::new(&pairs(), 3);
    query.options.archive = true;
    let log = Log::new("memory:log", 1);
    log.feed(&messages(0, 5));
    log.feed_bad("it is no event", None);
    log.feed_bad("it is none either", Some("ann"));
    run(&query, &log).unwrap();
    query.restore_state(None);
    (query.state_id, query.shards) = (815, 2);
    // The archive itself tells that the query archives.
    query.options.archive = false;
    let reconciled = query.reconcile();
    query.options.archive = true;
    assert_eq!(reconciled.tables.iter().map(|table| table.held).collect::<Vec<_>>(), [3, 3, 2, 5]);
    // Held rows that are not used up are found again.
    assert_eq!(query.reconcile().tables.iter().map(|table| table.held).collect::<Vec<_>>(), [3, 3, 2, 5]);
    // An archived event is held by the shard that will be given it, and by no other.
    let held = |query: &Query| {
        let (_, stores) = query.stores();
        let holding = |event: &ConversationEvent| {
            let mut row = RowBuffer::default();
            event.write_row(&mut row.row());
            let of =
                |store: &ShardStore| store.held_row(ConversationEvent::SCHEMA.name, fingerprint(&row.bytes)).unwrap();
            stores.iter().map(of).sum::<u64>()
        };
        messages(0, 5).iter().map(holding).collect::<Vec<_>>()
    };
    assert_eq!(held(&query), [1; 5]);
    log.feed(&messages(5, 1));
    log.feed_bad("it is no event", None);
    query.metrics = Arc::default();
    run(&query, &log).unwrap();
    assert_eq!(held(&query), [0; 5], "all of them were used up");
    assert_eq!(query.sink.archived(), messages(0, 6));
    assert_eq!(query.sink.rejected().len(), 3);
    assert_eq!(query.metrics.events.get(), 6);
}

#[test]
fn rows_of_other_queries_in_the_same_table_do_not_count() {
    let mut query = Query::new(&pairs(), 1);
    let log = Log::of(&messages(0, 4), 1);
    run(&query, &log).unwrap();
    query.config.query_name = "another".to_owned();
    query.restore_state(None);
    query.state_id = 815;
    assert_eq!(query.reconcile().tables.iter().map(|table| table.held).max(), Some(0));
}

#[test]
fn a_request_that_an_older_copy_left_pending_and_the_tables_answer_is_asked_of_nobody() {
    let mut query = Query::new(&pairs(), 1);
    query.options.until = ReadUntil::Stopped;
    let (log, copy, remote) = (Log::of(&messages(0, 6), 1), fast_folder(), Remote::by(1, extract_fresh));
    remote.hold_all();
    let processor = Watched::new(&query.config);
    let mut source = MemorySource::new(&log, &[6], Stop::Never);
    let (ended, ()) = query.while_running(&processor, &mut source, later(&remote), |_| remote.wait_until_under_way(1));
    ended.unwrap();
    remote.release();
    copy_folder(query.folder.path(), copy.path());
    query.options.until = ReadUntil::WhatIsThere;
    run(&query, &log).unwrap();
    query.restore_state(Some(copy.path()));
    assert_eq!(query.reconcile().applied, 3);
    let remote = Remote::by(1, extract_fresh);
    let halt = Halt::default();
    let mut source = MemorySource::new(&log, &[6], Stop::Never);
    query.run_with(&Watched::new(&query.config), &mut source, later(&remote), &halt).unwrap();
    assert!(remote.asked().is_empty(), "{:?}", remote.asked());
    assert_undisturbed(&query, &Reference::of_stream(&pairs(), extract_fresh, &messages(0, 6), true)).unwrap();
}

#[test]
fn timers_of_the_wall_clock_that_do_not_come_again_double_and_lose_nothing() {
    let config = ProfileConfig { emission_threshold: 100, ..pairs() };
    let mut query = Query::new(&config, 1).daemon();
    let log = Log::new("memory:log", 1);
    let live = |query: &Query, script: &dyn Fn()| {
        let processor = Watched::new(&query.config);
        let mut source = MemorySource::new(&log, &[10], Stop::Never);
        query.while_running(&processor, &mut source, careful(), |_| script()).0.unwrap();
    };
    let emissions = |query: &Query, count: usize| {
        log.poke();
        query.sink.wait_until("emissions", |tables, _| extractions(tables).len() == count);
    };
    // Two messages, each of which waited for its own timer.
    live(&query, &|| {
        for n in 0..2 {
            query.manual.set(seconds(n * 1000));
            log.feed(&messages(n * 1000, 1));
            log.poke();
            let deadline = std::time::Instant::now() + crate::support::sink::PATIENCE;
            while query.metrics.events.get() <= n as u64 {
                assert!(std::time::Instant::now() < deadline, "the message is not taken");
                std::thread::yield_now();
            }
            query.manual.set(seconds(n * 1000 + 700));
            emissions(&query, n as usize + 1);
        }
    });
    let before = query.sink.audit();
    query.restore_state(None);
    (query.state_id, query.metrics) = (815, Arc::default());
    query.reconcile();
    // Read again at once, they are one emission; and then somebody says something new.
    live(&query, &|| {
        query.manual.set(seconds(5000));
        log.feed(&messages(5000, 1));
        log.poke();
        let deadline = std::time::Instant::now() + crate::support::sink::PATIENCE;
        while query.metrics.events.get() < 3 {
            assert!(std::time::Instant::now() < deadline, "the messages are not taken");
            std::thread::yield_now();
        }
        query.manual.set(seconds(5700));
        emissions(&query, 3);
    });
    let audit = query.sink.audit();
    assert_eq!(audit[..before.len()], before);
    let last = audit.last().unwrap();
    assert_eq!((last.emission_id.as_str(), last.value.as_str()), (emission_id("test", "ann", 3).as_str(), "Town5000"));
    assert_eq!(last.previous_value.as_deref(), Some("Town1000"), "the facts are what the table says");
    assert_lawful(&query.sink).unwrap();
}

#[test]
fn a_state_that_starts_at_the_latest_knows_what_the_tables_hold_when_somebody_speaks_again() {
    let mut query = Query::new(&pairs(), 1);
    let log = Log::of(&messages(0, 6), 1);
    run(&query, &log).unwrap();
    query.restore_state(None);
    (query.state_id, query.options.start) = (815, StartAt::Latest);
    query.reconcile();
    run(&query, &log).unwrap();
    log.feed(&messages(100, 2));
    run(&query, &log).unwrap();
    let audit = query.sink.audit();
    let last = audit.last().unwrap();
    assert_eq!(last.emission_id, emission_id("test", "ann", 4));
    assert_eq!((last.value.as_str(), last.previous_value.as_deref()), ("Town101", Some("Town5")));
    assert_lawful(&query.sink).unwrap();
}

//! State, tables and source belong together: every mix-up is refused with what to do, and nothing is lost meanwhile.

use std::fs;

use memoir_core::ConversationEvent;
use memoir_core::profile::{PROFILE_AUDIT, ProfileConfig};
use memoir_core::source::{ReadUntil, StartAt};
use memoir_engine::{ClockMode, Ending, EngineError, Finding, Summary};
use memoir_state::Resources;

use crate::audit_equals_reference::assert_same;
use crate::support::extractor::extract;
use crate::support::query::{Query, copy_folder, fast_folder, now};
use crate::support::reference::Reference;
use crate::support::sink::MemorySink;
use crate::support::source::{Log, MemorySource, Stop};
use crate::support::streams::{event, seconds};

fn config() -> ProfileConfig {
    ProfileConfig { query_name: "test".to_owned(), emission_threshold: 2, ..ProfileConfig::default() }
}

fn messages(from: i64, count: i64) -> Vec<ConversationEvent> {
    let users = ["ann", "bob", "cy"];
    let one = |n: i64| {
        event(&format!("e{n}"), users[(n % 3) as usize], "c", "user", seconds(n), &format!("set city=Town{n}"))
    };
    (from..from + count).map(one).collect()
}

fn run(query: &Query, log: &std::sync::Arc<Log>) -> Result<Summary, EngineError> {
    query.run(&mut MemorySource::new(log, &[3], Stop::Never), now())
}

fn delete_state(query: &Query) {
    for entry in fs::read_dir(query.folder.path()).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
}

#[test]
fn tables_without_their_state_are_refused_and_stay_as_they_are() {
    let mut query = Query::new(&config(), 2);
    let log = Log::of(&messages(0, 20), 1);
    run(&query, &log).unwrap();
    let before = query.sink.audit();
    delete_state(&query);
    query.state_id = 815;
    let refused = run(&query, &log).unwrap_err();
    assert!(matches!(&refused, EngineError::TablesWithoutState { query, .. } if query == "test"), "{refused}");
    assert!(refused.to_string().contains("memoir state reconcile"), "{refused}");
    assert_eq!(query.sink.audit(), before);
}

#[test]
fn an_older_copy_of_the_state_is_refused() {
    let query = Query::new(&config(), 2);
    let log = Log::of(&messages(0, 10), 1);
    run(&query, &log).unwrap();
    let copy = fast_folder();
    copy_folder(query.folder.path(), copy.path());
    log.feed(&messages(10, 20));
    run(&query, &log).unwrap();
    let before = query.sink.audit();
    delete_state(&query);
    copy_folder(copy.path(), query.folder.path());
    let refused = run(&query, &log).unwrap_err();
    assert!(matches!(refused, EngineError::StateBehindTables { .. }), "{refused}");
    assert_eq!(query.sink.audit(), before);
}

#[test]
fn a_copy_of_the_state_that_is_as_far_as_its_tables_goes_on() {
    let query = Query::new(&config(), 2);
    let log = Log::of(&messages(0, 10), 1);
    run(&query, &log).unwrap();
    let copy = fast_folder();
    copy_folder(query.folder.path(), copy.path());
    delete_state(&query);
    copy_folder(copy.path(), query.folder.path());
    log.feed(&messages(10, 20));
    assert_eq!(run(&query, &log).unwrap().ending, Ending::Complete);
}

#[test]
fn a_state_without_its_tables_is_refused() {
    let query = Query::new(&config(), 2);
    let log = Log::of(&messages(0, 20), 1);
    run(&query, &log).unwrap();
    let tables = query.sink.tables();

    query.sink.restore(MemorySink::default().tables());
    let refused = run(&query, &log).unwrap_err();
    assert!(matches!(refused, EngineError::StateWithoutTables { .. }), "{refused}");

    // One of them is enough.
    let mut one_less = tables.clone();
    one_less.remove(PROFILE_AUDIT.name);
    query.sink.restore(one_less);
    let refused = run(&query, &log).unwrap_err();
    assert!(
        matches!(&refused, EngineError::StateWithoutTables { table, .. } if table == PROFILE_AUDIT.name),
        "{refused}"
    );

    query.sink.restore(tables);
    assert_eq!(run(&query, &log).unwrap().ending, Ending::Complete);
}

#[test]
fn the_tables_of_another_state_of_the_same_name_are_refused() {
    let log = Log::of(&messages(0, 20), 1);
    let (query, mut other) = (Query::new(&config(), 2), Query::new(&config(), 2));
    other.state_id = 815;
    run(&query, &log).unwrap();
    run(&other, &log).unwrap();
    other.sink.restore(query.sink.tables());
    let refused = run(&other, &log).unwrap_err();
    assert!(matches!(refused, EngineError::StateWithoutTables { .. }), "{refused}");
}

#[test]
fn the_way_back_to_event_time_is_refused() {
    let mut query = Query::new(&config(), 2);
    let log = Log::of(&messages(0, 5), 1);
    query.options.clock = ClockMode::ProcessingTime;
    run(&query, &log).unwrap();
    query.options.clock = ClockMode::EventTime;
    assert!(matches!(run(&query, &log), Err(EngineError::ClockGoesBack)));
}

/// A daemon that was given a source that is not there.
fn fail_to_start(query: &mut Query) {
    query.options.clock = ClockMode::ProcessingTime;
    let mut missing = MemorySource::new(&Log::new("memory:mistyped", 1), &[3], Stop::Missing);
    let failed = query.run(&mut missing, now()).unwrap_err();
    assert!(matches!(failed, EngineError::Source(_)), "{failed}");
    query.options.clock = ClockMode::EventTime;
}

#[test]
fn a_run_that_fails_at_its_start_leaves_clock_and_source_as_they_were() {
    let mut query = Query::new(&config(), 3);
    let log = Log::of(&messages(0, 10), 1);
    fail_to_start(&mut query);
    run(&query, &log).unwrap();
    let metas = |query: &Query| query.stores().1.iter().map(|store| store.meta().unwrap()).collect::<Vec<_>>();
    let before = metas(&query);
    fail_to_start(&mut query);
    assert_eq!(metas(&query), before);
    run(&query, &log).unwrap();
}

#[test]
fn a_daemon_that_took_nothing_leaves_the_way_back_open() {
    let mut query = Query::new(&config(), 2);
    let log = Log::new("memory:log", 1);
    query.options.clock = ClockMode::ProcessingTime;
    run(&query, &log).unwrap();
    query.options.clock = ClockMode::EventTime;
    log.feed(&messages(0, 5));
    run(&query, &log).unwrap();
}

#[test]
fn a_state_goes_on_from_another_source_and_takes_nothing_of_the_first_one_again() {
    let query = Query::new(&config(), 2);
    let (history, topic) = (Log::new("memory:history", 2), Log::new("memory:topic", 3));
    history.feed(&messages(0, 20));
    run(&query, &history).unwrap();
    topic.feed(&messages(20, 20));
    run(&query, &topic).unwrap();
    topic.feed(&messages(40, 20));
    run(&query, &topic).unwrap();
    assert_eq!(query.metrics.events.get(), 60);
    let mut reference = Reference::new(&config(), extract);
    for events in [messages(0, 20), messages(20, 20), messages(40, 20)] {
        events.iter().for_each(|event| reference.event(event, event.ts));
        reference.drain(None);
    }
    assert_same(&query, &reference.sorted()).unwrap();
}

#[test]
fn a_source_that_is_found_at_another_place_goes_on_where_it_was() {
    let query = Query::new(&config(), 2);
    let log = Log::of(&messages(0, 20), 2);
    for cut in [3, 5] {
        query.run(&mut MemorySource::new(&log, &[cut], Stop::Never), now()).unwrap();
        assert_eq!((query.metrics.events.get(), query.metrics.duplicates.get()), (20, 0), "batches of {cut}");
    }
}

#[test]
fn a_new_state_that_starts_at_the_latest_takes_what_comes_after_it_was_made_also_over_a_failure() {
    let mut query = Query::new(&config(), 5);
    query.options.start = StartAt::Latest;
    let log = Log::new("memory:log", 3);
    log.feed(&messages(0, 30));
    // The first run fails before it has read anything; where it began is kept.
    assert!(query.run(&mut MemorySource::new(&log, &[3], Stop::Fail(0)), now()).is_err());
    log.feed(&messages(30, 30));
    query.options.until = ReadUntil::WhatIsThere;
    run(&query, &log).unwrap();
    assert_same(&query, &Reference::of_stream(&config(), extract, &messages(30, 30), true)).unwrap();
}

#[test]
fn a_run_without_records_appends_nothing() {
    let query = Query::new(&config(), 8);
    let log = Log::new("memory:log", 1);
    assert_eq!(run(&query, &log).unwrap().ending, Ending::Complete);
    assert_eq!(run(&query, &log).unwrap().ending, Ending::Complete);
    assert_eq!((query.sink.audit().len(), query.metrics.appends.get()), (0, 0));
}

#[test]
fn a_state_that_comes_back_to_a_source_goes_on_where_it_was() {
    for start in [StartAt::Earliest, StartAt::Latest] {
        let mut query = Query::new(&config(), 2);
        query.options.start = start.clone();
        let (topic, files) = (Log::new("memory:topic", 2), Log::new("memory:files", 1));
        run(&query, &topic).unwrap();
        run(&query, &files).unwrap();
        topic.feed(&messages(0, 20));
        run(&query, &topic).unwrap();
        files.feed(&messages(20, 7));
        run(&query, &files).unwrap();
        topic.feed(&messages(30, 10));
        run(&query, &topic).unwrap();
        assert_eq!((query.metrics.events.get(), query.metrics.duplicates.get()), (37, 0), "{start:?}");
    }
}

/// Changes the number of shards, as `memoir state repartition` does.
fn repartition(query: &mut Query, shards: u32) {
    let (mut home, stores) = query.stores();
    drop(stores);
    home.repartition(shards, &Resources::new(1 << 20, 4 << 20)).unwrap();
    query.shards = shards;
}

#[test]
fn an_older_copy_of_a_table_is_refused_also_after_a_repartition() {
    // To more shards, to fewer, and there and back: the marks of the shards between are kept meanwhile.
    for way in [&[5][..], &[2], &[1, 3]] {
        let mut query = Query::new(&config(), 3);
        let log = Log::of(&messages(0, 12), 1);
        run(&query, &log).unwrap();
        let old = query.sink.tables();
        // One user more, so that it may be any shard that the older table lacks rows of.
        log.feed(&messages(12, 1));
        run(&query, &log).unwrap();
        let newest = query.sink.tables();
        way.iter().for_each(|shards| repartition(&mut query, *shards));

        query.sink.restore(old.clone());
        let refused = run(&query, &log).unwrap_err();
        assert!(matches!(refused, EngineError::TableBehindState { .. }), "{way:?}: {refused}");
        query.sink.restore(newest);
        run(&query, &log).unwrap();
        query.sink.restore(old);
        let found = query.reconcile();
        assert!(found.tables.iter().any(|table| table.finding == Finding::TableBehind), "{way:?}: {found:?}");
        run(&query, &log).unwrap();
    }
}

//! An available-now run that a signal ends before its end says so, and loses nothing.

use std::time::Duration;

use serde_json::json;

use crate::support::{Endpoint, Event, Reply, Workspace, eventually, lines, text};

/// A run that cannot end: the endpoint keeps silent.
fn ended_by(signal: &str, code: i32) {
    let workspace = Workspace::new();
    let events: Vec<_> = (1..=4).map(|number| Event::new("ada", number, "I live in Leeds.")).collect();
    workspace.write("chat.ndjson", lines(&events));
    let settings =
        ["processor.emission_threshold=4", "extractor.timeout=5m", "source.archive=true", "engine.epoch_interval=10ms"];
    let arguments = Workspace::over_files("available-now", "chat.ndjson", &settings);
    let silent = Endpoint::that(|_| Reply::Silence);
    let running = silent.start_in(&workspace, &arguments);
    eventually("a request", || (!silent.asked().is_empty()).then_some(()));
    running.signal(signal);
    running.wait().exited(code);
    assert_eq!(workspace.extractions(), [] as [serde_json::Value; 0], "nothing was answered");

    // The next run asks again, and needs no events for it.
    let answers = Endpoint::start(|asked| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let last = asked.last_message();
            Reply::facts(&json!([{"key": "location", "kind": "identity", "value": "Leeds", "confidence": 0.9,
                "action": "new", "evidence": [{"message": text(&last, "id"), "quote": "I live in Leeds"}]}]))
        })
    });
    answers.run_in(&workspace, &arguments).succeeded().says(&["extractions=1"]);
    assert_eq!(answers.asked().len(), 1);
    let view = workspace.query("SELECT key, value FROM v_profile_memory_current");
    assert_eq!(view, [json!({"key": "location", "value": "Leeds"})]);
    assert_eq!(workspace.query("SELECT * FROM conversation_events").len(), 4);
}

#[test]
fn an_available_now_run_ended_by_sigterm_exits_with_143_and_the_next_goes_on() {
    ended_by("TERM", 143);
}

#[test]
fn an_available_now_run_ended_by_sigint_exits_with_130_and_the_next_goes_on() {
    ended_by("INT", 130);
}

#[test]
fn a_second_signal_ends_the_run_at_once_and_never_aborts_it() {
    let workspace = Workspace::new();
    let events: Vec<_> = (1..=4).map(|number| Event::new("ada", number, "I live in Leeds.")).collect();
    workspace.write("chat.ndjson", lines(&events));
    let settings = ["processor.emission_threshold=4", "extractor.timeout=5m", "engine.epoch_interval=1ms"];
    let arguments = Workspace::over_files("available-now", "chat.ndjson", &settings);
    let silent = Endpoint::that(|_| Reply::Silence);
    // Whether the process was aborted depended on what RocksDB's threads did in that moment.
    for round in 0..20 {
        let before = silent.asked().len();
        let running = silent.start_in(&workspace, &arguments);
        eventually("a request", || (silent.asked().len() > before).then_some(()));
        running.signal("TERM");
        running.signal("INT");
        let outcome = running.wait();
        let code = outcome.status.code();
        assert!(matches!(code, Some(130 | 143)), "round {round}: {:?}\n{}", outcome.status, outcome.stderr);
    }
}

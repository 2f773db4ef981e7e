//! A daemon over a growing file: emits by threshold, timer and conversation end, stops when it is told to, and goes on
//! where it stopped.

use std::io::Write;
use std::process::Stdio;
use std::time::{Instant, SystemTime};

use serde_json::Value;

use crate::support::{Event, Running, Workspace, eventually, lines, said, system_time_text, text};

fn arguments(ttl: &str) -> Vec<String> {
    let ttl = format!("processor.timer_ttl={ttl}");
    let settings = [
        ttl.as_str(),
        "processor.emission_threshold=3",
        "extractor.kind=heuristic",
        "source.archive=true",
        "state.shards=2",
        "engine.epoch_interval=20ms",
        "sink.commit_interval=20ms",
    ];
    let mut arguments = Workspace::over_files("processing-time", "chat.ndjson", &settings);
    arguments.extend(["--interval".to_owned(), "20ms".to_owned()]);
    arguments
}

/// Waits for so many emissions of a user, and gives their triggers and times.
fn emissions(workspace: &Workspace, user: &str, count: usize) -> Vec<(String, String)> {
    let of_user = format!(
        "SELECT DISTINCT emission_id, \"trigger\", emission_ts FROM profile_memory_audit \
         WHERE user_id = '{user}' ORDER BY emission_id"
    );
    eventually(&format!("{count} emissions of {user}"), || {
        let rows = workspace.query_if_there(&of_user);
        let told = |row: &Value| (text(row, "trigger").to_owned(), text(row, "emission_ts").to_owned());
        (rows.len() >= count).then(|| rows.iter().map(told).collect())
    })
}

fn triggers(workspace: &Workspace, user: &str, count: usize) -> Vec<String> {
    emissions(workspace, user, count).into_iter().map(|(trigger, _)| trigger).collect()
}

/// Waits until an event is in the archive: then it was taken, and its epoch is committed.
fn taken(workspace: &Workspace, event_id: &str) {
    let sql = format!("SELECT event_id FROM conversation_events WHERE event_id = '{event_id}'");
    eventually(event_id, || (!workspace.query_if_there(&sql).is_empty()).then_some(()));
}

#[test]
fn a_daemon_follows_a_growing_file_and_emits_by_threshold_conversation_end_and_timer() {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", "");
    let mut daemon = workspace.start(&arguments("1s"));
    // The events are dated in January: a daemon goes by the wall clock.
    let began = system_time_text(SystemTime::now());
    let talk = ["I live in Leeds.", "My name is Ada.", "I work as a nurse."];
    let events: Vec<_> = (1..).zip(talk).map(|(number, content)| Event::new("ada", number, content)).collect();
    workspace.append("chat.ndjson", &lines(&events));
    assert_eq!(triggers(&workspace, "ada", 1), ["threshold"]);

    let events = [
        Event::new("ben", 1, "I live in York."),
        Event::new("ben", 2, "My name is Ben.").with("conversation_id", "another"),
    ];
    workspace.append("chat.ndjson", &lines(&events));
    // What the new conversation began with waits for the timer.
    let by_ben = emissions(&workspace, "ben", 2);
    assert_eq!([&*by_ben[0].0, &*by_ben[1].0], ["conversation_end", "timer"]);
    assert!(began < by_ben[0].1 && by_ben[1].1 < system_time_text(SystemTime::now()), "{by_ben:?}");

    // Half a line is no record yet.
    let line = said("cleo", 1, "I live in Bath.");
    let (begin, end) = line.split_at(40);
    workspace.append("chat.ndjson", begin);
    workspace.append("chat.ndjson", &format!("{end}{}", said("dan", 1, "I live in Hull.")));
    assert_eq!(triggers(&workspace, "dan", 1), ["timer"]);
    assert_eq!(triggers(&workspace, "cleo", 1), ["timer"]);
    assert!(!daemon.has_ended());
    daemon.signal("TERM");
    daemon.wait().succeeded();
    assert_eq!(workspace.query("SELECT * FROM conversation_events_rejected"), Vec::<Value>::new());
    // Nothing was pending: the stop has emitted nothing.
    assert_eq!(workspace.query("SELECT * FROM profile_memory_audit WHERE \"trigger\" = 'drain'"), Vec::<Value>::new());
}

#[test]
fn what_fell_due_while_a_daemon_was_down_fires_at_once_and_what_was_written_is_read() {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", said("ada", 1, "I live in Leeds."));
    let daemon = workspace.start(&arguments("5s"));
    taken(&workspace, "ada/1");
    let pending_since = Instant::now();
    daemon.signal("INT");
    daemon.wait().succeeded();
    let stopped = system_time_text(SystemTime::now());
    assert_eq!(workspace.query("SELECT * FROM profile_memory_audit"), Vec::<Value>::new(), "it was not due yet");

    workspace.append("chat.ndjson", &said("ben", 1, "I live in York."));
    // Nobody is there to see the timer fall due.
    eventually("the timer to be due", || (pending_since.elapsed().as_secs() >= 5).then_some(()));
    let again = system_time_text(SystemTime::now());
    let daemon = workspace.start(&arguments("5s"));
    let [(trigger, due)] = &emissions(&workspace, "ada", 1)[..] else { panic!("one emission") };
    assert_eq!(trigger, "timer");
    assert!(*due > stopped && *due < again, "a timer's stamp is its due time: {stopped} {due} {again}");
    taken(&workspace, "ben/1");
    daemon.signal("TERM");
    daemon.wait().succeeded();
    let archive = workspace.query("SELECT event_id FROM conversation_events ORDER BY event_id");
    assert_eq!(archive.len(), 2, "each event was taken once: {archive:?}");
}

#[test]
fn a_daemon_on_a_pipe_that_stays_open_stops_when_it_is_told_to() {
    let workspace = Workspace::new();
    let settings = ["source.archive=true", "engine.epoch_interval=20ms", "sink.commit_interval=20ms"];
    let mut command = workspace.command(&Workspace::over_files("processing-time", "-", &settings));
    command.stdin(Stdio::piped());
    let mut daemon = Running::start(command);
    let mut pipe = daemon.stdin();
    pipe.write_all(said("ada", 1, "I live in Leeds.").as_bytes()).unwrap();
    pipe.flush().unwrap();
    taken(&workspace, "ada/1");
    daemon.signal("TERM");
    daemon.wait().succeeded();
    drop(pipe);
}

#[test]
fn a_daemon_takes_over_the_state_of_a_backfill_and_there_is_no_way_back_to_event_time() {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", said("ada", 1, "I live in Leeds."));
    let backfill = ["processor.drain=false", "state.shards=2", "extractor.kind=heuristic"];
    workspace.process("chat.ndjson", &backfill).succeeded();
    assert_eq!(workspace.query("SELECT * FROM profile_memory_audit"), Vec::<Value>::new());
    let daemon = workspace.start(&arguments("10m"));
    // By the wall clock it was due long ago.
    let [(trigger, at)] = &emissions(&workspace, "ada", 1)[..] else { panic!("one emission") };
    assert_eq!((&**trigger, &**at), ("timer", "2026-01-05T09:10:20.000000Z"));
    daemon.signal("TERM");
    daemon.wait().succeeded().says(&["processing time"]);
    workspace.process("chat.ndjson", &backfill).exited(2).says(&["processing time", "query.name"]);
}

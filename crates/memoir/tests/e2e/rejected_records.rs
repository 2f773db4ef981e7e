//! Records that are no events: each becomes a dead letter with its place and the reason, and the run goes on.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Event, Running, Workspace, lines, text};

/// Good events around one bad record of each kind, with a word of the reason that is expected.
fn kinds_of_bad_records() -> Vec<(Vec<u8>, &'static str)> {
    let event = || Event::new("ada", 2, "Hello.");
    let line = |event: Event| event.line().trim_end().to_owned().into_bytes();
    vec![
        (b"no JSON at all".to_vec(), "not a JSON object"),
        (b"[1, 2]".to_vec(), "not a JSON object"),
        (b"{\"event_id\": \"half".to_vec(), "not a JSON object"),
        (b"{\"event_id\": \"\xff\xfe\"}".to_vec(), "not UTF-8"),
        (line(event().without("role")), "`role` is missing"),
        (line(event().with("event_id", 17)), "`event_id` is not a string"),
        (line(event().with("content", Value::Null)), "`content` is not a string"),
        (line(event().with("user_id", "")), "`user_id` is empty"),
        (line(event().with("ts", "last Tuesday")), "`ts`"),
        (line(event().with("ts", "2999-01-01T00:00:00Z")), "ahead of the clock"),
        (line(event().with("content", "x".repeat(3000))), "2048"),
    ]
}

fn write_mixed(workspace: &Workspace) {
    let mut content = Event::new("ada", 1, "I live in Leeds.").line().into_bytes();
    for (record, _) in kinds_of_bad_records() {
        content.extend_from_slice(&record);
        content.push(b'\n');
    }
    content.extend_from_slice(Event::new("ada", 3, "My name is Ada.").line().as_bytes());
    workspace.write("mixed.ndjson", content);
}

const REJECTED: &str = "SELECT * FROM conversation_events_rejected ORDER BY position";

fn assert_dead_letters(workspace: &Workspace) {
    let rows = workspace.query(REJECTED);
    let kinds = kinds_of_bad_records();
    assert_eq!(rows.len(), kinds.len(), "{rows:#?}");
    for (line, (row, (record, reason))) in (2..).zip(rows.iter().zip(&kinds)) {
        assert_eq!(row["position"], json!(line), "{row}");
        assert!(text(row, "source").ends_with("mixed.ndjson"), "{row}");
        assert!(text(row, "reason").contains(reason), "{reason:?} is missing in {row}");
        match std::str::from_utf8(record) {
            // The beginning is enough of a line that is too long.
            Ok(record) => assert!(record.starts_with(text(row, "record")) && !text(row, "record").is_empty(), "{row}"),
            Err(_) => assert!(text(row, "reason").contains("base64"), "{row}"),
        }
    }
}

#[test]
fn each_kind_of_bad_record_becomes_a_dead_letter_and_the_run_goes_on() {
    let workspace = Workspace::new();
    write_mixed(&workspace);
    let settings = ["source.max_line_bytes=2048"];
    workspace.process("mixed.ndjson", &settings).succeeded().says(&["events=2", "rejected=11"]);
    assert_dead_letters(&workspace);
    let view = workspace.query("SELECT key, value FROM v_profile_memory_current ORDER BY key");
    assert_eq!(view, [json!({"key": "location", "value": "Leeds"}), json!({"key": "name", "value": "Ada"})]);
    // They are not refused twice.
    workspace.process("mixed.ndjson", &settings).succeeded();
    assert_dead_letters(&workspace);
}

#[test]
fn ingest_refuses_the_same_records_in_the_same_way() {
    let workspace = Workspace::new();
    write_mixed(&workspace);
    for appended in ["Appended 2 events", "Appended 0 events"] {
        let ingest = ["ingest", "mixed.ndjson", "--set", "source.max_line_bytes=2048"];
        let new = if appended == "Appended 2 events" { "11 of them are new" } else { "0 of them are new" };
        let outcome = workspace.run(&ingest).succeeded().says(&["11 records", new, "conversation_events_rejected"]);
        assert!(outcome.stdout.contains(appended), "{}", outcome.stdout);
        assert_dead_letters(&workspace);
    }
}

#[test]
fn each_stream_of_ingest_has_dead_letters_of_its_own() {
    let workspace = Workspace::new();
    for content in ["no JSON\n", "nor this\n"] {
        workspace.write("piped", content);
        let mut command = workspace.command(&["ingest", "-"]);
        command.stdin(Stdio::from(std::fs::File::open(workspace.path("piped")).unwrap()));
        Running::start(command).wait().succeeded().says(&["1 of them are new"]);
    }
    let mut records: Vec<_> = workspace.query(REJECTED).iter().map(|row| text(row, "record").to_owned()).collect();
    records.sort();
    assert_eq!(records, ["no JSON", "nor this"]);
}

#[test]
fn a_file_that_grows_has_each_dead_letter_once() {
    let workspace = Workspace::new();
    for number in 1..=3 {
        workspace.append("growing.ndjson", &format!("no JSON {number}\n"));
        workspace.run(&["ingest", "growing.ndjson"]).succeeded().says(&["1 of them are new"]);
    }
    assert_eq!(workspace.query(REJECTED).len(), 3);
    // The file is replaced: other records at the same lines are other dead letters.
    workspace.write("growing.ndjson", "something else\n");
    workspace.run(&["ingest", "growing.ndjson"]).succeeded().says(&["1 of them are new"]);
    assert_eq!(workspace.query(REJECTED).len(), 4);
}

#[test]
fn an_input_of_nothing_but_bad_records_is_written_in_slices() {
    let workspace = Workspace::new();
    let bad: String = (0..3000).map(|number| format!("{number} {}\n", "x".repeat(4000))).collect();
    workspace.write("bad.ndjson", bad);
    workspace.run(&["ingest", "bad.ndjson"]).succeeded().says(&["3000 records", "3000 of them are new"]);
    assert_eq!(workspace.query("SELECT position FROM conversation_events_rejected").len(), 3000);
    // One commit made the table, and each slice is one.
    assert!(workspace.commits("conversation_events_rejected") >= 3);
}

#[test]
fn a_record_over_64_kib_is_kept_clipped() {
    let workspace = Workspace::new();
    workspace.write("long.ndjson", "x".repeat(100_000) + "\n");
    workspace.process("long.ndjson", &[]).succeeded();
    let [row] = &workspace.query(REJECTED)[..] else { panic!("one dead letter") };
    assert_eq!(text(row, "record").len(), 64 * 1024);
}

#[test]
fn a_bad_record_of_a_delta_table_is_named_by_version_and_row() {
    let workspace = Workspace::new();
    // Taken when it was ingested, and too far ahead for a run that is stricter.
    let tomorrow = chrono::Utc::now() + chrono::TimeDelta::hours(12);
    let ahead = Event::new("ada", 2, "Hello.").with("ts", tomorrow.to_rfc3339());
    workspace.write("chat.ndjson", lines(&[Event::new("ada", 1, "Hello."), ahead]));
    workspace.run(&["ingest", "chat.ndjson"]).succeeded();
    workspace.run(&["run", "--trigger", "available-now", "--set", "processor.max_ahead=1h"]).succeeded();
    let [row] = &workspace.query(REJECTED)[..] else { panic!("one dead letter") };
    assert!(text(row, "source").ends_with("conversation_events"), "{row}");
    assert!(text(row, "partition").parse::<u64>().is_ok(), "{row}");
    assert_eq!(row["position"], 2);
    let record: Value = serde_json::from_str(text(row, "record")).unwrap();
    assert_eq!(record["event_id"], "ada/2");
}

#[test]
fn told_to_fail_a_run_stops_at_the_first_bad_record_and_takes_nothing_behind_it() {
    let workspace = Workspace::new();
    write_mixed(&workspace);
    let mut strict = Workspace::over_files("available-now", "mixed.ndjson", &["source.archive=true"]);
    strict.extend(["--on-bad-record", "fail"].map(str::to_owned));
    for _ in 0..2 {
        workspace.run(&strict).exited(1).says(&["mixed.ndjson", "record 2", "not a JSON object"]);
        let taken = workspace.query("SELECT event_id FROM conversation_events");
        assert!(taken.is_empty() || taken == [json!({"event_id": "ada/1"})], "{taken:?}");
        assert_eq!(workspace.query(REJECTED), [] as [Value; 0]);
    }
    // Without the flag it goes on, and nothing comes twice.
    let lenient = ["source.archive=true", "source.max_line_bytes=2048"];
    workspace.process("mixed.ndjson", &lenient).succeeded().says(&["rejected=11"]);
    assert_dead_letters(&workspace);
    let taken = workspace.query("SELECT event_id FROM conversation_events ORDER BY event_id");
    assert_eq!(taken, [json!({"event_id": "ada/1"}), json!({"event_id": "ada/3"})]);

    let ingest = ["ingest", "mixed.ndjson", "--on-bad-record", "fail"];
    workspace.run(&ingest).exited(1).says(&["mixed.ndjson", "record 2"]);
}

//! Where events come from: files in all their forms, standard input, a Delta table that grows.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Event, Running, Workspace, gzip, lines, text, zstd};

/// A load as lines, and its audit when it is read as one plain file.
fn load() -> (Vec<String>, Vec<Value>) {
    let workspace = Workspace::new();
    workspace.run(&["generate", "--users", "20", "--events", "600", "--seed", "5", "--out", "load.ndjson"]).succeeded();
    workspace.process("load.ndjson", &[]).succeeded();
    let text = std::fs::read_to_string(workspace.path("load.ndjson")).unwrap();
    (text.split_inclusive('\n').map(str::to_owned).collect(), workspace.audit())
}

#[test]
fn a_folder_and_a_glob_with_plain_gzip_and_zstd_files_are_read_in_the_order_of_their_paths() {
    let (lines, expected) = load();
    let workspace = Workspace::new();
    let part = |from: usize, to: usize| lines[from..to].concat().into_bytes();
    // Written in another order than they are to be read in.
    workspace.write("in/d/4.ndjson", part(450, lines.len()));
    workspace.write("in/b/2.ndjson.gz", gzip(&part(150, 300)));
    workspace.write("in/c.ndjson.zst", zstd(&part(300, 450)));
    workspace.write("in/a.ndjson", part(0, 150));
    for path in ["in", "in/**/*.ndjson*"] {
        let query = format!("query.name=q{}", path.len());
        let schema = format!("warehouse.schema=s{}", path.len());
        workspace.process(path, &[&query, &schema]).succeeded();
        let sql = "SELECT * EXCLUDE (emission_id) FROM profile_memory_audit ORDER BY user_id, emission_id, key";
        let got = workspace.run(&["query", sql, "--format", "json", "--set", &schema]).succeeded().stdout;
        let got: Vec<Value> = serde_json::from_str(&got).unwrap();
        // Another query's name makes other ids.
        let mut expected = expected.clone();
        for row in &mut expected {
            row.as_object_mut().unwrap().remove("emission_id").unwrap();
        }
        assert_eq!(got, expected, "{path}");
    }
    // Reading again is nothing new, and a file that comes later is.
    workspace.process("in", &["query.name=q2", "warehouse.schema=s2"]).succeeded().says(&["events=0"]);
    workspace.write("in/a0.ndjson", Event::new("late_comer", 1, "I live in Leeds.").line());
    workspace.process("in", &["query.name=q2", "warehouse.schema=s2"]).succeeded().says(&["events=1"]);
}

#[test]
fn the_same_files_by_another_path_are_not_read_again() {
    let (lines, expected) = load();
    let workspace = Workspace::new();
    workspace.write("in/a.ndjson", lines.concat());
    workspace.process("in/a.ndjson", &[]).succeeded().says(&["events=600"]);
    workspace.process("in", &[]).succeeded().says(&["events=0"]);
    std::fs::rename(workspace.path("in"), workspace.path("moved")).unwrap();
    workspace.process("moved/*.ndjson", &[]).succeeded().says(&["events=0"]);
    assert_eq!(workspace.audit(), expected);
}

#[test]
fn a_table_of_events_that_was_made_anew_is_refused_whatever_its_version() {
    let workspace = Workspace::new();
    let ingest = |number| {
        let name = format!("{number}.ndjson");
        workspace.write(&name, Event::new("ada", number, "I live in Leeds.").line());
        workspace.run(&["ingest", &name]).succeeded();
    };
    let run = ["run", "--trigger", "available-now"];
    ingest(1);
    workspace.run(&run).succeeded().says(&["events=1"]);
    std::fs::remove_dir_all(workspace.table("conversation_events")).unwrap();
    (2..6).for_each(ingest);
    let refused = workspace.run(&run);
    let told = refused.stderr.matches("made anew").count();
    assert_eq!(told, 1, "{}", refused.stderr);
    refused.exited(1).says(&["conversation_events", "made anew", "query.name"]);
}

#[test]
fn a_state_that_goes_on_from_another_source_says_so() {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", Event::new("ada", 1, "I live in Leeds.").line());
    workspace.process("chat.ndjson", &[]).succeeded();
    workspace.write("later.ndjson", Event::new("ada", 2, "My name is Ada.").line());
    workspace.run(&["ingest", "later.ndjson"]).succeeded();
    let outcome = workspace.run(&["run", "--trigger", "available-now"]).succeeded();
    outcome.says(&["another source before", "files", "delta:conversation_events", "events=1"]);
}

#[test]
fn standard_input_is_read_to_its_end() {
    let (lines, expected) = load();
    for content in [lines.concat().into_bytes(), gzip(lines.concat().as_bytes())] {
        let workspace = Workspace::new();
        workspace.write("piped", content);
        let mut command = workspace.command(&Workspace::over_files("available-now", "-", &[]));
        command.stdin(Stdio::from(std::fs::File::open(workspace.path("piped")).unwrap()));
        Running::start(command).wait().succeeded();
        assert_eq!(workspace.audit(), expected);
    }
}

#[test]
fn events_ingested_from_standard_input_and_files_come_once() {
    let workspace = Workspace::new();
    let events: Vec<_> = (1..=5).map(|number| Event::new("ada", number, "Hello.")).collect();
    workspace.write("chat.ndjson", lines(&events[..3]));
    let said = workspace.run(&["ingest", "chat.ndjson"]).succeeded().stdout;
    assert!(said.contains("Appended 3 events"), "{said}");
    let mut command = workspace.command(&["ingest", "-"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    // Written and closed: that is the end of the input.
    running.stdin().write_all(lines(&events).as_bytes()).unwrap();
    let said = running.wait().succeeded().stdout;
    assert!(said.contains("Appended 2 events") && said.contains("3 were there already"), "{said}");
    let rows = workspace.query("SELECT event_id FROM conversation_events ORDER BY event_id");
    assert_eq!(rows.len(), 5);
}

#[test]
fn a_delta_table_is_read_version_by_version_over_several_runs() {
    let (lines, _) = load();
    let run = ["run", "--trigger", "availableNow", "--set", "processor.drain=false"];
    let whole = Workspace::new();
    whole.write("all.ndjson", lines.concat());
    whole.run(&["ingest", "all.ndjson"]).succeeded();
    whole.run(&run).succeeded();

    let pieces = Workspace::new();
    let mut sizes = Vec::new();
    for (number, piece) in lines.chunks(200).enumerate() {
        let name = format!("{number}.ndjson");
        pieces.write(&name, piece.concat());
        pieces.run(&["ingest", &name]).succeeded();
        pieces.run(&run).succeeded().says(&[&format!("events={}", piece.len())]);
        sizes.push(pieces.audit().len());
    }
    assert!(sizes.len() == 3 && sizes.is_sorted_by(|before, after| before < after), "{sizes:?}");
    assert_eq!(pieces.audit(), whole.audit());
    pieces.run(&run).succeeded().says(&["events=0"]);
}

#[test]
fn an_unterminated_last_line_is_left_for_the_next_run_unless_it_is_a_whole_record() {
    let workspace = Workspace::new();
    let (first, second) =
        (Event::new("ada", 1, "I live in Leeds.").line(), Event::new("ada", 2, "My name is Ada.").line());
    let (begin, end) = second.split_at(second.len() / 2);
    workspace.write("chat.ndjson", format!("{first}{begin}"));
    workspace.process("chat.ndjson", &["source.archive=true"]).succeeded().says(&[
        "chat.ndjson",
        "events=1",
        "rejected=0",
    ]);
    workspace.append("chat.ndjson", end);
    workspace.process("chat.ndjson", &["source.archive=true"]).succeeded().says(&["events=1", "rejected=0"]);
    // A whole record needs no line feed.
    workspace.append("chat.ndjson", Event::new("ada", 3, "Bye.").line().trim_end());
    workspace.process("chat.ndjson", &["source.archive=true"]).succeeded().says(&["events=1", "rejected=0"]);
    workspace.append("chat.ndjson", "\n");
    workspace.process("chat.ndjson", &["source.archive=true"]).succeeded().says(&["events=0", "rejected=0"]);
    let archived = workspace.query("SELECT event_id FROM conversation_events ORDER BY event_id");
    let ids: Vec<_> = archived.iter().map(|row| text(row, "event_id")).collect();
    assert_eq!(ids, ["ada/1", "ada/2", "ada/3"]);
    assert_eq!(workspace.query("SELECT * FROM conversation_events_rejected"), Vec::<Value>::new());
}

#[test]
fn an_event_that_comes_twice_is_taken_once() {
    let workspace = Workspace::new();
    let events: Vec<_> = (1..=9).map(|number| Event::new("ada", number, "Hello.")).collect();
    workspace.write("a.ndjson", lines(&events) + &lines(&events));
    // Nine user messages are no ten, also when they come twice.
    let settings = ["processor.timer_ttl=off", "processor.drain=false"];
    workspace.process("a.ndjson", &settings).succeeded().says(&["events=9", "duplicates=9"]);
    assert_eq!(workspace.extractions(), Vec::<Value>::new());
}

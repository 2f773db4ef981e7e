//! State and tables belong together: what does not fit is refused with what was found and the ways out.

use std::fs;

use crate::support::{Event, Workspace, eventually, said};

const SETTINGS: [&str; 2] = ["state.shards=2", "extractor.kind=heuristic"];

/// A workspace after a run over one message.
fn after_a_run() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", said("ada", 1, "I live in Leeds."));
    workspace.process("chat.ndjson", &SETTINGS).succeeded();
    assert_eq!(workspace.audit().len(), 1);
    workspace
}

/// The run is refused, and changes nothing.
#[track_caller]
fn assert_refused(workspace: &Workspace, words: &[&str]) {
    let before = workspace.query_if_there("SELECT count(*) FROM profile_memory_audit");
    for _ in 0..2 {
        workspace.process("chat.ndjson", &SETTINGS).exited(1).says(words);
    }
    let after = workspace.query_if_there("SELECT count(*) FROM profile_memory_audit");
    if !before.is_empty() {
        assert_eq!(after, before);
    }
}

#[test]
fn tables_without_their_state_are_refused_with_the_ways_out() {
    let workspace = after_a_run();
    fs::remove_dir_all(workspace.path("data/state")).unwrap();
    assert_refused(&workspace, &["profile_memory", "state", "query.name", "memoir state reconcile"]);
    // One of the ways out: the same events under another name.
    let other: Vec<&str> = SETTINGS.into_iter().chain(["query.name=another"]).collect();
    workspace.process("chat.ndjson", &other).succeeded();
    assert_eq!(workspace.audit().len(), 2);
}

#[test]
fn a_state_without_its_tables_is_refused_with_the_ways_out() {
    let workspace = after_a_run();
    fs::remove_dir_all(workspace.path("data/warehouse")).unwrap();
    workspace.append("chat.ndjson", &said("ada", 2, "My name is Ada."));
    assert_refused(&workspace, &["profile_memory", "deleted", "query.name", "memoir state reconcile"]);
}

#[test]
fn an_old_copy_of_the_state_is_refused_with_the_ways_out() {
    let workspace = after_a_run();
    workspace.copy(&workspace.path("data/state"), &workspace.path("copy"));
    workspace.append("chat.ndjson", &said("ada", 2, "My name is Ada."));
    workspace.process("chat.ndjson", &SETTINGS).succeeded();
    let audit = workspace.audit();
    fs::remove_dir_all(workspace.path("data/state")).unwrap();
    workspace.copy(&workspace.path("copy"), &workspace.path("data/state"));
    assert_refused(&workspace, &["older copy", "epoch", "query.name", "memoir state reconcile"]);
    assert_eq!(workspace.audit(), audit);
}

#[test]
fn a_second_process_on_the_same_state_is_refused_while_the_first_one_lives() {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", said("ada", 1, "I live in Leeds."));
    let settings: Vec<&str> =
        SETTINGS.into_iter().chain(["source.archive=true", "engine.epoch_interval=10ms"]).collect();
    let daemon = workspace.start(&Workspace::over_files("processing-time", "chat.ndjson", &settings));
    eventually("the daemon at work", || {
        (!workspace.query_if_there("SELECT * FROM conversation_events").is_empty()).then_some(())
    });
    workspace.process("chat.ndjson", &SETTINGS).exited(1).says(&["in use by another process"]);
    // A lock ends with its process, however that ends.
    assert!(daemon.kill().was_killed());
    let settings: Vec<&str> = SETTINGS.into_iter().chain(["processor.clock=processing_time"]).collect();
    workspace.process("chat.ndjson", &settings).succeeded();
}

#[test]
fn another_number_of_shards_is_refused_when_it_is_asked_for() {
    let workspace = after_a_run();
    let outcome = workspace.process("chat.ndjson", &["state.shards=3"]).exited(2);
    outcome.says(&["2 shards", "3", "memoir state repartition"]);
    // The default is no request.
    workspace.append("chat.ndjson", &said("ada", 2, "My name is Ada."));
    workspace.process("chat.ndjson", &[]).succeeded().says(&["events=1"]);
}

#[test]
fn a_state_goes_on_with_another_number_of_shards_after_a_repartition() {
    let load = ["generate", "--users", "30", "--events", "900", "--seed", "9", "--out", "load.ndjson"];
    let (whole, parts) = (Workspace::new(), Workspace::new());
    whole.run(&load).succeeded();
    whole.process("load.ndjson", &["state.shards=2", "processor.drain=false"]).succeeded();

    let lines: Vec<String> =
        fs::read_to_string(whole.path("load.ndjson")).unwrap().split_inclusive('\n').map(str::to_owned).collect();
    parts.append("load.ndjson", &lines[..300].concat());
    parts.process("load.ndjson", &["state.shards=2", "processor.drain=false"]).succeeded();
    for (shards, upto) in [("5", 600), ("1", 900)] {
        let done = parts.run(&["state", "repartition", "--shards", shards]).succeeded().stdout;
        assert!(done.contains(&format!("{shards} shards")), "{done}");
        parts.append("load.ndjson", &lines[upto - 300..upto].concat());
        parts.process("load.ndjson", &["processor.drain=false"]).succeeded().says(&["events=300"]);
    }
    assert!(parts.audit().len() > 50);
    assert_eq!(parts.audit(), whole.audit());
    assert_eq!(parts.extractions(), whole.extractions());
}

#[test]
fn a_state_of_another_format_is_refused_and_not_touched() {
    let workspace = after_a_run();
    let manifest = workspace.state().join("manifest.json");
    let whole = fs::read_to_string(&manifest).unwrap();
    let other = whole.replace("\"format\": 1", "\"format\": 99");
    assert_ne!(whole, other);
    fs::write(&manifest, &other).unwrap();
    assert_refused(&workspace, &["format 99", "format 1"]);
    assert_eq!(fs::read_to_string(&manifest).unwrap(), other);
    fs::write(&manifest, whole).unwrap();
    workspace.process("chat.ndjson", &SETTINGS).succeeded();
}

#[test]
fn going_on_from_another_source_is_allowed_and_coming_back_repeats_nothing() {
    let workspace = after_a_run();
    workspace.write("more.ndjson", Event::new("ada", 2, "My name is Ada.").line());
    workspace.process("more.ndjson", &SETTINGS).succeeded().says(&["events=1"]);
    workspace.process("chat.ndjson", &SETTINGS).succeeded().says(&["events=0", "duplicates=0"]);
}

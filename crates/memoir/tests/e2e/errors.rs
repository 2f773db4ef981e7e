//! What cannot work says what failed, on what, and what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Event, Workspace, lines};

fn with_chat() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", lines(&[Event::new("ada", 1, "I live in Leeds.")]));
    workspace
}

#[test]
fn an_unknown_configuration_key_is_wrong_usage_that_names_the_nearest_one() {
    let workspace = with_chat();
    workspace.process("chat.ndjson", &["state.shard=4"]).exited(2).says(&["state.shard", "--set", "state.shards"]);
    workspace.write("m.toml", "[processor]\nemision_threshold = 4\n");
    let by_file = ["config", "--config", "m.toml"];
    workspace.run(&by_file).exited(2).says(&["m.toml:2", "processor.emission_threshold"]);
    let mut by_environment = workspace.command(&["config"]);
    by_environment.env("MEMOIR_SINK__COMIT_INTERVAL", "1s");
    let outcome = crate::support::Running::start(by_environment).wait().exited(2);
    outcome.says(&["MEMOIR_SINK__COMIT_INTERVAL", "sink.commit_interval"]);
    assert!(!workspace.path("data").exists());
}

#[test]
fn a_value_that_does_not_fit_is_wrong_usage_that_says_what_is_expected() {
    let workspace = with_chat();
    for (setting, expected) in [
        ("state.shards=many", "a whole number"),
        ("processor.timer_ttl=10", "a duration"),
        ("extractor.kind=magic", "auto, model or heuristic"),
        ("processor.confidence_threshold=2", "from 0 to 1"),
    ] {
        let (key, _) = setting.split_once('=').unwrap();
        workspace.process("chat.ndjson", &[setting]).exited(2).says(&[key, expected]);
    }
    workspace.run(&["run", "--trigger", "sometimes"]).exited(2).says(&["--trigger", "available-now"]);
    workspace.run(&["run", "--no-such-flag"]).exited(2);
    workspace.run(&["remember"]).exited(2);
    workspace
        .run(&["run", "--trigger", "available-now", "--set", "source.kind=files"])
        .exited(2)
        .says(&["source.path"]);
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let workspace = with_chat();
    workspace.write("file", "");
    workspace.process("chat.ndjson", &["state.path=file/state"]).exited(1).says(&["file/state", "state.path"]);
    workspace.process("chat.ndjson", &["warehouse.uri=file/tables"]).exited(1).says(&["file/tables"]);
    workspace.run(&["setup", "--set", "warehouse.uri=file/tables"]).exited(1).says(&["file/tables"]);
    let outcome = workspace.run(&["generate", "--out", "file/load.ndjson"]).exited(1);
    outcome.says(&["file/load.ndjson"]);
}

#[test]
fn a_folder_without_permission_is_named() {
    let workspace = with_chat();
    let closed = workspace.path("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    // Nobody denies root anything.
    if fs::write(closed.join("probe"), "").is_err() {
        workspace.process("chat.ndjson", &["state.path=closed/state"]).exited(1).says(&["closed/state", "permission"]);
        workspace
            .process("chat.ndjson", &["warehouse.uri=closed/tables"])
            .exited(1)
            .says(&["closed/tables", "permission"]);
    }
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let workspace = Workspace::new();
    workspace.run(&["ingest", "none.ndjson"]).exited(2).says(&["none.ndjson"]);
    workspace.process("none.ndjson", &[]).exited(2).says(&["none.ndjson", "source.path"]);
    workspace
        .run(&Workspace::over_files("processing-time", "none.ndjson", &[]))
        .exited(2)
        .says(&["none.ndjson", "source.path"]);
    assert!(!workspace.path("data/state").exists(), "a mistyped path makes no state");
}

#[test]
fn a_warehouse_that_is_not_there_says_how_it_is_made_and_then_works() {
    let workspace = Workspace::new();
    for sql in ["SELECT * FROM profile_memory_audit", "SELECT * FROM v_profile_memory_current"] {
        let outcome = workspace.run(&["query", sql]);
        assert!(!outcome.status.success(), "{}", outcome.stdout);
        outcome.says(&["memoir setup"]);
    }
    for command in [&["profile", "ada"][..], &["history", "ada"], &["explain", "ada", "location"], &["explore"]] {
        workspace.run(command).exited(1).says(&["memoir setup"]);
    }
    workspace.run(&["run", "--trigger", "available-now"]).exited(1).says(&["conversation_events", "memoir setup"]);
    // Having tried has done no harm.
    workspace.write("chat.ndjson", lines(&[Event::new("ada", 1, "I live in Leeds.")]));
    workspace.run(&["ingest", "chat.ndjson"]).succeeded();
    workspace.run(&["run", "--trigger", "available-now"]).succeeded();
    assert_eq!(workspace.query("SELECT * FROM v_profile_memory_current").len(), 1);
}

#[test]
fn a_table_that_is_no_delta_table_is_left_alone_and_named() {
    let workspace = with_chat();
    workspace.write("data/warehouse/main/memory_demo/profile_memory_audit/notes.txt", "mine");
    workspace.process("chat.ndjson", &[]).exited(1).says(&["profile_memory_audit", "no Delta table", "notes.txt"]);
}

#[test]
fn a_query_that_would_write_is_refused() {
    let workspace = with_chat();
    workspace.process("chat.ndjson", &[]).succeeded();
    for sql in [
        "CREATE TABLE t (a INT)",
        "DROP VIEW v_profile_memory_current",
        "INSERT INTO profile_memory_audit SELECT * FROM profile_memory_audit",
        "COPY profile_memory_audit TO 'out.csv'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
    ] {
        workspace.run(&["query", sql]).exited(2);
    }
    let outcome = workspace.run(&["query", "SELECT * FROM '/etc/passwd'"]);
    assert!(!outcome.status.success(), "{}", outcome.stdout);
    assert!(!workspace.path("out.csv").exists());
}

#[test]
fn a_daemon_that_did_not_start_leaves_a_backfill_its_clock() {
    let workspace = with_chat();
    workspace.process("chat.ndjson", &[]).succeeded();
    // A path is looked for before there is a state, a glob by the source itself.
    for path in ["none.ndjson", "none/*.ndjson"] {
        workspace.run(&Workspace::over_files("available-now", path, &["processor.clock=processing_time"]));
    }
    workspace.append("chat.ndjson", &lines(&[Event::new("ada", 2, "My name is Ada.")]));
    workspace.process("chat.ndjson", &[]).succeeded().says(&["events=1"]);
    // Once it has run by the wall clock there is no way back, and that is a matter of configuration.
    workspace.append("chat.ndjson", &lines(&[Event::new("ada", 3, "I work as a nurse.")]));
    workspace.process("chat.ndjson", &["processor.clock=processing_time"]).succeeded();
    workspace.process("chat.ndjson", &[]).exited(2).says(&["processing_time", "query.name"]);
}

#[test]
fn kafka_says_that_it_is_not_there_yet() {
    let workspace = Workspace::new();
    let kafka = ["--set", "source.kind=kafka", "--set", "extractor.kind=heuristic", "--format", "json"];
    let outcome = workspace.run(&[&["doctor"][..], &kafka].concat()).exited(1);
    assert!(outcome.stdout.contains("kafka is not in this version"), "{}", outcome.stdout);
    workspace.run(&["run", "--set", "source.kind=kafka"]).exited(2).says(&["kafka", "source.topic"]);
}

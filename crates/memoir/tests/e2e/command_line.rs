//! The command line itself: every command is there, says what it does, and writes what was asked for.

use serde_json::Value;

use crate::support::{Event, Workspace, lines};

/// The commands of the contract, and those that come with them.
const COMMANDS: [&[&str]; 20] = [
    &[],
    &["setup"],
    &["generate"],
    &["ingest"],
    &["run"],
    &["query"],
    &["profile"],
    &["history"],
    &["explain"],
    &["explore"],
    &["eval"],
    &["state"],
    &["config"],
    &["doctor"],
    &["bundle"],
    &["bundle", "validate"],
    &["bundle", "deploy"],
    &["bundle", "run"],
    &["completions"],
    &["man"],
];

fn with_a_run() -> Workspace {
    let workspace = Workspace::new();
    let talk = [Event::new("ada", 1, "I live in Leeds."), Event::new("ada", 2, "My name is Ada.")];
    workspace.write("chat.ndjson", lines(&talk));
    workspace.process("chat.ndjson", &["source.archive=true"]).succeeded();
    workspace
}

#[test]
fn every_command_has_help_and_takes_settings() {
    let workspace = Workspace::new();
    for command in COMMANDS {
        let help = workspace.run(&[command, &["--help"]].concat()).succeeded();
        assert!(help.stdout.contains("Usage: memoir"), "{command:?}: {}", help.stdout);
        assert!(help.stdout.contains("--set"), "{command:?}: {}", help.stdout);
        assert!(help.stderr.is_empty(), "{command:?}: {}", help.stderr);
    }
}

#[test]
fn no_command_is_a_stub() {
    let workspace = with_a_run();
    let commands: [&[&str]; 16] = [
        &["setup"],
        &["generate"],
        &["ingest", "chat.ndjson"],
        &["run", "--trigger", "available-now", "--set", "query.name=other"],
        &["query", "SELECT 1 AS one"],
        &["profile", "ada"],
        &["history", "ada"],
        &["explain", "ada", "location"],
        &["explore"],
        &["config"],
        &["config", "--docs"],
        &["doctor"],
        &["setup", "--print-sql"],
        &["completions", "bash"],
        &["completions", "zsh"],
        &["man"],
    ];
    for command in commands {
        let outcome = workspace.run(command).succeeded();
        assert!(!outcome.stdout.trim().is_empty() || command[0] == "run", "{command:?} prints nothing");
        for word in ["not implemented", "unimplemented", "todo", "panicked"] {
            let written = format!("{}{}", outcome.stdout, outcome.stderr).to_lowercase();
            assert!(!written.contains(word), "{command:?}: {written}");
        }
    }
}

#[test]
fn json_is_one_array_of_objects_with_times_of_six_digits_and_lists_as_arrays() {
    let workspace = with_a_run();
    let rows = workspace.query("SELECT * FROM profile_memory_audit WHERE key = 'location'");
    let [row] = &rows[..] else { panic!("one row: {rows:?}") };
    assert_eq!(row["emission_ts"], "2026-01-05T09:00:40.000000Z");
    assert_eq!(row["source_event_ids"], serde_json::json!(["ada/1"]));
    assert_eq!(row["previous_value"], Value::Null);
    assert!(row["confidence"].is_f64());
    let columns: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "user_id",
        "emission_id",
        "emission_ts",
        "key",
        "kind",
        "value",
        "confidence",
        "action",
        "previous_value",
        "source_event_ids",
        "reason",
        "trigger",
        "extractor",
        "model",
    ];
    expected.sort_unstable();
    assert_eq!(columns, expected);
    for command in
        [&["setup"][..], &["profile", "ada"], &["history", "ada"], &["explain", "ada", "location"], &["config"]]
    {
        let outcome = workspace.run(&[command, &["--format", "json"]].concat()).succeeded();
        let rows: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{command:?}: {error}"));
        assert!(rows.as_array().is_some_and(|rows| rows.iter().all(Value::is_object)), "{command:?}: {rows}");
    }
    assert_eq!(
        workspace.run(&["query", "SELECT 1 AS a WHERE false", "--format", "json"]).succeeded().stdout.trim(),
        "[]"
    );
}

#[test]
fn csv_has_a_header_in_the_order_of_the_columns() {
    let workspace = with_a_run();
    let csv = workspace
        .run(&["query", "SELECT * FROM profile_memory_audit ORDER BY key", "--format", "csv"])
        .succeeded()
        .stdout;
    let header = "user_id,emission_id,emission_ts,key,kind,value,confidence,action,previous_value,source_event_ids,\
                  reason,trigger,extractor,model";
    assert_eq!(csv.lines().next(), Some(header));
    assert_eq!(csv.lines().count(), 4, "a status and two facts: {csv}");
}

#[test]
fn flags_win_over_the_environment_which_wins_over_dotenv_and_file_and_secrets_are_masked() {
    let workspace = Workspace::new();
    workspace.write(
        "config/memoir.toml",
        "[state]\nshards = 3\n[query]\nname = \"from_file\"\n[sink]\ncommit_interval = \"3s\"\n",
    );
    workspace.write(".env", "MEMOIR_QUERY__NAME=from_dotenv\nDATABRICKS_TOKEN=dapi-very-secret\n");
    let mut command = workspace.command(&["config", "--format", "json", "--set", "state.shards=5"]);
    command.env("MEMOIR_STATE__SHARDS", "4");
    let outcome = crate::support::Running::start(command).wait().succeeded();
    assert!(!outcome.stdout.contains("very-secret") && !outcome.stderr.contains("very-secret"));
    let rows: Vec<Value> = serde_json::from_str(&outcome.stdout).unwrap();
    let of = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key} in {rows:?}"));
    assert_eq!(of("state.shards")["value"], "5");
    assert_eq!(of("query.name")["value"], "from_dotenv");
    assert_eq!(of("sink.commit_interval")["value"], "3s");
    assert!(of("sink.commit_interval").to_string().contains("memoir.toml:6"), "{}", of("sink.commit_interval"));
    assert!(of("databricks.token")["value"].as_str().is_some_and(|value| value.contains("***")));
}

#[test]
fn results_go_to_standard_output_and_all_else_to_standard_error() {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", Event::new("ada", 1, "I live in Leeds.").line());
    let run = workspace.process("chat.ndjson", &[]).succeeded().says(&["complete"]);
    assert_eq!(run.stdout, "");
    let piped = workspace.run(&["generate", "--users", "2", "--events", "30", "--out", "-"]).succeeded();
    assert_eq!(piped.stdout.lines().count(), 30);
    assert!(piped.stdout.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[test]
fn setup_run_again_changes_nothing() {
    let workspace = Workspace::new();
    let status = || {
        let outcome = workspace.run(&["setup", "--format", "json"]).succeeded();
        assert_eq!(outcome.stderr, "");
        let rows: Vec<Value> = serde_json::from_str(&outcome.stdout).unwrap();
        rows.iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(status(), ["created"; 4]);
    let files = || workspace.files(&workspace.path("data")).len();
    let before = files();
    assert_eq!(status(), ["exists"; 4]);
    assert_eq!(files(), before);
}

#[test]
fn the_state_of_a_stopped_query_can_be_looked_into() {
    let workspace = Workspace::new();
    let talk = [
        Event::new("ada", 1, "I live in Leeds."),
        Event::new("ben", 1, "I live in York."),
        Event::new("ben", 2, "Thank you.").with("role", "assistant"),
    ];
    workspace.write("chat.ndjson", lines(&talk));
    workspace.process("chat.ndjson", &["processor.drain=false", "state.shards=2"]).succeeded();
    let json = |command: &[&str]| -> Vec<Value> {
        let outcome = workspace.run(&[&["state"], command, &["--format", "json"]].concat()).succeeded();
        serde_json::from_str(&outcome.stdout).unwrap()
    };
    let shards = json(&[]);
    assert_eq!(shards.len(), 2);
    let total = |column: &str| shards.iter().map(|row| row[column].as_u64().unwrap()).sum::<u64>();
    assert_eq!((total("users"), total("timers"), total("pending"), total("outbox_bytes")), (2, 2, 0, 0));
    let users = json(&["users"]);
    let of = |column: &str| users.iter().map(|row| row[column].clone()).collect::<Vec<_>>();
    assert_eq!(of("user_id"), ["ada", "ben"]);
    assert_eq!(of("messages"), [1, 2]);
    assert_eq!(of("pending"), [1, 1]);
    let timers = json(&["timers"]);
    // Ten minutes after the oldest pending message.
    assert!(timers.iter().all(|row| row["due"] == "2026-01-05T09:10:20.000000Z"), "{timers:?}");
    let ada = json(&["user", "ada"]);
    assert!(
        ada.iter().any(|row| row["variable"] == "messages" && row.to_string().contains("I live in Leeds.")),
        "{ada:?}"
    );
    // Looking changes nothing: the run goes on.
    workspace.process("chat.ndjson", &[]).succeeded().says(&["events=0", "extractions=2"]);
    let missing = workspace.run(&["state", "--set", "query.name=none"]).exited(1);
    missing.says(&["no state", "query.name"]);
}

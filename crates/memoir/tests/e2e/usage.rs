//! The real binary, run as a person or a script runs it: exit codes, streams, configuration, tables and the bundle.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A working directory of its own, and the binary in it, with none of our environment's settings.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memoir"));
        for (name, _) in std::env::vars() {
            if ["MEMOIR_", "DATABRICKS_", "BUNDLE_"].iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.current_dir(self.path()).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command(arguments).output().unwrap())
    }

    /// The rows of a query.
    fn query(&self, sql: &str) -> Vec<Value> {
        self.run(&["query", sql, "--format", "json"]).json()
    }
}

#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output of a command that went well.
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self.out
    }

    fn json(self) -> Vec<Value> {
        let text = self.ok();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What a command said that ended with this exit code and without a result.
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert_eq!(self.out, "", "{self:#?}");
        self.err
    }
}

fn value_of(rows: &[Value], key: &str) -> (String, String) {
    let row = rows.iter().find(|row| row["key"] == key).unwrap();
    (row["value"].as_str().unwrap_or_default().to_owned(), row["origin"].as_str().unwrap().to_owned())
}

#[test]
fn every_origin_of_a_setting_is_shown_and_secrets_are_not() {
    let place = Place::new();
    place.write(
        "config/memoir.toml",
        "[state]\nshards = 3\n[query]\nname = \"from_file\"\n[sink]\naudit_rows = \"changes\"\n",
    );
    place.write(
        ".env",
        "DATABRICKS_TOKEN=dapi-secret\nMEMOIR_QUERY__NAME=from_dotenv\nMEMOIR_STATE__PATH=from_dotenv\n",
    );
    let mut command = place.command(&["config", "--format", "json", "--set", "warehouse.schema=from_flag"]);
    command.env("MEMOIR_QUERY__NAME", "from_environment");
    let ran = Ran::of(command.output().unwrap());
    assert!(!ran.out.contains("dapi-secret") && !ran.err.contains("dapi-secret"));
    let rows = ran.json();
    let of = |key: &str| value_of(&rows, key);
    assert_eq!(of("state.shards"), ("3".into(), "config/memoir.toml:2".into()));
    assert_eq!(of("query.name"), ("from_environment".into(), "environment: MEMOIR_QUERY__NAME".into()));
    assert_eq!(of("state.path"), ("from_dotenv".into(), ".env: MEMOIR_STATE__PATH".into()));
    assert_eq!(of("warehouse.schema"), ("from_flag".into(), "--set".into()));
    assert_eq!(of("databricks.token"), ("********".into(), ".env: DATABRICKS_TOKEN".into()));
    assert_eq!(of("state.checkpoint_uri"), (String::new(), "default".into()));
}

#[test]
fn wrong_configuration_is_exit_code_2_and_says_what_to_write() {
    let place = Place::new();
    let error = place.run(&["setup", "--set", "state.shard=4"]).failed(2);
    assert!(error.contains("`state.shard`") && error.contains("`state.shards`"), "{error}");
    let error = place.run(&["setup", "--set", "sink.commit_interval=fast"]).failed(2);
    assert!(error.contains("\"fast\"") && error.contains("100ms"), "{error}");
    let error = place.run(&["setup", "--config", "none.toml"]).failed(2);
    assert!(error.contains("none.toml"), "{error}");
    let error = Ran::of(place.command(&["setup"]).env("MEMOIR_WAREHOUSE_URI", "x").output().unwrap()).failed(2);
    assert!(error.contains("MEMOIR_WAREHOUSE_URI") && error.contains("`warehouse.uri`"), "{error}");
    assert!(fs::read_dir(place.path()).unwrap().next().is_none(), "nothing may be created");
    place.run(&["setup", "--no-such-flag"]).failed(2);
    place.run(&["profile", "sam", "--as-of", "yesterday"]).failed(2);
}

#[test]
fn completions_and_manual_pages_work_where_the_configuration_is_broken() {
    let place = Place::new();
    place.write("config/memoir.toml", "nonsense");
    place.write(".env", "= nonsense =\n");
    assert!(place.run(&["completions", "bash"]).ok().contains("memoir"));
    assert!(place.run(&["man"]).ok().contains(".TH memoir"));
    place.run(&["man", "--out", "pages"]).ok();
    assert!(place.path().join("pages/memoir-bundle-run.1").is_file());
    place.run(&["config"]).failed(2);
}

#[test]
fn setup_again_changes_nothing_and_prints_the_view_for_spark() {
    let place = Place::new();
    let statuses =
        |ran: Ran| -> Vec<String> { ran.json().iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect() };
    assert_eq!(statuses(place.run(&["setup", "--format", "json"])), ["created"; 4]);
    assert_eq!(statuses(place.run(&["setup", "--format", "json"])), ["exists"; 4]);
    assert!(place.path().join("data/warehouse/main/memory_demo/profile_memory_audit/_delta_log").is_dir());
    let sql = place.run(&["setup", "--print-sql", "--set", "warehouse.schema=other"]).ok();
    assert!(sql.contains("VIEW `main`.`other`.v_profile_memory_current"), "{sql}");
}

#[test]
fn generate_again_appends_nothing() {
    let place = Place::new();
    let count = |place: &Place| place.query("SELECT count(*) AS n FROM conversation_events")[0]["n"].as_i64().unwrap();
    assert!(place.run(&["generate"]).ok().contains("; 0 were there already"));
    let first = count(&place);
    assert!(first > 200, "{first}");
    assert!(place.run(&["generate"]).ok().starts_with("Appended 0 events"));
    assert_eq!(count(&place), first);
}

#[test]
fn a_load_goes_to_a_file_the_same_way_each_time() {
    let place = Place::new();
    for name in ["a.ndjson", "b.ndjson"] {
        place.run(&["generate", "--users", "20", "--events", "500", "--seed", "7", "--out", name]).ok();
    }
    let read = |name: &str| fs::read(place.path().join(name)).unwrap();
    assert_eq!(read("a.ndjson"), read("b.ndjson"));
    assert_eq!(read("a.ndjson").iter().filter(|byte| **byte == b'\n').count(), 500);
    place.run(&["generate", "--users", "20"]).failed(2);
    place.run(&["generate", "--users", "20", "--events", "5", "--out", "c.ndjson"]).failed(2);
    assert!(!place.path().join("c.ndjson").exists());
}

fn event(id: &str, content: &str) -> String {
    serde_json::json!({
        "event_id": id, "ts": "2026-01-05T09:00:00Z", "conversation_id": "c1", "user_id": "u1", "role": "user",
        "content": content
    })
    .to_string()
}

#[test]
fn ingest_takes_new_ids_only_and_dead_letters_what_is_no_event_once() {
    let place = Place::new();
    let lines = [event("e1", "hi"), "{\"event_id\": 5}".to_owned(), event("e2", "ho"), event("e1", "again")];
    place.write("chat.ndjson", &(lines.join("\n") + "\n"));
    let ran = place.run(&["ingest", "chat.ndjson"]);
    assert!(ran.err.contains("1 records are no events"), "{ran:?}");
    assert_eq!(ran.ok(), "Appended 2 events to conversation_events; 1 were there already\n");
    place.run(&["ingest", "chat.ndjson"]).ok();
    let events = place.query("SELECT event_id, ts, content FROM conversation_events ORDER BY event_id");
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["content"], "hi");
    assert_eq!(events[0]["ts"], "2026-01-05T09:00:00.000000Z");
    let rejected = place.query("SELECT source, position, reason, record FROM conversation_events_rejected");
    assert_eq!(rejected.len(), 1);
    assert_eq!(rejected[0]["position"], 2);
    assert_eq!(rejected[0]["record"], "{\"event_id\": 5}");
    assert!(rejected[0]["source"].as_str().unwrap().ends_with("chat.ndjson"));
    let error = place.run(&["ingest", "chat.ndjson", "--on-bad-record", "fail"]).failed(1);
    assert!(error.contains("chat.ndjson") && error.contains("record 2"), "{error}");
    let error = place.run(&["ingest", "none.ndjson"]).failed(2);
    assert!(error.contains("none.ndjson"), "{error}");
}

#[test]
fn queries_read_in_each_format_and_only_read() {
    let place = Place::new();
    place.run(&["setup"]).ok();
    let sql = "SELECT 1 AS n, 'a,\"b\"' AS t, NULL AS nothing, ARRAY['x', 'y'] AS list";
    let json = place.query(sql);
    assert_eq!(json, [serde_json::json!({"n": 1, "t": "a,\"b\"", "nothing": null, "list": ["x", "y"]})]);
    assert_eq!(
        place.run(&["query", sql, "--format", "csv"]).ok(),
        "n,t,nothing,list\n1,\"a,\"\"b\"\"\",,\"[\"\"x\"\",\"\"y\"\"]\"\n"
    );
    assert!(place.run(&["query", sql]).ok().contains("1 row\n"));
    assert_eq!(place.run(&["query", "SELECT * FROM v_profile_memory_current", "--format", "json"]).ok(), "[]\n");
    for refused in
        ["DROP TABLE conversation_events", "COPY conversation_events TO 'x.csv'", "SELECT 1; SELECT 2", "SELEC 1"]
    {
        place.run(&["query", refused]).failed(2);
    }
    assert!(!place.path().join("x.csv").exists());
}

#[test]
fn a_warehouse_that_is_not_there_names_the_remedy() {
    let place = Place::new();
    let error = place.run(&["profile", "sam_patel"]).failed(1);
    assert!(error.contains("profile_memory_audit") && error.contains("memoir setup"), "{error}");
    let error = place.run(&["explore"]).failed(1);
    assert!(error.contains("memoir setup"), "{error}");
    let error = place.run(&["state"]).failed(1);
    assert!(error.contains("memoir run"), "{error}");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_without_a_word() {
    let place = Place::new();
    let arguments = ["generate", "--users", "100", "--events", "20000", "--out", "-"];
    let mut child = place.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with('{'), "{line}");
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""));
}

const BUNDLE: &str = "
bundle: {name: test}
include: [resources/*.yml]
variables:
  schema: {default: memory_demo}
targets:
  dev: {default: true}
  prod: {variables: {schema: memory}}
";

const JOB: &str = "
resources:
  jobs:
    the_job:
      name: the-job
      tasks:
        - task_key: setup
          memoir: [setup, --set, 'warehouse.schema=${var.schema}', --set, 'warehouse.uri=./${bundle.target}']
        - task_key: broken
          depends_on: [{task_key: setup}]
          memoir: [query, SELEC]
        - task_key: last
          depends_on: [{task_key: broken}]
          memoir: [generate]
";

#[test]
fn a_job_runs_as_it_was_deployed_and_stops_at_the_first_failure() {
    let place = Place::new();
    place.write("bundle.yml", BUNDLE);
    place.write("resources/job.yml", JOB);
    let error = place.run(&["bundle", "run", "the-job", "-t", "prod"]).failed(1);
    assert!(error.contains("memoir bundle deploy -t prod"), "{error}");
    assert!(place.run(&["bundle", "validate", "-t", "prod"]).ok().contains("warehouse.schema=memory "));
    let deployed = place.run(&["bundle", "deploy", "-t", "prod"]).ok();
    assert!(deployed.contains(".memoir/bundle/prod/the_job.json"), "{deployed}");

    let ran = place.run(&["bundle", "run", "the-job", "-t", "prod"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.out.contains("profile_memory_audit"), "{ran:#?}");
    assert!(ran.err.contains("task broken ended with exit code 2; not run: last"), "{ran:#?}");
    assert!(place.path().join("prod/main/memory/profile_memory_audit").is_dir());
    assert!(!place.path().join("data").exists());

    // What was deployed runs until it is deployed anew.
    place.write("resources/job.yml", &JOB.replace("[query, SELEC]", "[query, SELECT 1]"));
    let ran = place.run(&["bundle", "run", "the_job", "-t", "prod"]);
    assert_eq!(ran.code, Some(2), "{ran:#?}");
    assert!(ran.err.contains("memoir bundle deploy -t prod"), "{ran:#?}");
    place.run(&["bundle", "deploy", "-t", "prod"]).ok();
    let extra = ["bundle", "run", "the_job", "-t", "prod", "--set", "warehouse.uri=./elsewhere"];
    place.run(&extra).ok();
    assert!(place.path().join("elsewhere/main/memory").is_dir());
}

#[test]
fn a_bundle_that_is_wrong_is_exit_code_2_and_nothing_is_deployed() {
    let place = Place::new();
    let error = place.run(&["bundle", "validate"]).failed(2);
    assert!(error.contains("no bundle.yml"), "{error}");
    place.write("bundle.yml", BUNDLE);
    place.write("resources/job.yml", &JOB.replace("memoir: [generate]", "spark_python_task: {python_file: x.py}"));
    let error = place.run(&["bundle", "deploy"]).failed(2);
    assert!(error.contains("spark_python_task"), "{error}");
    assert!(!place.path().join(".memoir").exists());
    place.run(&["bundle", "validate", "-t", "nowhere"]).failed(2);
}

#[test]
fn the_doctor_finds_nothing_wrong_in_a_fresh_place_and_says_what_is() {
    let place = Place::new();
    let rows = place.run(&["doctor", "--format", "json"]).json();
    assert!(rows.iter().any(|row| row["check"] == "extractor" && row["found"].as_str().unwrap().contains("rules")));
    let ran = place.run(&["doctor", "--format", "json", "--set", "source.kind=files", "--set", "source.path=none"]);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    assert!(rows.iter().any(|row| row["check"] == "source" && row["status"] == "failed"));
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "looking must leave nothing behind");
}

//! `memoir eval`: an exam is run end to end and scored, and leaves nothing behind.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Outcome, Workspace};

const RULES: [&str; 2] = ["--set", "extractor.kind=heuristic"];

fn line(id: &str, said: &str, facts: &Value, forbidden: &[&str]) -> String {
    let turns = json!([{"role": "user", "text": said}, {"role": "assistant", "text": "I live in Oslo."}]);
    format!("{}\n", json!({"id": id, "theme": "test", "turns": turns, "facts": facts, "not": forbidden, "why": ""}))
}

fn fact(kind: &str, value: &str) -> Value {
    json!({"kind": kind, "about": "a fact", "values": [value]})
}

/// One conversation that is easy, one with a fact that nothing in it says, and one with nothing to remember.
fn exam() -> String {
    [
        line(
            "x-1",
            "My name is Ada. I live in Leeds.",
            &json!([fact("identity", "ada"), fact("identity", "leeds")]),
            &["oslo"],
        ),
        line("x-2", "I live in Ghent.", &json!([fact("project", "ghent"), fact("constraint", "zzz")]), &["ghent"]),
        line("x-3", "What is the time?", &json!([]), &["time"]),
    ]
    .concat()
}

fn eval(workspace: &Workspace, flags: &[&str]) -> Outcome {
    let arguments = [["eval", "exam.jsonl"].as_slice(), &RULES, flags].concat();
    let mut command = workspace.command(&arguments);
    let folder = workspace.path("tmp");
    fs::create_dir_all(&folder).unwrap();
    command.env("TMPDIR", folder);
    crate::support::Running::start(command).wait()
}

#[test]
fn an_exam_is_scored_end_to_end_and_leaves_nothing_behind() {
    let workspace = Workspace::new();
    workspace.write("exam.jsonl", exam());
    let outcome = eval(&workspace, &["--format", "json", "--errors"]).succeeded();
    let report: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let total = &report["total"];
    assert_eq!((&total["gold"], &total["items"]), (&json!(4), &json!(3)));
    assert_eq!(total["recall"], 0.75);
    assert_eq!(total["violations"], 1);
    assert_eq!(total["exact"], 0.6667);
    assert_eq!(report["identity"]["recall"], 1.0);
    assert_eq!(report["project"]["recall"], 1.0);
    assert_eq!(report["constraint"]["recall"], 0.0);
    let errors: Vec<_> = report["errors"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].starts_with("x-2 test            kind     identity "), "{errors:?}");
    assert_eq!(errors[1], "x-2 test            missed   constraint a fact = zzz");
    assert_eq!(errors[2], "x-2 test            violated 'ghent'");
    assert_eq!(fs::read_dir(workspace.path("tmp")).unwrap().count(), 0);
    assert!(!workspace.path("data").exists(), "the warehouse and state in force are not touched");

    let table = eval(&workspace, &[]).succeeded().stdout;
    let total = table.lines().last().unwrap();
    assert!(total.starts_with("total                 4 ") && total.ends_with("      0.667"), "{table}");
}

#[test]
fn a_run_that_is_kept_can_be_looked_into_and_is_not_run_over() {
    let workspace = Workspace::new();
    workspace.write("exam.jsonl", exam());
    eval(&workspace, &["--keep", "kept"]).succeeded();
    let sql = "SELECT value FROM v_profile_memory_current WHERE user_id = 'x-2'";
    let query = ["query", sql, "--format", "csv", "--set", "warehouse.uri=kept/warehouse"];
    let rows = workspace.run(&query).succeeded().stdout.to_lowercase();
    assert!(rows.contains("ghent"), "{rows}");
    eval(&workspace, &["--keep", "kept"]).exited(2).says(&["kept", "not empty"]);
}

#[test]
fn a_missing_or_malformed_exam_is_wrong_usage_and_named() {
    let workspace = Workspace::new();
    eval(&workspace, &[]).exited(2).says(&["cannot read the exam exam.jsonl"]);
    workspace.write("exam.jsonl", format!("{}{{\"id\":\"x-9\"}}\n", exam()));
    eval(&workspace, &[]).exited(2).says(&["exam.jsonl, line 4", "missing field `theme`"]);
    workspace.write("exam.jsonl", "\n");
    eval(&workspace, &[]).exited(2).says(&["exam.jsonl holds no conversation"]);
}

//! `memoir state reconcile`: after it and a run, the tables are those of a query that nothing ever happened to.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Asked, Endpoint, Outcome, Reply, Workspace, said, text};

const SETTINGS: [&str; 4] =
    ["state.shards=2", "extractor.kind=heuristic", "source.archive=true", "processor.emission_threshold=2"];

/// What is said in all, part by part, with a line in each that is no event.
const PARTS: [&[(&str, u64, &str)]; 2] = [
    &[("ada", 1, "I live in Leeds."), ("ada", 2, "Hello!"), ("bob", 1, "I am vegan."), ("cy", 1, "Good morning.")],
    &[
        ("ada", 3, "My name is Ada."),
        ("bob", 2, "I moved to Austin."),
        ("ada", 4, "Thank you."),
        ("cy", 2, "I live in York."),
    ],
];

fn part(at: usize) -> String {
    let lines = PARTS[at].iter().map(|(user, number, words)| said(user, *number, words));
    lines.chain([format!("no event {at}\n")]).collect()
}

/// Runs that end without a drain, so that several of them give the rows of one.
#[track_caller]
fn process(workspace: &Workspace, last: bool) -> Outcome {
    let drain = format!("processor.drain={last}");
    let settings: Vec<&str> = SETTINGS.into_iter().chain([drain.as_str()]).collect();
    workspace.process("chat.ndjson", &settings)
}

fn reconcile(workspace: &Workspace, more: &[&str]) -> Outcome {
    let mut arguments = vec!["state", "reconcile", "--format", "json"];
    arguments.extend(more);
    for setting in &SETTINGS {
        arguments.extend(["--set", *setting]);
    }
    workspace.run(&arguments)
}

fn found(outcome: Outcome) -> Vec<Value> {
    serde_json::from_str(&outcome.succeeded().stdout).unwrap()
}

/// All that is in all tables and does not differ from run to run.
fn tables(workspace: &Workspace) -> [Vec<Value>; 4] {
    [
        workspace.audit(),
        workspace.extractions(),
        workspace
            .query("SELECT partition, position, reason, record FROM conversation_events_rejected ORDER BY position"),
        workspace.query("SELECT * FROM conversation_events ORDER BY user_id, event_id"),
    ]
}

/// A file grows under the same name in any folder, so nothing in the tables names the folder but the dead letters' source.
fn undisturbed() -> [Vec<Value>; 4] {
    let workspace = Workspace::new();
    workspace.append("chat.ndjson", &part(0));
    process(&workspace, false).succeeded();
    workspace.append("chat.ndjson", &part(1));
    process(&workspace, true).succeeded();
    without_partitions(tables(&workspace))
}

/// Partitions of files are named by what differs from folder to folder.
fn without_partitions(mut tables: [Vec<Value>; 4]) -> [Vec<Value>; 4] {
    for row in &mut tables[2] {
        row.as_object_mut().unwrap().remove("partition").unwrap();
    }
    tables
}

fn after_the_first_part() -> Workspace {
    let workspace = Workspace::new();
    workspace.append("chat.ndjson", &part(0));
    process(&workspace, false).succeeded();
    workspace
}

fn replace(workspace: &Workspace, from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    workspace.copy(from, to);
}

#[test]
fn a_deleted_state_is_made_again_and_nothing_is_appended_twice() {
    for all_was_read in [false, true] {
        let workspace = after_the_first_part();
        workspace.append("chat.ndjson", &part(1));
        if all_was_read {
            process(&workspace, true).succeeded();
        }
        fs::remove_dir_all(workspace.path("data/state")).unwrap();
        let before = tables(&workspace);
        process(&workspace, true).exited(1).says(&["memoir state reconcile"]);

        let looked = found(reconcile(&workspace, &["--dry-run"]));
        process(&workspace, true).exited(1).says(&["memoir state reconcile"]);
        let done = found(reconcile(&workspace, &[]));
        assert_eq!(looked, done);
        assert!(done.iter().all(|row| text(row, "found") == "another state's" && row["attached"] == true), "{done:?}");
        assert_eq!(done[0]["table"], "profile_memory_audit");
        assert!(done.iter().all(|row| row["held"].as_i64() > Some(0)), "{done:?}");
        assert_eq!(tables(&workspace), before);

        // Once more it finds the same, and nothing left to be done.
        let again = found(reconcile(&workspace, &[]));
        assert!(again.iter().all(|row| text(row, "found") == "in order" && row["attached"] == false), "{again:?}");
        process(&workspace, true).succeeded();
        assert_eq!(without_partitions(tables(&workspace)), undisturbed(), "all was read: {all_was_read}");
        process(&workspace, true).succeeded().says(&["events=0"]);
        assert_eq!(without_partitions(tables(&workspace)), undisturbed());
    }
}

#[test]
fn a_dry_run_without_a_state_makes_none() {
    let workspace = after_the_first_part();
    fs::remove_dir_all(workspace.path("data/state")).unwrap();
    found(reconcile(&workspace, &["--dry-run"]));
    assert!(!workspace.path("data/state").exists());
}

#[test]
fn an_older_copy_of_the_state_goes_on_from_what_the_tables_hold() {
    let workspace = after_the_first_part();
    workspace.copy(&workspace.path("data/state"), &workspace.path("copy"));
    workspace.append("chat.ndjson", &part(1));
    process(&workspace, true).succeeded();
    replace(&workspace, &workspace.path("copy"), &workspace.path("data/state"));
    process(&workspace, true).exited(1).says(&["older copy", "memoir state reconcile"]);
    let done = found(reconcile(&workspace, &[]));
    assert_eq!(text(&done[0], "found"), "the state is an older copy");
    assert!(done[0]["epochs_raised"].as_i64() > Some(0), "{done:?}");
    process(&workspace, true).succeeded();
    assert_eq!(without_partitions(tables(&workspace)), undisturbed());
}

#[test]
fn a_state_goes_on_with_a_new_table_behind_a_deleted_one() {
    let workspace = after_the_first_part();
    let first = workspace.audit();
    fs::remove_dir_all(workspace.table("profile_memory_audit")).unwrap();
    workspace.append("chat.ndjson", &part(1));
    process(&workspace, true).exited(1).says(&["deleted", "memoir state reconcile"]);
    let done = found(reconcile(&workspace, &[]));
    assert_eq!(text(&done[0], "found"), "the table was deleted or replaced");
    assert_eq!(text(&done[1], "found"), "in order");
    process(&workspace, true).succeeded();
    // The table has what came since; the others lack nothing.
    let [audit, rest @ ..] = undisturbed();
    let since: Vec<Value> = audit.into_iter().filter(|row| !first.contains(row)).collect();
    assert!(!first.is_empty() && !since.is_empty());
    assert_eq!(workspace.audit(), since);
    assert_eq!(without_partitions(tables(&workspace))[1..], rest);
}

#[test]
fn an_older_copy_of_a_table_is_refused_and_gone_on_with() {
    let workspace = after_the_first_part();
    workspace.copy(&workspace.table("profile_memory_audit"), &workspace.path("copy"));
    let older = workspace.audit();
    workspace.append("chat.ndjson", &part(1));
    process(&workspace, false).succeeded();
    assert!(workspace.audit().len() > older.len());
    replace(&workspace, &workspace.path("copy"), &workspace.table("profile_memory_audit"));
    let refused = process(&workspace, true).exited(1);
    refused.says(&["profile_memory_audit", "shard", "epoch", "older copy", "query.name", "memoir state reconcile"]);
    assert_eq!(workspace.audit(), older);
    let done = found(reconcile(&workspace, &[]));
    assert_eq!(text(&done[0], "found"), "the table is an older copy");
    workspace.append("chat.ndjson", &said("ada", 5, "I have a dog named Rex."));
    workspace.append("chat.ndjson", &said("ada", 6, "Good night."));
    process(&workspace, true).succeeded();
    let rows = workspace.audit();
    assert!(rows.len() > older.len());
    assert!(older.iter().all(|row| rows.contains(row)));
}

#[test]
fn words_that_the_lost_state_never_read_are_asked_about() {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", said("ada", 1, "Hello!"));
    // Each run drains: reading all at once triggers elsewhere than reading it in two runs.
    workspace.process("chat.ndjson", &SETTINGS).succeeded();
    assert!(workspace.audit().is_empty());
    fs::remove_dir_all(workspace.path("data/state")).unwrap();
    workspace.append("chat.ndjson", &said("ada", 2, "I live in Leeds."));
    found(reconcile(&workspace, &[]));
    workspace.process("chat.ndjson", &SETTINGS).succeeded();
    let values: Vec<String> = workspace.audit().iter().map(|row| text(row, "value").to_owned()).collect();
    assert_eq!(values, ["Leeds"]);
    let emissions = workspace.query("SELECT emission_id FROM profile_memory_extractions");
    let distinct = workspace.query("SELECT DISTINCT emission_id FROM profile_memory_extractions");
    assert_eq!(emissions.len(), distinct.len());
}

#[test]
fn a_model_is_not_asked_again_for_what_the_tables_hold() {
    let endpoint = Endpoint::that(|asked: Asked| {
        let last = asked.last_message();
        Reply::facts(&json!([{
            "key": "count", "kind": "project", "value": text(&last, "text"), "confidence": 0.9, "action": "new",
            "evidence": [{"message": text(&last, "id"), "quote": text(&last, "text")}], "reason": "said so",
        }]))
    });
    let workspace = Workspace::new();
    let words = |from: u64, upto: u64| -> String {
        (from..upto).flat_map(|n| ["ada", "bob"].map(|user| said(user, n, &format!("{user} counts {n}")))).collect()
    };
    let arguments =
        Workspace::over_files("available-now", "chat.ndjson", &["state.shards=2", "processor.emission_threshold=2"]);
    workspace.write("chat.ndjson", words(1, 9));
    endpoint.run_in(&workspace, &arguments).succeeded();
    let (asked, audit) = (endpoint.asked().len(), workspace.audit());
    assert_eq!(asked, 8);
    fs::remove_dir_all(workspace.path("data/state")).unwrap();
    workspace.run(&["state", "reconcile", "--set", "state.shards=2"]).succeeded();
    endpoint.run_in(&workspace, &arguments).succeeded().says(&["held=8"]);
    assert_eq!((endpoint.asked().len(), workspace.audit()), (asked, audit));
    // The facts are known to the next question.
    workspace.append("chat.ndjson", &words(9, 11));
    endpoint.run_in(&workspace, &arguments).succeeded();
    let all = endpoint.asked();
    assert_eq!(all.len(), asked + 2);
    assert!(all[asked..].iter().all(|asked| text(&asked.facts()[0], "value").ends_with("counts 8")));
}

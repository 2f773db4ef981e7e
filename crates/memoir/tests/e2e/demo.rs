//! The demo, as the scripts run it: what it promises, and all that it writes, word for word.
//!
//! The files under `tests/golden` hold the latter. `MEMOIR_UPDATE_GOLDEN=1` writes them anew; read the difference before
//! it is committed.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::{Workspace, text};

/// The workspace of one demo, which the tests read and do not change.
static DEMO: LazyLock<Workspace> = LazyLock::new(|| {
    let workspace = Workspace::new();
    run_demo(&workspace);
    workspace
});

fn run_demo(workspace: &Workspace) -> String {
    workspace.run(&["setup"]).succeeded();
    workspace.run(&["generate"]).succeeded();
    workspace.run(&["run", "--trigger", "available-now"]).succeeded();
    workspace.run(&["explore"]).succeeded().stdout
}

/// What a query prints, a line a row.
fn as_json(sql: &str) -> String {
    DEMO.run(&["query", sql, "--format", "json"]).succeeded().stdout
}

#[track_caller]
fn assert_golden(name: &str, got: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("MEMOIR_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, got).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = expected.lines().zip(got.lines()).position(|(expected, got)| expected != got);
    let at = differs.unwrap_or_else(|| expected.lines().count().min(got.lines().count()));
    let [expected_line, got_line] =
        [&*expected, got].map(|text| text.lines().nth(at).unwrap_or("(nothing)").to_owned());
    assert!(
        expected == got,
        "{name}, line {}:\nexpected {expected_line}\n     got {got_line}\n(MEMOIR_UPDATE_GOLDEN=1 writes the file anew)",
        at + 1
    );
}

/// The current facts of a user, as `key = value`.
fn facts(user: &str) -> Vec<String> {
    let sql = format!("SELECT key, value FROM v_profile_memory_current WHERE user_id = '{user}' ORDER BY key");
    DEMO.query(&sql).iter().map(|row| format!("{} = {}", text(row, "key"), text(row, "value"))).collect()
}

/// For each of these, some fact has all of its words, in key or value.
#[track_caller]
fn assert_remembered(user: &str, wanted: &[&[&str]]) {
    let facts = facts(user);
    for words in wanted {
        let found = facts.iter().any(|fact| words.iter().all(|word| fact.to_lowercase().contains(word)));
        assert!(found, "{user}: no fact with {words:?} in {facts:#?}");
    }
}

#[test]
fn the_audit_is_as_expected() {
    assert_golden("demo_audit.json", &as_json("SELECT * FROM profile_memory_audit ORDER BY user_id, emission_id, key"));
}

#[test]
fn the_view_is_as_expected() {
    assert_golden("demo_view.json", &as_json("SELECT * FROM v_profile_memory_current ORDER BY user_id, key"));
}

#[test]
fn the_report_is_as_expected() {
    assert_golden("demo_explore.txt", &DEMO.run(&["explore"]).succeeded().stdout);
}

#[test]
fn alex_chen_is_remembered_as_promised() {
    let wanted: [&[&str]; 6] =
        [&["data engineer"], &["fintech"], &["san francisco"], &["migration"], &["python"], &["rust"]];
    assert_remembered("alex_chen", &wanted);
    let migration: Vec<_> = facts("alex_chen").into_iter().filter(|fact| fact.contains("migration")).collect();
    assert!(
        migration.iter().any(|fact| ["complete", "done", "finished"].iter().any(|word| fact.contains(word))),
        "{migration:?}"
    );
}

#[test]
fn sam_patel_moved_from_brooklyn_to_austin_and_has_a_dog_named_beau() {
    assert_remembered("sam_patel", &[&["dog", "beau"], &["location", "austin"]]);
    let moves = DEMO.query(
        "SELECT value, action, previous_value FROM profile_memory_audit \
         WHERE user_id = 'sam_patel' AND key = 'location' AND action <> 'unchanged' ORDER BY emission_ts",
    );
    assert_eq!(
        moves,
        [
            json!({"value": "Brooklyn", "action": "new", "previous_value": null}),
            json!({"value": "Austin", "action": "updated", "previous_value": "Brooklyn"}),
        ]
    );
    // What was only thought about, or is said of others, is nothing that Sam told of himself.
    let all = facts("sam_patel").join("\n");
    assert!(!all.contains("Chicago") && !all.contains("location = Denver"), "{all}");
}

#[test]
fn jordan_lee_is_remembered_as_promised() {
    assert_remembered("jordan_lee", &[&["vegan"], &["wedding"], &["react native"], &["partner", "riley"]]);
}

#[test]
fn the_fallback_is_recorded_in_the_audit_and_absent_from_the_view() {
    let statuses =
        DEMO.query("SELECT DISTINCT value, action, kind FROM profile_memory_audit WHERE key = '__llm_status__'");
    let fallback = json!({"value": "llm_unavailable_heuristic_fallback", "action": "deleted", "kind": "constraint"});
    assert_eq!(statuses, [fallback]);
    let emissions = "SELECT count(DISTINCT emission_id) AS n FROM profile_memory_audit";
    let with_status = format!("{emissions} WHERE key = '__llm_status__'");
    assert_eq!(DEMO.query(emissions), DEMO.query(&with_status), "every emission says so");
    let reserved = DEMO.query("SELECT key FROM v_profile_memory_current WHERE key LIKE '\\_\\_%'");
    assert_eq!(reserved, [] as [Value; 0]);
}

#[test]
fn profile_history_and_explain_tell_the_same_story() {
    let now = DEMO.run(&["profile", "sam_patel", "--format", "json"]).succeeded().stdout;
    assert!(now.contains("Austin") && !now.contains("\"Brooklyn\""), "{now}");
    let then =
        DEMO.run(&["profile", "sam_patel", "--as-of", "2025-10-01T00:00:00Z", "--format", "json"]).succeeded().stdout;
    assert!(then.contains("Brooklyn") && !then.contains("Austin"), "{then}");
    let history = DEMO.run(&["history", "sam_patel", "location", "--format", "json"]).succeeded().stdout;
    let history: Vec<Value> = serde_json::from_str(&history).unwrap();
    let values: Vec<_> = history.iter().map(|row| text(row, "value")).collect();
    assert_eq!(values, ["Brooklyn", "Austin"]);
    let why = DEMO.run(&["explain", "sam_patel", "location"]).succeeded().stdout;
    assert!(why.contains("I live in Brooklyn, right by Prospect Park actually."), "word for word: {why}");
    assert!(why.contains("I just moved to Austin!"), "{why}");
}

#[test]
fn run_again_the_demo_adds_no_row_to_any_table() {
    let workspace = Workspace::new();
    let tables = [
        ("conversation_events", "event_id"),
        ("profile_memory_audit", "user_id, emission_id, key"),
        ("profile_memory_extractions", "emission_id"),
        ("conversation_events_rejected", "position"),
        ("v_profile_memory_current", "user_id, key"),
    ];
    let contents = || tables.map(|(table, order)| workspace.query(&format!("SELECT * FROM {table} ORDER BY {order}")));
    let report = run_demo(&workspace);
    let before = contents();
    assert!(before[..3].iter().all(|rows| !rows.is_empty()));
    assert_eq!(run_demo(&workspace), report);
    assert_eq!(contents(), before);
}

#[test]
fn the_bundle_runs_the_same_demo() {
    let workspace = Workspace::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::copy(root.join("bundle.yml"), workspace.path("bundle.yml")).unwrap();
    workspace.copy(&root.join("resources"), &workspace.path("resources"));
    workspace.run(&["bundle", "run", "profile-memory-demo", "-t", "dev"]).exited(1).says(&["deploy"]);
    workspace.run(&["bundle", "validate", "-t", "dev"]).succeeded();
    workspace.run(&["bundle", "deploy", "-t", "dev"]).succeeded();
    assert!(workspace.path(".memoir/bundle/dev").is_dir());
    let done = workspace.run(&["bundle", "run", "profile-memory-demo", "-t", "dev"]).succeeded();
    let report = DEMO.run(&["explore"]).succeeded().stdout;
    assert!(done.stdout.ends_with(&report), "the job ends with the report: {}", done.stdout);
}

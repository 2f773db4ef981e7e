//! With the rules and event time, the audit does not depend on how the work was cut.

use crate::support::Workspace;

fn load(workspace: &Workspace, events: &str) {
    workspace
        .run(&["generate", "--users", "60", "--events", events, "--seed", "3", "--out", "load.ndjson"])
        .succeeded();
}

/// Audit and extractions of a run over the same load with these settings.
fn tables(settings: &[&str]) -> [Vec<serde_json::Value>; 2] {
    let workspace = Workspace::new();
    load(&workspace, "6000");
    workspace.process("load.ndjson", settings).succeeded();
    [workspace.audit(), workspace.extractions()]
}

#[test]
fn the_audit_is_the_same_however_the_work_is_sharded_threaded_and_cut_into_epochs() {
    let expected = tables(&["state.shards=1", "engine.threads=1"]);
    assert!(expected[0].len() > 1000 && expected[1].len() > 400);
    for settings in [
        &["state.shards=3", "engine.threads=1", "engine.epoch_events=7", "engine.epoch_interval=1ms"][..],
        &["state.shards=3", "engine.threads=2", "engine.epoch_events=1000", "sink.commit_interval=5ms"],
        &["state.shards=8", "engine.threads=2", "engine.epoch_events=64", "engine.cache_mb=8"],
        &["state.shards=8", "engine.threads=2", "engine.epoch_interval=1m", "sink.commit_interval=1m"],
    ] {
        let got = tables(settings);
        let first = got[0].iter().zip(&expected[0]).find(|(got, expected)| got != expected);
        assert!(first.is_none(), "{settings:?}: the first row that differs: {first:#?}");
        assert!(got == expected, "{settings:?}: other numbers of rows or other extractions");
    }
}

#[test]
fn a_second_run_adds_no_row_and_ids_do_not_change_with_the_folder() {
    let (first, second) = (Workspace::new(), Workspace::new());
    for workspace in [&first, &second] {
        load(workspace, "800");
        workspace.process("load.ndjson", &[]).succeeded();
    }
    let audit = first.audit();
    assert_eq!(audit, second.audit());
    first.process("load.ndjson", &[]).succeeded();
    assert_eq!(first.audit(), audit);
}

#[test]
fn without_a_drain_several_runs_give_the_rows_of_one() {
    let whole = Workspace::new();
    load(&whole, "2500");
    let lines: Vec<String> =
        std::fs::read_to_string(whole.path("load.ndjson")).unwrap().lines().map(str::to_owned).collect();
    whole.process("load.ndjson", &["processor.drain=false"]).succeeded();

    let pieces = Workspace::new();
    let mut audits = Vec::new();
    for piece in lines.chunks(900) {
        pieces.append("load.ndjson", &(piece.join("\n") + "\n"));
        pieces.process("load.ndjson", &["processor.drain=false"]).succeeded();
        audits.push(pieces.audit().len());
    }
    assert!(audits.is_sorted_by(|before, after| before < after), "every run added rows: {audits:?}");
    assert_eq!(pieces.audit(), whole.audit());

    // A drain at the very end is an emission like any other, for both.
    for workspace in [&whole, &pieces] {
        workspace.process("load.ndjson", &[]).succeeded();
    }
    let drained = whole.audit();
    assert!(drained.len() > audits[audits.len() - 1]);
    assert_eq!(pieces.audit(), drained);
}

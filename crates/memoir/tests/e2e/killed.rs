//! A backfill that is killed again and again ends with the tables of one that was left alone.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Random, Running, Workspace, eventually, has_extension, read_independently};

/// Kills that must hit a run while it works.
const KILLS: usize = 20;

/// Small epochs and many appends: much can be cut in the middle.
const SETTINGS: [&str; 7] = [
    "state.shards=3",
    "engine.threads=2",
    "engine.epoch_events=1000",
    "engine.epoch_interval=10ms",
    "sink.commit_interval=10ms",
    "source.archive=true",
    "extractor.kind=heuristic",
];

/// When a run is killed: so long after what is named.
#[derive(Debug)]
enum Moment {
    /// The start of the process: while it opens state and tables, perhaps.
    Start(Duration),
    /// The run's first write to its state.
    FirstWrite(Duration),
    /// The run's first append to the audit.
    FirstAppend(Duration),
}

/// How long a whole run takes, and how long it takes until its first append.
struct Pace {
    whole: Duration,
    first_append: Duration,
}

impl Moment {
    fn draw(random: &mut Random, pace: &Pace) -> Self {
        // Short enough that the work lasts for all kills.
        let while_working = pace.whole / 60;
        match random.next() % 5 {
            0 => Self::Start(random.duration(pace.first_append)),
            1 | 2 => Self::FirstWrite(random.duration(while_working)),
            _ => Self::FirstAppend(random.duration(while_working)),
        }
    }
}

#[test]
#[ignore = "needs the deltalake Python package: run scripts/test.sh"]
fn a_backfill_killed_at_random_moments_ends_with_the_tables_of_one_left_alone() {
    let mut random = Random::shown();
    let input = Workspace::new();
    let load = write_load(&input);
    let arguments = Workspace::over_files("available-now", &load, &SETTINGS);

    let alone = Workspace::new();
    let pace = run_alone(&alone, &arguments);

    let killed = Workspace::new();
    let (mut kills_at_work, mut kills) = (0, 0);
    while kills_at_work < KILLS {
        let moment = Moment::draw(&mut random, &pace);
        let mut work = Work::before(&killed);
        let mut running = killed.start(&arguments);
        wait_for(&moment, &mut work, &mut running);
        let has_worked = work.has_appended() || work.has_grown();
        let outcome = running.kill();
        assert!(
            outcome.was_killed(),
            "it ended by itself before {moment:?}, after {kills_at_work} kills: the load is too small, or it failed: {}",
            outcome.stderr
        );
        kills += 1;
        kills_at_work += usize::from(has_worked);
        assert!(kills < 10 * KILLS, "hardly a kill hits a run at work");
    }
    killed.run(&arguments).succeeded();
    let commits = killed.commits("profile_memory_audit");

    for (table, volatile, id) in [
        ("profile_memory_audit", &[][..], &["emission_id", "key"][..]),
        ("profile_memory_extractions", &["extraction_ts", "latency_ms"], &["emission_id"]),
        ("conversation_events_rejected", &["rejected_ts"], &["partition", "position"]),
        ("conversation_events", &[], &["event_id"]),
    ] {
        let of = |workspace: &Workspace| read_independently(&workspace.table(table), volatile);
        let rows = of(&killed);
        assert_no_doubles(table, &rows, id);
        assert_same_rows(table, &rows, &of(&alone));
    }

    // It is really over: another run adds nothing.
    killed.run(&arguments).succeeded();
    assert_eq!(killed.commits("profile_memory_audit"), commits);
}

/// A load with some records that are none.
fn write_load(workspace: &Workspace) -> String {
    workspace
        .run(&["generate", "--users", "2000", "--events", "250000", "--seed", "7", "--out", "plain.ndjson"])
        .succeeded();
    let plain = std::fs::read_to_string(workspace.path("plain.ndjson")).unwrap();
    let mut load = String::new();
    for (number, line) in plain.lines().enumerate() {
        load.push_str(line);
        load.push('\n');
        if number % 5000 == 2500 {
            load.push_str(&format!("no event, number {number}\n"));
        }
    }
    workspace.write("load.ndjson", load);
    workspace.path("load.ndjson").to_str().unwrap().to_owned()
}

fn run_alone(workspace: &Workspace, arguments: &[String]) -> Pace {
    let began = Instant::now();
    let running = workspace.start(arguments);
    let first_append = eventually("the first append", || (appends(workspace) > 0).then(|| began.elapsed()));
    running.wait().succeeded();
    Pace { whole: began.elapsed(), first_append }
}

/// Waits for the moment, or for the end of the run.
fn wait_for(moment: &Moment, work: &mut Work, running: &mut Running) {
    let pause = match moment {
        Moment::Start(pause) => *pause,
        Moment::FirstWrite(pause) => {
            eventually("the state to grow", || (work.has_grown() || running.has_ended()).then_some(()));
            *pause
        }
        Moment::FirstAppend(pause) => {
            eventually("an append", || (work.has_appended() || running.has_ended()).then_some(()));
            *pause
        }
    };
    // This is the random moment itself; nothing is waited for.
    std::thread::sleep(pause);
}

/// What a run has done since it was started, as far as it shows from outside.
struct Work<'a> {
    workspace: &'a Workspace,
    /// The fewest bytes that the state's logs have had: opening a state may empty them.
    least_state: u64,
    appends: usize,
}

impl<'a> Work<'a> {
    fn before(workspace: &'a Workspace) -> Self {
        Self { workspace, least_state: state_bytes(workspace), appends: appends(workspace) }
    }

    fn has_grown(&mut self) -> bool {
        let state = state_bytes(self.workspace);
        self.least_state = self.least_state.min(state);
        state > self.least_state
    }

    fn has_appended(&self) -> bool {
        appends(self.workspace) > self.appends
    }
}

/// Commits of rows to the audit: behind those that create the table and make it known to the state.
fn appends(workspace: &Workspace) -> usize {
    workspace.commits("profile_memory_audit").saturating_sub(2)
}

/// The bytes in the write-ahead logs of all shards.
fn state_bytes(workspace: &Workspace) -> u64 {
    let files = workspace.files(&workspace.state()).into_iter().filter(|file| has_extension(file, "log"));
    files.filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum()
}

#[track_caller]
fn assert_same_rows(table: &str, got: &[String], expected: &[String]) {
    assert!(!expected.is_empty(), "{table} holds nothing");
    let first = got.iter().zip(expected).find(|(got, expected)| got != expected);
    assert!(first.is_none(), "{table}: the first row that differs: {first:#?}");
    assert_eq!(got.len(), expected.len(), "rows of {table}");
}

#[track_caller]
fn assert_no_doubles(table: &str, rows: &[String], id: &[&str]) {
    let mut seen = HashSet::new();
    for line in rows {
        let row: Value = serde_json::from_str(line).unwrap();
        let id: Vec<_> = id.iter().map(|column| row[column].clone()).collect();
        assert!(seen.insert(id), "{table} holds it twice: {line}");
    }
}

//! A backfill through a storm: nearly a third of all requests fail, throttling comes in waves, answers are malformed,
//! and now and then the endpoint is out. Every window is answered once all the same, and every fallback is on record.
//!
//! `MEMOIR_STORM_EXTRACTIONS=20000` makes it as large as wanted; the default is for every day.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::simulated_endpoint::{model_counts, statuses};
use crate::support::{Running, Simulator, TOKEN, Workspace, eventually, said, text};

const EXTRACTIONS: usize = 400;
/// Windows of one user.
const WINDOWS: usize = 5;
const IN_FLIGHT: u64 = 12;

const SCRIPT: &str = r#"
seed = 11
latency_ms = 2
formats = ["json_object"]

[[sequence]]     # the weather is fine at first
do = "answer"
times = 60

[[storm]]        # the endpoint is out
do = "error"
status = 503
every = 250
lasts = 13

[[storm]]        # a wave of throttling
do = "throttle"
retry_after_ms = 20
every = 50
lasts = 5

[[chance]]
do = "error"
status = 500
percent = 20

[[chance]]
do = "cut"
percent = 5

[[chance]]
do = "throttle"
percent = 5

[[chance]]
do = "malformed"
percent = 3

[[chance]]
do = "half"
percent = 2
"#;

const WINDOWS_OF_TWO: [&str; 5] = [
    "processor.emission_threshold=2",
    "processor.timer_ttl=off",
    "state.shards=3",
    "sink.commit_interval=50ms",
    "engine.epoch_interval=20ms",
];

const CITIES: [&str; WINDOWS] = ["Leeds", "Porto", "Lyon", "Bergen", "Graz"];

/// Users who move with each of their windows, all at the same pace.
fn movers(users: usize) -> String {
    let mut lines = String::new();
    for (window, city) in CITIES.iter().enumerate() {
        for user in 0..users {
            let number = window as u64 * 2;
            lines += &said(&user_id(user), number + 1, &format!("I live in {city}."));
            lines += &said(&user_id(user), number + 2, "Thanks, that helps.");
        }
    }
    lines
}

fn user_id(user: usize) -> String {
    format!("confidential-{user}")
}

/// What of the audit does not depend on who answered, status rows left out.
fn remembered(workspace: &Workspace) -> Vec<Value> {
    workspace.query(
        "SELECT user_id, emission_id, emission_ts, key, kind, value, action, previous_value, source_event_ids, trigger \
         FROM profile_memory_audit WHERE key <> '__llm_status__' ORDER BY emission_id, key",
    )
}

struct Storm {
    users: usize,
    rate: usize,
    workspace: Workspace,
    simulator: Simulator,
}

impl Storm {
    fn begin(extractions: usize) -> Self {
        let users = extractions / WINDOWS;
        let workspace = Workspace::new();
        workspace.write("chat.ndjson", movers(users));
        let simulator = Simulator::start(&workspace, &format!("forbidden = [\"confidential-\"]\n{SCRIPT}"));
        Self { users, rate: (extractions / 10).max(200), workspace, simulator }
    }

    fn start(&self) -> Running {
        let settings = [
            format!("extractor.max_in_flight={IN_FLIGHT}"),
            format!("extractor.max_requests_per_second={}", self.rate),
            "extractor.retry_backoff=2ms".to_owned(),
            // While it is open the rules answer, many in a millisecond.
            "extractor.breaker_failures=12".to_owned(),
            "extractor.breaker_cooldown=1ms".to_owned(),
            "log.format=json".to_owned(),
        ];
        let settings: Vec<&str> = WINDOWS_OF_TWO.into_iter().chain(settings.iter().map(String::as_str)).collect();
        let mut command = self.simulator.command(&self.workspace, &settings);
        command.env("DATABRICKS_TOKEN", TOKEN);
        Running::start(command)
    }

    /// Who answers does not matter for what is remembered: the rules alone, in calm weather, remember the same.
    #[track_caller]
    fn assert_nothing_lost_and_nothing_doubled(&self) -> Vec<Value> {
        let calm = Workspace::new();
        calm.write("chat.ndjson", movers(self.users));
        let by_rules: Vec<&str> = WINDOWS_OF_TWO.into_iter().chain(["extractor.kind=heuristic"]).collect();
        calm.process("chat.ndjson", &by_rules).succeeded();
        assert_eq!(remembered(&self.workspace), remembered(&calm));

        let rows = self.workspace.extractions();
        assert_eq!(rows.len(), self.users * WINDOWS);
        let ids: BTreeSet<&str> = rows.iter().map(|row| text(row, "emission_id")).collect();
        assert_eq!(ids.len(), rows.len(), "no window is answered twice");
        assert_every_fallback_is_on_record(&self.workspace, &rows);
        rows
    }
}

#[test]
fn in_a_storm_every_window_is_answered_once_and_every_fallback_is_on_record() {
    let extractions = std::env::var("MEMOIR_STORM_EXTRACTIONS").map_or(EXTRACTIONS, |number| number.parse().unwrap());
    let storm = Storm::begin(extractions);
    let outcome = storm.start().wait().succeeded();
    let Storm { workspace, simulator, rate, .. } = &storm;
    let (counts, stats) = (model_counts(&outcome), simulator.stats());
    let told = format!("{counts}\n{stats}\n{:?}", statuses(workspace));

    let rows = storm.assert_nothing_lost_and_nothing_doubled();

    // Rows, counters and the endpoint's own count are of one mind.
    let sum = |column: &str| rows.iter().filter_map(|row| row[column].as_u64()).sum::<u64>();
    assert_eq!(
        (Some(sum("attempts")), &stats["requests"]),
        (counts["requests"].as_u64(), &counts["requests"]),
        "{told}"
    );
    assert_eq!(Some(sum("prompt_tokens")), stats["prompt_tokens"].as_u64(), "{told}");
    assert_eq!(Some(sum("completion_tokens")), stats["completion_tokens"].as_u64(), "{told}");
    assert_eq!(counts["throttled"], stats["by_status"]["429"], "{told}");
    let by_status: BTreeMap<String, i64> = statuses(workspace).into_iter().collect();
    for status in ["repaired", "failed", "unavailable"] {
        assert_eq!(counts[status].as_i64(), Some(by_status.get(status).copied().unwrap_or_default()), "{told}");
    }
    assert!(counts["breaker_openings"].as_u64().unwrap() >= 1, "{told}");
    assert!(counts["retries"].as_u64().unwrap() > 0, "{told}");
    assert!(by_status["ok"] as usize > rows.len() / 10, "the model answers through the storm: {told}");

    assert!(stats["max_in_flight"].as_u64().unwrap() <= IN_FLIGHT, "{told}");
    // They are sent apart, but a busy machine may see some of them late and together.
    assert!(stats["max_requests_in_a_second"].as_u64().unwrap() <= *rate as u64 * 5 / 4 + IN_FLIGHT, "{told}");
    assert_eq!(stats["forbidden"], 0, "no user id is sent");
    println!("{told}");
}

#[test]
fn kills_in_the_middle_of_a_storm_lose_nothing_and_double_nothing() {
    let storm = Storm::begin(EXTRACTIONS);
    for share in [8, 3] {
        let running = storm.start();
        eventually("some of the extractions in the table", || {
            let rows = storm.workspace.query_if_there("SELECT emission_id FROM profile_memory_extractions");
            (rows.len() >= EXTRACTIONS / share).then_some(())
        });
        assert!(running.kill().was_killed());
    }
    storm.start().wait().succeeded();
    storm.assert_nothing_lost_and_nothing_doubled();
    assert_eq!(storm.simulator.stats()["forbidden"], 0, "no user id is sent");
}

/// An extraction that the rules answered, or whose answer was repaired, has its reason, and its status row in the audit.
fn assert_every_fallback_is_on_record(workspace: &Workspace, extractions: &[Value]) {
    let audit = workspace.query("SELECT emission_id, value FROM profile_memory_audit WHERE key = '__llm_status__'");
    let recorded: BTreeMap<&str, &str> =
        audit.iter().map(|row| (text(row, "emission_id"), text(row, "value"))).collect();
    assert_eq!(recorded.len(), audit.len(), "one status row an emission");
    for row in extractions {
        let (expected, extractor) = match text(row, "status") {
            "ok" => (None, "model"),
            "repaired" => (Some("llm_primary_failed_repair_succeeded"), "model"),
            "failed" => (Some("llm_failed_heuristic_fallback"), "heuristic"),
            "unavailable" => (Some("llm_unavailable_heuristic_fallback"), "heuristic"),
            other => panic!("unknown status {other}"),
        };
        assert_eq!(recorded.get(text(row, "emission_id")).copied(), expected, "{row}");
        assert_eq!(text(row, "extractor"), extractor, "{row}");
        assert_eq!(row["error"].is_null(), expected.is_none(), "{row}");
        assert_eq!(row["attempts"] == 0, text(row, "status") == "unavailable", "{row}");
    }
}

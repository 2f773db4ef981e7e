//! A slow, a failing and a lying model: the stream goes on, answers are asked for once, and what went wrong is on
//! record.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::{Asked, Endpoint, Event, Outcome, Reply, TOKEN, Workspace, eventually, lines, said, text};

/// Two user messages make a window, and nothing else does.
const WINDOWS_OF_TWO: [&str; 6] = [
    "processor.emission_threshold=2",
    "processor.timer_ttl=off",
    "state.shards=2",
    "engine.epoch_interval=10ms",
    "sink.commit_interval=20ms",
    "log.level=debug",
];

/// Users by the name that their own messages have; their ids appear in none of their words.
fn user_id(name: &str) -> String {
    format!("id-{}-confidential", name.to_lowercase().chars().rev().collect::<String>())
}

/// Messages of users who count: `Ada counts 1` to `Ada counts N`.
fn counting(names: &[&str], messages: u64) -> String {
    let events = (1..=messages).flat_map(|number| names.iter().map(move |name| (*name, number)));
    events.map(|(name, number)| said(&user_id(name), number, &format!("{name} counts {number}"))).collect()
}

/// The fact that the user has come so far in counting.
fn count_of(asked: &Asked) -> Reply {
    let last = asked.last_message();
    Reply::facts(&json!([{
        "key": "count", "kind": "project", "value": text(&last, "text"), "confidence": 0.9, "action": "new",
        "evidence": [{"message": text(&last, "id"), "quote": text(&last, "text")}], "reason": "said so",
    }]))
}

/// Requests by the last message of their window, repairs left out.
fn requests_by_window(asked: &[Asked]) -> BTreeMap<String, usize> {
    let mut windows = BTreeMap::new();
    for asked in asked.iter().filter(|asked| !asked.is_repair()) {
        *windows.entry(text(&asked.last_message(), "text").to_owned()).or_default() += 1;
    }
    windows
}

/// Each request of a user was made with the facts that the answer before had left.
fn assert_each_request_knows_the_answer_before(asked: &[Asked]) {
    for asked in asked {
        let window = text(&asked.last_message(), "text").to_owned();
        let (name, number) = window.split_once(" counts ").unwrap();
        let before = number.parse::<u64>().unwrap() - 2;
        let known: Vec<String> = asked.facts().iter().map(|fact| text(fact, "value").to_owned()).collect();
        let expected = if before == 0 { vec![] } else { vec![format!("{name} counts {before}")] };
        assert_eq!(known, expected, "asked about {window:?}");
    }
}

/// Each emission of a user changed what the one before had left.
fn assert_emissions_in_order(audit: &[Value], names: &[&str], messages: u64) {
    for name in names {
        let rows: Vec<_> = audit.iter().filter(|row| text(row, "user_id") == user_id(name)).collect();
        let told: Vec<_> =
            rows.iter().map(|row| (text(row, "action"), text(row, "value"), &row["previous_value"])).collect();
        let counts = |number| format!("{name} counts {number}");
        let numbers: Vec<u64> = (1..=messages).filter(|number| number % 2 == 0).collect();
        assert_eq!(told.len(), numbers.len(), "{told:?}");
        for (number, (action, value, previous)) in numbers.into_iter().zip(told) {
            assert_eq!(value, counts(number));
            match number {
                2 => assert_eq!((action, previous), ("new", &Value::Null)),
                _ => assert_eq!((action, previous), ("updated", &json!(counts(number - 2)))),
            }
        }
        assert!(rows.windows(2).all(|two| text(two[0], "emission_ts") < text(two[1], "emission_ts")));
    }
}

fn assert_nothing_leaks(workspace: &Workspace, outcome: &Outcome, asked: &[Asked], names: &[&str]) {
    for asked in asked {
        assert_eq!(asked.authorization, format!("Bearer {TOKEN}"));
        assert_eq!(asked.path, "/serving-endpoints/chat/invocations");
        assert!(!asked.body.contains(TOKEN));
        for name in names {
            assert!(!asked.body.contains(&user_id(name)), "{}", asked.body);
        }
    }
    assert!(!outcome.stderr.contains(TOKEN) && !outcome.stdout.contains(TOKEN), "{}", outcome.stderr);
    for table in ["profile_memory_audit", "profile_memory_extractions", "conversation_events_rejected"] {
        let rows = Value::from(workspace.query(&format!("SELECT * FROM {table}"))).to_string();
        assert!(!rows.contains(TOKEN), "{table}: {rows}");
    }
    for file in workspace.files(&workspace.path("data")) {
        let content = std::fs::read(&file).unwrap();
        let found = content.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
        assert!(!found, "the token is in {}", file.display());
    }
}

#[test]
fn a_slow_answer_for_one_user_holds_up_nobody_else_and_each_window_is_asked_about_once() {
    const NAMES: [&str; 5] = ["Ada", "Ben", "Cleo", "Dan", "Eve"];
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", counting(&NAMES, 6));
    let (release, held) = tokio::sync::watch::channel(false);
    let endpoint = Endpoint::start(move |asked| {
        let mut held = held.clone();
        Box::pin(async move {
            if asked.speaker() == "Cleo" {
                held.wait_for(|released| *released).await.unwrap();
            }
            count_of(&asked)
        })
    });
    let arguments = Workspace::over_files("available-now", "chat.ndjson", &WINDOWS_OF_TWO);
    let mut running = endpoint.start_in(&workspace, &arguments);
    let others = "SELECT user_id, count(*) AS n FROM profile_memory_audit GROUP BY user_id";
    eventually("the emissions of all others", || {
        let rows = workspace.query_if_there(others);
        assert!(rows.iter().all(|row| text(row, "user_id") != user_id("Cleo")), "Cleo has no answer yet");
        (rows.len() == 4 && rows.iter().all(|row| row["n"] == 3)).then_some(())
    });
    assert!(!running.has_ended(), "a pending answer is waited for");
    release.send(true).unwrap();
    let outcome = running.wait().succeeded();

    let asked = endpoint.asked();
    let windows = requests_by_window(&asked);
    assert_eq!(windows.len(), 15);
    assert!(windows.values().all(|requests| *requests == 1), "{windows:?}");
    assert_eq!(endpoint.overlapping(), Vec::<String>::new(), "one request of a user at a time");
    assert_each_request_knows_the_answer_before(&asked);
    assert_emissions_in_order(&workspace.audit(), &NAMES, 6);
    assert_nothing_leaks(&workspace, &outcome, &asked, &NAMES);
    for row in workspace.extractions() {
        assert_eq!((text(&row, "extractor"), text(&row, "model"), text(&row, "status")), ("model", "chat", "ok"));
        assert_eq!(
            (&row["attempts"], &row["prompt_tokens"], &row["completion_tokens"]),
            (&json!(1), &json!(100), &json!(20))
        );
        assert_eq!((&row["facts_proposed"], &row["facts_accepted"]), (&json!(1), &json!(1)));
        assert_eq!(row["prompt_version"], "extract_v1");
    }
    // All is answered: another run asks nothing.
    endpoint.run_in(&workspace, &arguments).succeeded();
    assert_eq!(endpoint.asked().len(), asked.len());
}

#[test]
fn after_a_kill_no_answer_that_was_committed_is_asked_for_again() {
    const NAMES: [&str; 8] = ["Ada", "Ben", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal"];
    const MESSAGES: u64 = 8;
    // It answers as often as it is allowed to, and holds every other request.
    let with_allowance = |answers: usize| {
        let allowed = Arc::new(Semaphore::new(answers));
        let allowance = Arc::clone(&allowed);
        let endpoint = Endpoint::start(move |asked| {
            let allowed = Arc::clone(&allowed);
            Box::pin(async move {
                allowed.acquire().await.unwrap().forget();
                count_of(&asked)
            })
        });
        (endpoint, allowance)
    };
    let settings: Vec<&str> = WINDOWS_OF_TWO.into_iter().chain(["extractor.max_in_flight=2"]).collect();
    let arguments = Workspace::over_files("available-now", "chat.ndjson", &settings);

    let alone = Workspace::new();
    alone.write("chat.ndjson", counting(&NAMES, MESSAGES));
    with_allowance(1000).0.run_in(&alone, &arguments).succeeded();

    let killed = Workspace::new();
    killed.write("chat.ndjson", counting(&NAMES, MESSAGES));
    let (endpoint, allowance) = with_allowance(0);
    let mut asked_before = HashSet::new();
    let mut requests_before = 0;
    for _ in 0..3 {
        allowance.add_permits(8);
        let running = endpoint.start_in(&killed, &arguments);
        eventually("some more answers in the table", || {
            let rows = killed.query_if_there("SELECT emission_id FROM profile_memory_extractions");
            (rows.len() >= asked_before.len() + 4).then_some(())
        });
        assert!(running.kill().was_killed());
        let asked = endpoint.asked();
        assert_none_asked_again(&asked[requests_before..], &asked_before);
        requests_before = asked.len();
        asked_before = committed_windows(&killed);
    }
    allowance.add_permits(1000);
    endpoint.run_in(&killed, &arguments).succeeded();
    let asked = endpoint.asked();
    assert_none_asked_again(&asked[requests_before..], &asked_before);

    let windows = requests_by_window(&asked);
    assert_eq!(windows.len(), 32);
    assert_each_request_knows_the_answer_before(&asked);
    assert_emissions_in_order(&killed.audit(), &NAMES, MESSAGES);
    assert_eq!(killed.audit(), alone.audit());
    assert_eq!(killed.extractions(), alone.extractions());
}

#[track_caller]
fn assert_none_asked_again(asked: &[Asked], committed: &HashSet<String>) {
    let windows = asked.iter().map(|asked| text(&asked.last_message(), "text").to_owned());
    let again: Vec<String> = windows.filter(|window| committed.contains(window)).collect();
    assert_eq!(again, Vec::<String>::new(), "their answers had been committed");
}

/// The last messages of the windows whose answers a table holds.
fn committed_windows(workspace: &Workspace) -> HashSet<String> {
    let rows = workspace.query("SELECT value FROM profile_memory_audit WHERE key = 'count'");
    rows.iter().map(|row| text(row, "value").to_owned()).collect()
}

/// A run over what one user says: the outcome, the audit and the extractions.
fn run_with(endpoint: &Endpoint, workspace: &Workspace, events: &[Event], settings: &[&str]) -> Outcome {
    workspace.write("chat.ndjson", lines(events));
    let settings: Vec<&str> =
        settings.iter().copied().chain(["log.level=debug", "extractor.retry_backoff=5ms"]).collect();
    let arguments = Workspace::over_files("available-now", "chat.ndjson", &settings);
    let outcome = endpoint.run_in(workspace, &arguments).succeeded();
    assert_nothing_leaks(workspace, &outcome, &endpoint.asked(), &["Ada"]);
    outcome
}

fn ada_moves() -> Vec<Event> {
    let user = user_id("Ada");
    vec![
        Event::new(&user, 1, "Hi, I live in Leeds."),
        Event::new(&user, 2, "I think you would like Porto.").with("role", "assistant"),
        Event::new(&user, 3, "Maybe. My name is Ada."),
    ]
}

fn status_rows(workspace: &Workspace) -> Vec<Value> {
    workspace.query("SELECT * FROM profile_memory_audit WHERE key = '__llm_status__'")
}

fn assert_rules_stepped_in(workspace: &Workspace, error: &str) {
    let [status] = &status_rows(workspace)[..] else { panic!("one status row: {:?}", status_rows(workspace)) };
    assert_eq!(text(status, "value"), "llm_failed_heuristic_fallback");
    assert_eq!((text(status, "action"), text(status, "kind")), ("deleted", "constraint"));
    let view = workspace.query("SELECT key, value FROM v_profile_memory_current ORDER BY key");
    assert!(view.contains(&json!({"key": "location", "value": "Leeds"})), "the rules answer: {view:?}");
    assert!(view.iter().all(|row| !text(row, "key").starts_with("__")));
    let [row] = &workspace.extractions()[..] else { panic!("one extraction") };
    assert_eq!((text(row, "status"), text(row, "extractor"), &row["model"]), ("failed", "heuristic", &Value::Null));
    assert!(text(row, "error").contains(error), "{row}");
    assert!(row["attempts"].as_i64().unwrap() >= 1);
}

#[test]
fn where_the_endpoint_fails_the_rules_answer_and_it_is_on_record() {
    let endpoint = Endpoint::that(|_| {
        Reply::Fail(500, json!({"error_code": "INTERNAL_ERROR", "message": format!("no luck with {TOKEN}")}))
    });
    let workspace = Workspace::new();
    run_with(&endpoint, &workspace, &ada_moves(), &[]);
    assert_rules_stepped_in(&workspace, "HTTP 500");
}

#[test]
fn where_the_endpoint_does_not_answer_in_time_the_rules_do() {
    let endpoint = Endpoint::that(|_| Reply::Silence);
    let workspace = Workspace::new();
    run_with(&endpoint, &workspace, &ada_moves(), &["extractor.timeout=300ms"]);
    assert_rules_stepped_in(&workspace, "300 ms");
}

#[test]
fn where_the_model_writes_garbage_and_again_garbage_the_rules_answer() {
    let endpoint = Endpoint::that(|_| Reply::Say("I'd rather not say.".to_owned()));
    let workspace = Workspace::new();
    run_with(&endpoint, &workspace, &ada_moves(), &[]);
    assert_rules_stepped_in(&workspace, "cannot be read");
}

#[test]
fn garbage_that_the_model_repairs_counts_and_the_repair_is_on_record() {
    let endpoint = Endpoint::that(|asked| {
        if !asked.is_repair() {
            return Reply::Say("{\"facts\": [{\"key\": \"loc".to_owned());
        }
        Reply::facts(&json!([{"key": "location", "kind": "identity", "value": "Leeds", "confidence": 0.9,
            "action": "new", "evidence": [{"message": "m1", "quote": "I live in Leeds"}], "reason": "said so"}]))
    });
    let workspace = Workspace::new();
    run_with(&endpoint, &workspace, &ada_moves(), &[]);
    let [status] = &status_rows(&workspace)[..] else { panic!("one status row") };
    assert_eq!(text(status, "value"), "llm_primary_failed_repair_succeeded");
    let [row] = &workspace.extractions()[..] else { panic!("one extraction") };
    assert_eq!((text(row, "status"), text(row, "extractor"), text(row, "model")), ("repaired", "model", "chat"));
    assert_eq!(row["attempts"], 2);
    let view = workspace.query("SELECT key, value, source_event_ids FROM v_profile_memory_current");
    let source = format!("{}/1", user_id("Ada"));
    assert_eq!(view, [json!({"key": "location", "value": "Leeds", "source_event_ids": [source]})]);
}

#[test]
fn of_what_a_lying_model_says_nothing_is_remembered() {
    let fact = |key: &str, value: &str, message: &str, quote: &str| {
        json!({"key": key, "kind": "identity", "value": value, "confidence": 0.99, "action": "new",
            "evidence": [{"message": message, "quote": quote}], "reason": "trust me"})
    };
    let lies = json!([
        fact("employer", "a bank", "m1", "I work for a bank"),
        fact("city", "Porto", "m2", "you would like Porto"),
        fact("__llm_status__", "all is well", "m1", "I live in Leeds"),
        fact("__policy", "tell everything", "m1", "I live in Leeds"),
        {"key": "hobby", "kind": "preference", "value": "chess", "confidence": 0.99, "action": "new", "reason": "I feel it"},
        fact("kin", "Leeds", "m9", "We live in Berlin"),
    ]);
    let count = lies.as_array().unwrap().len();
    let endpoint = Endpoint::that(move |_| Reply::facts(&lies));
    let workspace = Workspace::new();
    let outcome = run_with(&endpoint, &workspace, &ada_moves(), &[]);
    assert_eq!(workspace.audit(), Vec::<Value>::new());
    let [row] = &workspace.extractions()[..] else { panic!("one extraction") };
    assert_eq!((text(row, "status"), &row["error"]), ("ok", &Value::Null));
    assert_eq!((&row["facts_proposed"], &row["facts_accepted"]), (&json!(count), &json!(0)));
    assert!(outcome.stderr.contains("no_evidence"), "refusals are counted: {}", outcome.stderr);
}

#[test]
fn a_model_that_is_demanded_and_not_configured_is_a_wrong_configuration() {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", lines(&ada_moves()));
    workspace.process("chat.ndjson", &["extractor.kind=model"]).exited(2).says(&["extractor.kind", "databricks.host"]);
    assert!(!workspace.path("data").exists(), "nothing was begun");
}

#[test]
fn without_an_endpoint_auto_takes_the_rules_and_says_so_in_the_audit() {
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", lines(&ada_moves()));
    workspace.process("chat.ndjson", &[]).succeeded();
    let [status] = &status_rows(&workspace)[..] else { panic!("one status row") };
    assert_eq!(text(status, "value"), "llm_unavailable_heuristic_fallback");
    let [row] = &workspace.extractions()[..] else { panic!("one extraction") };
    assert_eq!((text(row, "status"), &row["attempts"]), ("unavailable", &json!(0)));
    // The rules alone, when they were asked for, are no fallback.
    let asked_for = Workspace::new();
    asked_for.write("chat.ndjson", lines(&ada_moves()));
    asked_for.process("chat.ndjson", &["extractor.kind=heuristic"]).succeeded();
    assert_eq!(status_rows(&asked_for), Vec::<Value>::new());
    assert!(!asked_for.audit().is_empty());
}

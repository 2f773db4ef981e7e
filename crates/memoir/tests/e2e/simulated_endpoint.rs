//! The model client as it is configured, against the endpoint simulator: where it asks, with what, how often, how fast.

use serde_json::{Value, json};

use crate::support::{Outcome, Running, Simulator, TOKEN, Workspace, said, text};

/// Every message is a window, one user after the other is asked about.
const EACH_MESSAGE: [&str; 6] = [
    "processor.emission_threshold=1",
    "processor.timer_ttl=off",
    "state.shards=1",
    "extractor.max_in_flight=1",
    "extractor.retry_backoff=2ms",
    "log.format=json",
];

/// So many people with one message each. Nobody's id stands in anybody's words.
fn people(count: usize) -> String {
    (0..count).map(|number| said(&user_id(number), 1, "I live in Leeds.")).collect()
}

fn user_id(number: usize) -> String {
    format!("confidential-{number}")
}

/// A run over `chat.ndjson`, with variables of the environment.
#[track_caller]
fn run(simulator: &Simulator, workspace: &Workspace, variables: &[(&str, &str)], settings: &[&str]) -> Outcome {
    let settings: Vec<&str> = EACH_MESSAGE.into_iter().chain(settings.iter().copied()).collect();
    let mut command = simulator.command(workspace, &settings);
    command.envs(variables.iter().copied());
    Running::start(command).wait().succeeded()
}

/// The counters of the model client in a run's log.
#[track_caller]
pub fn model_counts(outcome: &Outcome) -> Value {
    let lines = outcome.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut counts = lines.filter(|line| line["message"] == "model");
    counts.next().unwrap_or_else(|| panic!("no counters in {}", outcome.stderr))
}

/// How many extractions ended how.
pub fn statuses(workspace: &Workspace) -> Vec<(String, i64)> {
    let rows =
        workspace.query("SELECT status, count(*) AS n FROM profile_memory_extractions GROUP BY status ORDER BY 1");
    rows.iter().map(|row| (text(row, "status").to_owned(), row["n"].as_i64().unwrap())).collect()
}

fn of(statuses: &[(&str, i64)]) -> Vec<(String, i64)> {
    statuses.iter().map(|(status, count)| ((*status).to_owned(), *count)).collect()
}

#[track_caller]
fn assert_no_secret(workspace: &Workspace, outcome: &Outcome, secret: &str) {
    assert!(!outcome.stderr.contains(secret), "{}", outcome.stderr);
    for file in workspace.files(&workspace.path("data")) {
        let content = std::fs::read(&file).unwrap();
        assert!(!content.windows(secret.len()).any(|part| part == secret.as_bytes()), "{}", file.display());
    }
}

#[test]
fn each_form_of_url_is_asked_in_its_own_way_and_no_user_id_is_sent() {
    let script = format!("forbidden = [\"{}\"]\n[auth]\ntoken = \"{TOKEN}\"\n", user_id(0));
    let simulator = Simulator::start(&Workspace::new(), &script);
    let url = simulator.url();
    let base = |path: &str| format!("extractor.base_url={url}{path}");
    let key = format!("extractor.api_key={TOKEN}");
    let azure = [base(""), "extractor.api_version=2024-10-21".to_owned(), key.clone()];
    for (settings, variables) in [
        (vec![], vec![("DATABRICKS_TOKEN", TOKEN)]),
        (vec![base("/serving-endpoints")], vec![("DATABRICKS_TOKEN", TOKEN)]),
        (vec![base("/ai-gateway/mlflow/v1")], vec![("DATABRICKS_TOKEN", TOKEN)]),
        (vec![base("/v1"), key], vec![("DATABRICKS_HOST", "https://other.example.net")]),
        (azure.to_vec(), vec![]),
    ] {
        let workspace = Workspace::new();
        workspace.write("chat.ndjson", people(1));
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        let outcome = run(&simulator, &workspace, &variables, &settings);
        let [row] = &workspace.extractions()[..] else { panic!("one extraction") };
        assert_eq!((text(row, "status"), &row["error"]), ("ok", &Value::Null), "{settings:?}");
        let view = workspace.query("SELECT key, value FROM v_profile_memory_current");
        assert_eq!(view, [json!({"key": "location", "value": "Leeds"})]);
        assert_no_secret(&workspace, &outcome, TOKEN);
    }
    let stats = simulator.stats();
    assert_eq!((&stats["requests"], &stats["forbidden"]), (&json!(5), &json!(0)), "{stats}");
}

#[test]
fn a_token_of_the_workspace_is_not_sent_to_a_foreign_server() {
    let simulator = Simulator::start(&Workspace::new(), "");
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(1));
    let base = format!("extractor.base_url={}/v1", simulator.url());
    let variables = [("DATABRICKS_HOST", "https://other.example.net"), ("DATABRICKS_TOKEN", TOKEN)];
    run(&simulator, &workspace, &variables, &[&base]).says(&["extractor.api_key"]);
    let needy = Simulator::start(&Workspace::new(), &format!("[auth]\ntoken = \"{TOKEN}\"\n"));
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(1));
    run(&needy, &workspace, &variables, &[&format!("extractor.base_url={}/v1", needy.url())]);
    let [row] = &workspace.extractions()[..] else { panic!("one extraction") };
    assert_eq!(text(row, "status"), "failed");
    assert!(text(row, "error").contains("HTTP 401"), "{row}");
}

#[test]
fn what_heals_is_tried_again_and_counted() {
    let script = "[[sequence]]\ndo = \"error\"\nstatus = 503\n[[sequence]]\ndo = \"throttle\"\nretry_after_ms = 300\n\
        [[sequence]]\ndo = \"throttle\"\nretry_after_ms = 1000\nas_date = true\n[[sequence]]\ndo = \"cut\"\n\
        [[sequence]]\ndo = \"answer\"\n[[sequence]]\ndo = \"page\"\n[[sequence]]\ndo = \"half\"\n";
    let simulator = Simulator::start(&Workspace::new(), script);
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(2));
    let outcome = run(&simulator, &workspace, &[("DATABRICKS_TOKEN", TOKEN)], &[]);
    let rows = workspace.extractions();
    let mut told: Vec<_> = rows.iter().map(|row| (text(row, "status"), row["attempts"].as_i64().unwrap())).collect();
    told.sort_unstable();
    assert_eq!(told, [("ok", 5), ("repaired", 3)]);
    let latency = workspace.query("SELECT max(latency_ms) AS ms FROM profile_memory_extractions");
    assert!(latency[0]["ms"].as_i64().unwrap() >= 300, "Retry-After is waited for: {latency:?}");
    let counts = model_counts(&outcome);
    assert_eq!((&counts["requests"], &counts["retries"], &counts["throttled"]), (&json!(8), &json!(5), &json!(2)));
    assert_eq!((&counts["repaired"], &counts["failed"]), (&json!(1), &json!(0)));
    let tokens =
        workspace.query("SELECT sum(prompt_tokens) AS p, sum(completion_tokens) AS c FROM profile_memory_extractions");
    assert_eq!((&tokens[0]["p"], &tokens[0]["c"]), (&counts["prompt_tokens"], &counts["completion_tokens"]));
}

#[test]
fn the_form_of_answers_is_found_out_once_a_process() {
    let simulator = Simulator::start(&Workspace::new(), "formats = [\"json_object\"]\nparts = true\n");
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(5));
    run(&simulator, &workspace, &[("DATABRICKS_TOKEN", TOKEN)], &[]);
    assert_eq!(statuses(&workspace), of(&[("ok", 5)]));
    assert_eq!(simulator.stats()["by_format"], json!({"json_schema": 1, "json_object": 5}));
}

#[test]
fn an_oauth_client_gets_tokens_and_a_new_one_when_one_is_refused() {
    let secret = "an-oauth-secret-that-nobody-may-see";
    let script = format!("[auth]\nclient_id = \"memoir\"\nclient_secret = \"{secret}\"\ntoken_requests = 3\n");
    let simulator = Simulator::start(&Workspace::new(), &script);
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(8));
    let variables = [("DATABRICKS_CLIENT_ID", "memoir"), ("DATABRICKS_CLIENT_SECRET", secret)];
    let outcome = run(&simulator, &workspace, &variables, &[]);
    assert_eq!(statuses(&workspace), of(&[("ok", 8)]));
    let stats = simulator.stats();
    assert_eq!((&stats["oauth_tokens"], &stats["by_status"]), (&json!(3), &json!({"200": 8, "401": 2})));
    assert_no_secret(&workspace, &outcome, secret);
    assert_no_secret(&workspace, &outcome, "simulated-token");

    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(1));
    let wrong = [("DATABRICKS_CLIENT_ID", "memoir"), ("DATABRICKS_CLIENT_SECRET", "another-secret")];
    let outcome = run(&simulator, &workspace, &wrong, &[]);
    let [row] = &workspace.extractions()[..] else { panic!("one extraction") };
    assert!(text(row, "error").contains("HTTP 401: invalid_client"), "{row}");
    assert_no_secret(&workspace, &outcome, "another-secret");
}

#[test]
fn a_profile_of_the_databricks_file_gives_host_and_credentials() {
    let script = "[auth]\nclient_id = \"memoir\"\nclient_secret = \"hush-hush\"\n";
    let simulator = Simulator::start(&Workspace::new(), script);
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(1));
    let url = simulator.url();
    workspace.write(
        "cfg",
        format!("[DEFAULT]\nhost = {url}\n\n[bot]\nhost = {url}/\nclient_id = memoir\nclient_secret = hush-hush\n"),
    );
    let of_profile = |profile| [("DATABRICKS_CONFIG_FILE", "cfg"), ("DATABRICKS_CONFIG_PROFILE", profile)];
    let outcome = run(&simulator, &workspace, &of_profile("bot"), &[]);
    assert_eq!(statuses(&workspace), of(&[("ok", 1)]));
    assert_no_secret(&workspace, &outcome, "hush-hush");

    let mut unknown = simulator.command(&workspace, &[]);
    unknown.envs(of_profile("bat"));
    Running::start(unknown).wait().exited(2).says(&["cfg", "bat"]);
    let mut other = simulator.command(&workspace, &[]);
    other.envs(of_profile("bot")).env("DATABRICKS_HOST", "https://other.example.net");
    Running::start(other).wait().exited(2).says(&["bot", "databricks.host"]);
}

#[test]
fn an_open_breaker_leaves_it_to_the_rules_and_nobody_is_asked() {
    let simulator = Simulator::start(&Workspace::new(), "[[chance]]\ndo = \"error\"\npercent = 100\n");
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(6));
    let settings = ["extractor.breaker_failures=3", "extractor.breaker_cooldown=1h"];
    let outcome = run(&simulator, &workspace, &[("DATABRICKS_TOKEN", TOKEN)], &settings);
    assert_eq!(statuses(&workspace), of(&[("failed", 1), ("unavailable", 5)]));
    assert_eq!(simulator.stats()["requests"], 3);
    let audit = workspace.query(
        "SELECT value, count(*) AS n FROM profile_memory_audit WHERE key = '__llm_status__' GROUP BY value ORDER BY value",
    );
    let row = |value: &str, count: u64| json!({"value": value, "n": count});
    assert_eq!(audit, [row("llm_failed_heuristic_fallback", 1), row("llm_unavailable_heuristic_fallback", 5)]);
    assert_eq!(model_counts(&outcome)["breaker_openings"], 1);
    let facts = workspace.query("SELECT count(*) AS n FROM v_profile_memory_current WHERE value = 'Leeds'");
    assert_eq!(facts[0]["n"], 6);
}

#[test]
fn a_spent_budget_stays_spent_over_a_restart() {
    let simulator = Simulator::start(&Workspace::new(), "");
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(3));
    let variables = [("DATABRICKS_TOKEN", TOKEN)];
    let settings = ["extractor.max_tokens_per_day=1", "processor.drain=false"];
    run(&simulator, &workspace, &variables, &settings);
    assert_eq!(statuses(&workspace), of(&[("ok", 1), ("unavailable", 2)]));
    workspace.write("chat.ndjson", people(5));
    run(&simulator, &workspace, &variables, &settings);
    assert_eq!(statuses(&workspace), of(&[("ok", 1), ("unavailable", 4)]));
    assert_eq!(simulator.stats()["requests"], 1);
    let rows = workspace.query("SELECT DISTINCT error FROM profile_memory_extractions WHERE status = 'unavailable'");
    assert!(text(&rows[0], "error").contains("extractor.max_tokens_per_day"), "{rows:?}");
}

#[test]
fn requests_stay_within_their_limits() {
    let simulator = Simulator::start(&Workspace::new(), "latency_ms = 20\n");
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(60));
    let settings = ["extractor.max_in_flight=3", "extractor.max_requests_per_second=40"];
    let began = std::time::Instant::now();
    run(&simulator, &workspace, &[("DATABRICKS_TOKEN", TOKEN)], &settings);
    // 60 requests are 59 intervals of 25 ms.
    assert!(began.elapsed().as_millis() >= 1475, "{:?}", began.elapsed());
    assert_eq!(statuses(&workspace), of(&[("ok", 60)]));
    let stats = simulator.stats();
    assert!(stats["max_in_flight"].as_u64().unwrap() <= 3, "{stats}");
    // They are sent apart, but a busy machine may see some of them late and together.
    assert!(stats["max_requests_in_a_second"].as_u64().unwrap() <= 45, "{stats}");
}

#[test]
fn of_lies_nothing_is_remembered() {
    let simulator = Simulator::start(&Workspace::new(), "[[chance]]\ndo = \"lie\"\npercent = 100\n");
    let workspace = Workspace::new();
    workspace.write("chat.ndjson", people(2));
    run(&simulator, &workspace, &[("DATABRICKS_TOKEN", TOKEN)], &[]);
    assert_eq!(workspace.audit(), Vec::<Value>::new());
    assert_eq!(statuses(&workspace), of(&[("ok", 2)]));
}

#[test]
fn the_simulator_says_that_it_is_no_model_wherever_it_can() {
    let workspace = Workspace::new();
    let simulator = Simulator::start(&workspace, "");
    let answer = simulator.post("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}");
    assert!(answer.contains("x-memoir-simulator: a test tool, never a model"), "{answer}");
    assert!(answer.contains("\"model\":\"memoir-simulator (rules, not a model)\""), "{answer}");
    assert!(simulator.get("/elsewhere").starts_with("HTTP/1.0 40"));
    simulator.stop().succeeded().says(&["this is a test tool, never a model"]);

    workspace.write("wrong.toml", "[[chance]]\ndo = \"dance\"\npercent = 1\n");
    workspace.run(&["simulate-endpoint", "--script", "wrong.toml"]).exited(2).says(&["wrong.toml", "dance"]);
    workspace.run(&["simulate-endpoint", "--script", "none.toml"]).exited(2).says(&["none.toml"]);
}

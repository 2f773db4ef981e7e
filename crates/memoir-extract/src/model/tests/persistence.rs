//! Trying again, waiting, and giving up: by itself, by the breaker, by the budgets.

use memoir_core::{ManualClock, SystemClock};
use serde_json::json;

use super::super::*;
use super::server::{Act, Server, answer, assert_fallback, assert_unavailable, call, completion, facts, fail, good};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Nothing is tried twice.
fn once() -> ClientOptions {
    ClientOptions { max_attempts: 1, ..ClientOptions::default() }
}

#[tokio::test]
async fn what_heals_is_tried_again_after_growing_waits() {
    let server = Server::start([fail(503), Act::Cut, fail(408), good()]).await;
    let extractor = server.extractor();
    let answer = extractor.answer(&call(), &SystemClock).await;
    assert_eq!((answer.status, answer.attempts, answer.error), (ExtractionStatus::Ok, 4, None));
    assert_eq!(server.slept(), [250, 500, 1000].map(Duration::from_millis), "half of 500 ms, doubled, by the dice");
    assert_eq!((extractor.counts().requests, extractor.counts().retries), (4, 3));
}

#[tokio::test]
async fn all_tries_in_vain_leave_it_to_the_rules() {
    let server = Server::start((0..5).map(|_| fail(500))).await;
    assert_fallback(&answer(&server).await, 5, "HTTP 500: NO_LUCK: try later");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let dead = server.at(ModelUrl::Workspace { host });
    assert_fallback(&dead.answer(&call(), &SystemClock).await, 5, "no connection");
}

#[tokio::test]
async fn what_does_not_heal_is_not_tried_again() {
    for status in [400, 401, 403, 404, 413, 422, 501] {
        let server = Server::start([fail(status)]).await;
        assert_fallback(&answer(&server).await, 1, &format!("HTTP {status}"));
        assert_eq!(server.slept(), []);
    }
    let server = Server::start([Act::Say(json!({"choices": []}))]).await;
    assert_fallback(&answer(&server).await, 1, "no content");
}

#[tokio::test]
async fn what_is_no_chat_completion_may_be_a_gateways_and_is_tried_again() {
    let server = Server::start([Act::Say(json!([1])), good()]).await;
    assert_eq!(answer(&server).await.status, ExtractionStatus::Ok);
    let server = Server::start((0..5).map(|_| Act::Say(json!("<html>")))).await;
    assert_fallback(&answer(&server).await, 5, "not a chat completion");
}

#[tokio::test]
async fn errors_of_both_shapes_keep_no_secret_and_no_words() {
    let token = super::server::TOKEN;
    let bodies = [
        (
            404,
            json!({"error_code": "NOT_FOUND", "message": "no such endpoint"}),
            "HTTP 404: NOT_FOUND: no such endpoint",
        ),
        (
            401,
            json!({"error": {"code": "bad_token", "message": format!("token {token}")}}),
            "HTTP 401: bad_token: token ***",
        ),
        (400, json!({"error_code": "BAD", "message": "in: Ada and home is Leeds"}), "HTTP 400: BAD"),
        (403, json!("down"), "HTTP 403"),
    ];
    for (status, body, told) in bodies {
        let server = Server::start([Act::Fail(status, body)]).await;
        assert_fallback(&answer(&server).await, 1, told);
    }
}

#[tokio::test]
async fn retry_after_is_waited_for_in_seconds_and_as_a_date() {
    let now = Timestamp::parse("2026-01-05T09:00:00Z").unwrap();
    let date = "Mon, 05 Jan 2026 09:00:20 GMT".to_owned();
    let server = Server::start([Act::Throttle("7".to_owned()), Act::Throttle(date), good()]).await;
    let extractor = server.extractor();
    let answer = extractor.answer(&call(), &ManualClock::at(now)).await;
    assert_eq!((answer.status, answer.attempts), (ExtractionStatus::Ok, 3));
    // A part of the first back-off comes on top, so that not all come back at once.
    assert_eq!(server.slept(), [7250, 20_250].map(Duration::from_millis));
    assert_eq!(extractor.counts().throttled, 2);
}

#[tokio::test]
async fn a_retry_after_beyond_the_budget_is_not_waited_for() {
    let server = Server::start([Act::Throttle("3600".to_owned())]).await;
    assert_fallback(&answer(&server).await, 1, "no time is left for another try");
    assert_eq!(server.slept(), []);
}

#[tokio::test]
async fn a_pause_that_the_endpoint_asks_for_holds_everybody() {
    let server = Server::start([Act::Throttle("30".to_owned()), good()]).await;
    let extractor = server.with(once());
    assert_fallback(&extractor.answer(&call(), &SystemClock).await, 1, "HTTP 429");
    assert_eq!(extractor.answer(&call(), &SystemClock).await.status, ExtractionStatus::Ok);
    assert_eq!(server.slept(), [seconds(30)], "another extraction waits too");
}

#[tokio::test]
async fn the_time_for_one_extraction_is_bounded_also_over_its_repair() {
    let server = Server::start((0..20).map(|_| fail(503))).await;
    let patient = ClientOptions { max_attempts: 100, total_timeout: seconds(10), breaker_failures: 1000, ..once() };
    let answer = server.with(patient.clone()).answer(&call(), &SystemClock).await;
    assert!(answer.error.as_deref().unwrap().contains("no time is left"), "{answer:?}");
    let waited: Duration = server.slept().iter().sum();
    assert!(waited < seconds(10) && waited > seconds(5), "{waited:?}");

    let garbage = Act::Say(completion(json!("no facts")));
    let server = Server::start([Act::Throttle("8".to_owned()), garbage, Act::Throttle("8".to_owned())]).await;
    let answer = server.with(patient).answer(&call(), &SystemClock).await;
    assert_fallback(&answer, 3, "the answer cannot be read: it holds no JSON object; HTTP 429; no time is left");
    assert_eq!(answer.prompt_tokens, Some(100), "what the first answer took is on record");
}

#[tokio::test]
async fn each_of_the_time_outs_ends_a_request() {
    let short = Duration::from_millis(150);
    for (act, options, told) in [
        (Act::Hang, ClientOptions { first_byte_timeout: short, ..once() }, "no answer within 150 ms"),
        (Act::Hang, ClientOptions { timeout: short, ..once() }, "within 150 ms"),
        (Act::Stall, ClientOptions { timeout: short, ..once() }, "no whole answer within 150 ms"),
        (Act::Stall, ClientOptions { total_timeout: short, ..once() }, "no whole answer within 150 ms"),
    ] {
        let server = Server::start([act]).await;
        assert_fallback(&server.with(options).answer(&call(), &SystemClock).await, 1, told);
    }
}

#[tokio::test]
async fn the_breaker_opens_asks_nobody_and_lets_one_try_after_the_cooldown() {
    let acts = (0..3).map(|_| fail(500)).chain([fail(503)]).chain([good(), good()]);
    let server = Server::start(acts).await;
    let extractor = server.with(ClientOptions { breaker_failures: 3, ..ClientOptions::default() });
    let call = call();
    let ask = || extractor.answer(&call, &SystemClock);
    // Its third request opened it; what was asked in vain has failed.
    assert_fallback(&ask().await, 3, "the circuit breaker is open");
    assert_unavailable(&ask().await, "the circuit breaker is open");
    server.pace.advance(seconds(31));
    assert_fallback(&ask().await, 1, "the circuit breaker is open");
    assert_unavailable(&ask().await, "the circuit breaker is open");
    server.pace.advance(seconds(31));
    assert_eq!(ask().await.status, ExtractionStatus::Ok);
    assert_eq!(ask().await.status, ExtractionStatus::Ok, "closed again");
    assert_eq!(server.asked().len(), 6);
    let counts = extractor.counts();
    assert_eq!((counts.breaker_openings, counts.failed, counts.unavailable), (2, 2, 2));
}

#[tokio::test]
async fn being_throttled_or_asked_wrongly_opens_no_breaker() {
    let acts = [429, 400, 429, 422, 429].map(fail).into_iter().chain([good()]);
    let server = Server::start(acts).await;
    let extractor = server.with(ClientOptions { breaker_failures: 1, ..once() });
    for _ in 0..5 {
        assert_eq!(extractor.answer(&call(), &SystemClock).await.status, ExtractionStatus::Failed);
    }
    assert_eq!(extractor.answer(&call(), &SystemClock).await.status, ExtractionStatus::Ok);
}

#[tokio::test]
async fn a_spent_budget_leaves_it_to_the_rules_until_the_next_day() {
    let server = Server::start([good(), good(), good()]).await;
    let extractor = server.with(ClientOptions { max_tokens_per_day: Some(240), ..ClientOptions::default() });
    let clock = ManualClock::at(Timestamp::parse("2026-01-05T23:00:00Z").unwrap());
    for _ in 0..2 {
        assert_eq!(extractor.answer(&call(), &clock).await.status, ExtractionStatus::Ok);
    }
    assert_unavailable(&extractor.answer(&call(), &clock).await, "the token budget of the day is spent");
    clock.advance(seconds(3600));
    assert_eq!(extractor.answer(&call(), &clock).await.status, ExtractionStatus::Ok);
    assert_eq!(server.asked().len(), 3);
    assert_eq!((extractor.counts().prompt_tokens, extractor.counts().completion_tokens), (300, 60));
}

#[tokio::test]
async fn a_budget_spent_by_the_first_answer_leaves_no_repair() {
    let server = Server::start([Act::Say(completion(json!("no facts")))]).await;
    let extractor = server.with(ClientOptions { max_tokens_per_day: Some(120), ..ClientOptions::default() });
    let answer = extractor.answer(&call(), &SystemClock).await;
    assert_fallback(&answer, 1, "it holds no JSON object; the token budget of the day is spent");
}

#[tokio::test]
async fn an_endpoint_that_does_not_count_is_counted_by_estimate() {
    let uncounted = json!({"choices": [{"message": {"content": facts()}}]});
    let server = Server::start([Act::Say(uncounted)]).await;
    let extractor = server.with(ClientOptions { max_tokens_per_day: Some(300), ..ClientOptions::default() });
    let first = extractor.answer(&call(), &SystemClock).await;
    assert_eq!((first.status, first.prompt_tokens), (ExtractionStatus::Ok, None), "the table holds no guesses");
    assert_unavailable(&extractor.answer(&call(), &SystemClock).await, "budget");
}

#[tokio::test]
async fn requests_are_spaced_by_the_rate_and_waiting_for_it_is_no_ones_failure() {
    let server = Server::start((0..6).map(|_| good())).await;
    let extractor = server.with(ClientOptions {
        max_requests_per_second: Some(0.1),
        total_timeout: seconds(5),
        ..ClientOptions::default()
    });
    for _ in 0..6 {
        assert_eq!(extractor.answer(&call(), &SystemClock).await.status, ExtractionStatus::Ok);
    }
    assert_eq!(server.slept(), [seconds(10); 5]);
}

#[tokio::test]
async fn tokens_a_minute_are_kept_too() {
    let server = Server::start((0..4).map(|_| good())).await;
    let extractor = server.with(ClientOptions { max_tokens_per_minute: Some(1500.0), ..ClientOptions::default() });
    for _ in 0..4 {
        assert_eq!(extractor.answer(&call(), &SystemClock).await.status, ExtractionStatus::Ok);
    }
    let waited: Duration = server.slept().iter().sum();
    assert!(waited > Duration::ZERO && waited < seconds(60), "{waited:?}");
}

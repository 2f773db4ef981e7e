//! OAuth tokens: asked for once, in time, and anew when one is refused.

use futures::future::join_all;
use memoir_core::SystemClock;
use serde_json::json;

use super::super::*;
use super::server::{Act, Asked, Server, assert_fallback, call, fail, good};

const SECRET: &str = "client-secret-very-secret";

fn token(token: &str, lifetime: u64) -> Act {
    Act::Say(json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime}))
}

/// The tokens that chats were asked with, and how often tokens were asked for.
fn used(asked: &[Asked]) -> (Vec<String>, usize) {
    let is_token = |asked: &&Asked| asked.path == "/oidc/v1/token";
    let chats = asked.iter().filter(|asked| !is_token(asked));
    let tokens = chats.map(|asked| asked.header("authorization").unwrap().replace("Bearer ", "")).collect();
    (tokens, asked.iter().filter(is_token).count())
}

#[tokio::test]
async fn the_client_is_changed_into_a_token_once_for_all_that_ask_at_once() {
    let server = Server::start((0..8).map(|_| good())).await.with_tokens([token("t1", 3600)]);
    let extractor = server.with_oauth(SECRET);
    let call = call();
    let answers = join_all((0..8).map(|_| extractor.answer(&call, &SystemClock))).await;
    assert!(answers.iter().all(|answer| answer.status == ExtractionStatus::Ok));
    let asked = server.asked();
    assert_eq!(used(&asked), (vec!["t1".to_owned(); 8], 1));
    let request = asked.iter().find(|asked| asked.path == "/oidc/v1/token").unwrap();
    assert_eq!(request.text, "grant_type=client_credentials&scope=all-apis");
    assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert!(request.header("authorization").unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn a_token_is_replaced_before_it_ends_and_the_old_one_bridges_a_failure() {
    let tokens = [token("t1", 3600), fail(503), token("t2", 100)];
    let server = Server::start((0..4).map(|_| good())).await.with_tokens(tokens);
    let extractor = server.with_oauth(SECRET);
    let call = call();
    let ask = || extractor.answer(&call, &SystemClock);
    ask().await;
    server.pace.advance(Duration::from_secs(3299));
    ask().await;
    // Five minutes before its end: the token endpoint fails, and the old one still holds.
    server.pace.advance(Duration::from_secs(2));
    ask().await;
    server.pace.advance(Duration::from_secs(200));
    ask().await;
    assert_eq!(used(&server.asked()), (["t1", "t1", "t1", "t2"].map(str::to_owned).to_vec(), 3));
}

#[tokio::test]
async fn whoever_waited_for_a_token_in_vain_shares_the_failure() {
    let server = Server::start([]).await.with_tokens([fail(400)]);
    let extractor = server.with_oauth(SECRET);
    let call = call();
    let answers = join_all((0..8).map(|_| extractor.answer(&call, &SystemClock))).await;
    for answer in answers {
        assert_fallback(&answer, 1, "no token from the workspace's token endpoint: HTTP 400");
    }
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_401_gets_a_new_token_once() {
    let server = Server::start([fail(401), good()]).await.with_tokens([token("t1", 3600), token("t2", 3600)]);
    let answer = server.with_oauth(SECRET).answer(&call(), &SystemClock).await;
    assert_eq!((answer.status, answer.attempts, answer.error), (ExtractionStatus::Ok, 2, None));
    assert_eq!(used(&server.asked()), (vec!["t1".to_owned(), "t2".to_owned()], 2));
    assert_eq!(server.slept(), []);

    let server = Server::start([fail(401), fail(401)]).await.with_tokens([token("t1", 3600), token("t2", 3600)]);
    assert_fallback(&server.with_oauth(SECRET).answer(&call(), &SystemClock).await, 2, "HTTP 401");
}

#[tokio::test]
async fn without_a_token_nothing_is_asked_and_the_error_holds_no_secret() {
    let refused = json!({"error": "invalid_client", "error_description": format!("no client with {SECRET}")});
    let server = Server::start([]).await.with_tokens([Act::Fail(401, refused)]);
    let extractor = server.with_oauth(SECRET);
    let answer = extractor.answer(&call(), &SystemClock).await;
    assert_fallback(
        &answer,
        1,
        "no token from the workspace's token endpoint: HTTP 401: invalid_client: no client with ***",
    );
    assert!(!answer.error.unwrap().contains(SECRET));
    assert!(!format!("{extractor:?}").contains(SECRET));

    // What may heal is tried again.
    let server = Server::start([good()]).await.with_tokens([fail(503), token("t1", 3600)]);
    let answer = server.with_oauth(SECRET).answer(&call(), &SystemClock).await;
    assert_eq!((answer.status, answer.attempts), (ExtractionStatus::Ok, 2));
    let server = Server::start([]).await.with_tokens([Act::Say(json!({"access_token": " "}))]);
    assert_fallback(&server.with_oauth(SECRET).answer(&call(), &SystemClock).await, 1, "holds no token");
}

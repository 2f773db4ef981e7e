//! The server, and what the tests ask.

use std::collections::VecDeque;
use std::sync::Mutex;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use memoir_core::SystemClock;
use serde_json::{Value, json};

use super::super::pace::manual::ManualPace;
use super::super::*;
use crate::rules::call_of;

pub const TOKEN: &str = "dapi-very-secret";

/// What the server does with a request.
pub enum Act {
    Say(Value),
    Fail(u16, Value),
    /// With the header `Retry-After`.
    Throttle(String),
    /// Keeps silent until the client has gone.
    Hang,
    /// Ends in the middle of the body.
    Cut,
    /// Begins to answer, and goes no further.
    Stall,
}

pub struct Asked {
    pub path: String,
    pub query: Option<String>,
    /// Null where it is no JSON.
    pub body: Value,
    pub text: String,
    headers: HeaderMap,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

#[derive(Default)]
struct Script {
    chat: Mutex<VecDeque<Act>>,
    tokens: Mutex<VecDeque<Act>>,
    asked: Mutex<Vec<Asked>>,
}

pub struct Server {
    pub base: String,
    pub pace: Arc<ManualPace>,
    script: Arc<Script>,
}

impl Server {
    /// One that answers chats in this order.
    pub async fn start(acts: impl IntoIterator<Item = Act>) -> Self {
        let script = Arc::new(Script { chat: Mutex::new(acts.into_iter().collect()), ..Script::default() });
        let app = Router::new().fallback(serve).with_state(Arc::clone(&script));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { base, pace: Arc::new(ManualPace::with_dice(0.5)), script }
    }

    /// Requests for tokens are answered in this order.
    pub fn with_tokens(self, acts: impl IntoIterator<Item = Act>) -> Self {
        self.script.tokens.lock().unwrap().extend(acts);
        self
    }

    pub fn extractor(&self) -> ModelExtractor {
        self.with(ClientOptions::default())
    }

    pub fn with(&self, options: ClientOptions) -> ModelExtractor {
        self.make(ModelUrl::Workspace { host: self.base.clone() }, self.token(), options)
    }

    pub fn at(&self, url: ModelUrl) -> ModelExtractor {
        self.make(url, self.token(), ClientOptions::default())
    }

    /// One whose tokens come from this server too.
    pub fn with_oauth(&self, client_secret: &str) -> ModelExtractor {
        let client = ClientCredentials {
            host: self.base.clone(),
            client_id: "client".to_owned(),
            client_secret: Token::new(client_secret).unwrap(),
        };
        let url = ModelUrl::Workspace { host: self.base.clone() };
        self.make(url, CredentialSettings::Client(client), ClientOptions::default())
    }

    fn token(&self) -> CredentialSettings {
        CredentialSettings::Token(Token::new(TOKEN).unwrap())
    }

    fn make(&self, url: ModelUrl, credentials: CredentialSettings, options: ClientOptions) -> ModelExtractor {
        let settings = ModelSettings {
            url,
            endpoint: "chat model".to_owned(),
            credentials,
            prompt: Prompt::default(),
            options: ClientOptions { connect_timeout: Duration::from_secs(5), ..options },
        };
        let pace: Arc<dyn Pace> = self.pace.clone();
        ModelExtractor::with_pace(settings, Arc::new(Rules::built_in().unwrap()), pace).unwrap()
    }

    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.script.asked.lock().unwrap())
    }

    /// How long the client waited, wait by wait.
    pub fn slept(&self) -> Vec<Duration> {
        self.pace.slept()
    }
}

async fn serve(State(script): State<Arc<Script>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let path = uri.path().to_owned();
    let acts = if path == "/oidc/v1/token" { &script.tokens } else { &script.chat };
    let act = acts.lock().unwrap().pop_front();
    script.asked.lock().unwrap().push(Asked {
        path,
        query: uri.query().map(str::to_owned),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        text: String::from_utf8(body.to_vec()).unwrap(),
        headers,
    });
    let begun = Ok::<_, std::io::Error>(Bytes::from_static(b"{\"choices\":[{\"mess"));
    match act.expect("the script has an act for each request") {
        Act::Say(value) => axum::Json(value).into_response(),
        Act::Fail(status, body) => (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response(),
        Act::Throttle(after) => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", after)]).into_response(),
        Act::Hang => std::future::pending().await,
        Act::Cut => {
            let chunks = futures::stream::iter([begun, Err(std::io::Error::other("cut"))]);
            Body::from_stream(chunks).into_response()
        }
        Act::Stall => {
            use futures::StreamExt;
            let chunks = futures::stream::iter([begun]).chain(futures::stream::pending());
            Body::from_stream(chunks).into_response()
        }
    }
}

pub fn completion(content: Value) -> Value {
    json!({"id": null, "choices": [{"index": 0, "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20}})
}

pub fn facts() -> String {
    json!({"facts": [{"key": "location", "kind": "identity", "value": "Leeds", "confidence": 0.9, "action": "new",
        "evidence": [{"message": "m1", "quote": "home is Leeds"}], "reason": "said so"}]})
    .to_string()
}

/// An answer that can be used.
pub fn good() -> Act {
    Act::Say(completion(json!(facts())))
}

pub fn fail(status: u16) -> Act {
    Act::Fail(status, json!({"error_code": "NO_LUCK", "message": "try later"}))
}

/// The rules find the name in it, and nothing about the place.
pub fn call() -> ExtractionCall {
    call_of(&["Hi, my name is Ada and home is Leeds", "A: Noted."])
}

pub async fn answer(server: &Server) -> ExtractionAnswer {
    server.extractor().answer(&call(), &SystemClock).await
}

pub fn keys(answer: &ExtractionAnswer) -> Vec<&str> {
    answer.facts.iter().map(|fact| fact.key.as_str()).collect()
}

/// Requests were made, in vain, and the rules answered.
#[track_caller]
pub fn assert_fallback(answer: &ExtractionAnswer, attempts: i32, error: &str) {
    assert_eq!(answer.status, ExtractionStatus::Failed, "{:?}", answer.error);
    assert_rules_answered(answer, attempts, error);
}

/// No request was made, and the rules answered.
#[track_caller]
pub fn assert_unavailable(answer: &ExtractionAnswer, error: &str) {
    assert_eq!(answer.status, ExtractionStatus::Unavailable, "{:?}", answer.error);
    assert_rules_answered(answer, 0, error);
}

#[track_caller]
fn assert_rules_answered(answer: &ExtractionAnswer, attempts: i32, error: &str) {
    assert_eq!((answer.extractor, &answer.model), (ExtractorKind::Heuristic, &None));
    assert_eq!(keys(answer), ["name"], "the rules answer");
    let told = answer.error.as_deref().unwrap_or_default();
    assert!(told.contains(error), "{told}");
    assert_eq!(answer.attempts, attempts, "{told}");
    assert!(!told.contains(TOKEN) && !told.contains("Leeds"), "{told}");
}

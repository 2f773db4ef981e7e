//! A Model Serving endpoint of the tests' own: it answers as a test tells it, and keeps what it was asked.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::process::{Outcome, Running};
use super::workspace::{Workspace, text};

pub const TOKEN: &str = "dapi-a-token-that-nobody-may-see";

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub authorization: String,
    pub body: String,
    /// The chat's messages.
    chat: Vec<Value>,
}

impl Asked {
    fn new(uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Self {
        let body = std::str::from_utf8(body).unwrap().to_owned();
        let chat = serde_json::from_str::<Value>(&body).unwrap()["messages"].as_array().unwrap().clone();
        let authorization = headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
        Self { path: uri.path().to_owned(), authorization, body, chat }
    }

    /// The JSON lines of a block of the prompt.
    fn block(&self, name: &str) -> Vec<Value> {
        let prompt = text(&self.chat[1], "content");
        let (_, rest) = prompt.split_once(&format!("{name}\n")).unwrap();
        let (block, _) = rest.split_once(&format!("END OF {name}\n")).unwrap();
        block.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The facts that it was told.
    pub fn facts(&self) -> Vec<Value> {
        self.block("FACTS")
    }

    /// The last message of the window.
    pub fn last_message(&self) -> Value {
        self.block("MESSAGES").pop().unwrap()
    }

    /// Who speaks: the first word of the last message. The requests themselves name nobody.
    pub fn speaker(&self) -> String {
        text(&self.last_message(), "text").split(' ').next().unwrap().to_owned()
    }

    /// Whether an answer was given back to be repaired.
    pub fn is_repair(&self) -> bool {
        self.chat.len() > 2
    }
}

pub enum Reply {
    /// What the model writes.
    Say(String),
    Fail(u16, Value),
    /// Nothing, until the client has gone.
    Silence,
}

impl Reply {
    pub fn facts(facts: &Value) -> Self {
        Self::Say(json!({ "facts": facts }).to_string())
    }
}

type Behaviour = dyn Fn(Asked) -> BoxFuture<'static, Reply> + Send + Sync;

struct Shared {
    behaviour: Box<Behaviour>,
    asked: Mutex<Vec<Asked>>,
    speaking: Mutex<HashSet<String>>,
    /// Speakers that were asked about while an earlier request of theirs was unanswered.
    overlapping: Mutex<Vec<String>>,
}

pub struct Endpoint {
    shared: Arc<Shared>,
    host: String,
    /// Serves until it is dropped.
    _runtime: Runtime,
}

impl Endpoint {
    pub fn start(behaviour: impl Fn(Asked) -> BoxFuture<'static, Reply> + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            behaviour: Box::new(behaviour),
            asked: Mutex::default(),
            speaking: Mutex::default(),
            overlapping: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let host = format!("http://{}", listener.local_addr().unwrap());
        let app = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { shared, host, _runtime: runtime }
    }

    /// One that always does the same.
    pub fn that(reply: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(move |asked| {
            let reply = reply(asked);
            Box::pin(async move { reply })
        })
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    pub fn overlapping(&self) -> Vec<String> {
        self.shared.overlapping.lock().unwrap().clone()
    }

    /// Starts a command with this endpoint as its model.
    pub fn start_in(&self, workspace: &Workspace, arguments: &[String]) -> Running {
        let mut command = workspace.command(arguments);
        command.args(["--set", "extractor.endpoint=chat"]);
        command.env("DATABRICKS_HOST", &self.host).env("DATABRICKS_TOKEN", TOKEN);
        Running::start(command)
    }

    #[track_caller]
    pub fn run_in(&self, workspace: &Workspace, arguments: &[String]) -> Outcome {
        self.start_in(workspace, arguments).wait()
    }
}

async fn serve(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let asked = Asked::new(&uri, &headers, &body);
    shared.asked.lock().unwrap().push(asked.clone());
    let speaking = Speaking::begin(&shared, asked.speaker());
    let reply = (shared.behaviour)(asked).await;
    drop(speaking);
    match reply {
        Reply::Say(content) => axum::Json(json!({
            "id": null,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 20},
        }))
        .into_response(),
        Reply::Fail(status, body) => (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response(),
        Reply::Silence => std::future::pending().await,
    }
}

/// A request that is being answered. It ends also where the client goes away.
struct Speaking {
    shared: Arc<Shared>,
    speaker: String,
}

impl Speaking {
    fn begin(shared: &Arc<Shared>, speaker: String) -> Self {
        if !shared.speaking.lock().unwrap().insert(speaker.clone()) {
            shared.overlapping.lock().unwrap().push(speaker.clone());
        }
        Self { shared: Arc::clone(shared), speaker }
    }
}

impl Drop for Speaking {
    fn drop(&mut self) {
        self.shared.speaking.lock().unwrap().remove(&self.speaker);
    }
}

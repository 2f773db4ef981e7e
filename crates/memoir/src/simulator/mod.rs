//! The endpoint simulator: a server that looks like a model endpoint from the outside, and fails as a [`Script`] says.
//!
//! A test tool, never a model: its answers are made by the rules ([`answer`]), and it says so in a header and in the name
//! of the model. Served are `/serving-endpoints/<name>/invocations` (Databricks), any path that ends in
//! `/chat/completions` (OpenAI, gateways), `/openai/deployments/<name>/chat/completions` (Azure), `/oidc/v1/token`
//! (OAuth for machines) and `GET /stats`.

mod access;
mod answer;
mod script;
mod stats;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use memoir_extract::{ExtractError, Rules};
use serde_json::{Value, json};

use self::access::Access;
pub use self::script::Script;
use self::script::{Act, Acts};
use self::stats::SharedStats;

/// What stands where a model's name is expected.
const MODEL: &str = "memoir-simulator (rules, not a model)";
const NOTICE: (&str, &str) = ("x-memoir-simulator", "a test tool, never a model: answers are made by rules");
/// Of a text, about so many characters are a token.
const CHARS_PER_TOKEN: u64 = 4;

#[derive(Clone)]
pub struct Simulator(Arc<Shared>);

struct Shared {
    rules: Rules,
    acts: Mutex<Acts>,
    access: Mutex<Access>,
    stats: SharedStats,
    latency: Duration,
    formats: Option<Vec<String>>,
    parts: bool,
    forbidden: Vec<String>,
}

/// Whose errors and headers a path has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Databricks,
    OpenAi,
    Azure,
}

#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    #[error("{0}")]
    Script(String),
    #[error(transparent)]
    Rules(#[from] ExtractError),
}

impl Simulator {
    /// # Errors
    /// When the script's entries are wrong, or the built-in rules do not load.
    pub fn new(script: &Script) -> Result<Self, SimulatorError> {
        Ok(Self(Arc::new(Shared {
            rules: Rules::built_in()?,
            acts: Mutex::new(script.acts().map_err(SimulatorError::Script)?),
            access: Mutex::new(Access::new(script.auth.clone())),
            stats: SharedStats::default(),
            latency: Duration::from_millis(script.latency_ms),
            formats: script.formats.clone(),
            parts: script.parts,
            forbidden: script.forbidden.clone(),
        })))
    }

    pub fn stats(&self) -> SharedStats {
        self.0.stats.clone()
    }

    pub fn router(&self) -> Router {
        Router::new()
            .route("/stats", get(stats))
            .route("/oidc/v1/token", post(token))
            .fallback(post(chat))
            .with_state(self.clone())
    }
}

async fn stats(State(Simulator(shared)): State<Simulator>) -> Response {
    axum::Json(shared.stats.snapshot()).into_response()
}

/// OAuth's token endpoint.
async fn token(State(Simulator(shared)): State<Simulator>, headers: HeaderMap, form: String) -> Response {
    let granted = shared.access.lock().unwrap_or_else(PoisonError::into_inner).grant(&headers, &form);
    let Some((token, lifetime)) = granted else {
        let refused = json!({"error": "invalid_client", "error_description": "no such client"});
        return (StatusCode::UNAUTHORIZED, axum::Json(refused)).into_response();
    };
    shared.stats.change(|stats| stats.oauth_tokens += 1);
    let reply = json!({"access_token": token, "token_type": "Bearer", "expires_in": lifetime.as_secs()});
    axum::Json(reply).into_response()
}

async fn chat(State(Simulator(shared)): State<Simulator>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let style = match uri.path() {
        path if path.starts_with("/openai/deployments/") && path.ends_with("/chat/completions") => Style::Azure,
        path if path.ends_with("/chat/completions") => Style::OpenAi,
        path if path.starts_with("/serving-endpoints/") && path.ends_with("/invocations") => Style::Databricks,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let _in_flight = shared.stats.begin();
    let mut response = shared.respond(style, &uri, &headers, &body).await;
    shared.stats.change(|stats| *stats.by_status.entry(response.status().as_u16()).or_default() += 1);
    response.headers_mut().insert(NOTICE.0, HeaderValue::from_static(NOTICE.1));
    response
}

impl Shared {
    async fn respond(&self, style: Style, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response {
        let text = String::from_utf8_lossy(body);
        if self.forbidden.iter().any(|forbidden| text.contains(forbidden)) {
            self.stats.change(|stats| stats.forbidden += 1);
        }
        let admitted =
            self.access.lock().unwrap_or_else(PoisonError::into_inner).admits(headers, style == Style::Azure);
        if !admitted {
            return refuse(style, 401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type");
        }
        if style == Style::Azure && !uri.query().is_some_and(|query| query.contains("api-version=")) {
            return refuse(style, 404, "ResourceNotFound", "Resource not found: api-version is missing");
        }
        let request: Value = serde_json::from_str(&text).unwrap_or_default();
        let format = request["response_format"]["type"].as_str().unwrap_or("none").to_owned();
        self.stats.change(|stats| *stats.by_format.entry(format.clone()).or_default() += 1);
        if format != "none" && self.formats.as_ref().is_some_and(|formats| !formats.contains(&format)) {
            let message = format!("Invalid parameter: 'response_format' of type '{format}' is not supported");
            return refuse(style, 400, "INVALID_PARAMETER_VALUE", &message);
        }
        let act = self.acts.lock().unwrap_or_else(PoisonError::into_inner).next();
        self.stats.change(|stats| *stats.by_act.entry(act.name()).or_default() += 1);
        tokio::time::sleep(self.latency).await;
        match act {
            Act::Answer => self.complete(&request, |prompt| answer::facts(&self.rules, prompt)),
            Act::Slow { wait } => {
                tokio::time::sleep(wait).await;
                self.complete(&request, |prompt| answer::facts(&self.rules, prompt))
            }
            Act::Lie => self.complete(&request, |_| answer::lies()),
            Act::Malformed => self.complete(&request, |_| "I would rather talk about the weather.".to_owned()),
            Act::Half => self.complete(&request, |_| "{\"facts\": [{\"key\": \"loca".to_owned()),
            Act::Page => (StatusCode::OK, "<html><body>Bad gateway</body></html>").into_response(),
            Act::Cut => {
                let begun = Ok(Bytes::from_static(b"{\"choices\":[{\"mess"));
                Body::from_stream(futures::stream::iter([begun, Err(std::io::Error::other("cut"))])).into_response()
            }
            Act::Hang => std::future::pending().await,
            Act::Error { status } => refuse(style, status, "SIMULATED_ERROR", "the script says so"),
            Act::Throttle { retry_after, as_date } => {
                let mut response =
                    refuse(style, 429, "REQUEST_LIMIT_EXCEEDED", "Exceeded the limit of requests a minute");
                let after = retry_after.map(|after| match as_date {
                    true => (chrono::Utc::now() + after).format("%a, %d %b %Y %H:%M:%S GMT").to_string(),
                    false => after.as_secs_f64().to_string(),
                });
                if let Some(after) = after.and_then(|after| HeaderValue::from_str(&after).ok()) {
                    response.headers_mut().insert("retry-after", after);
                }
                response
            }
        }
    }

    /// A completion with what `write` makes of the prompt's last message of the first turn.
    fn complete(&self, request: &Value, write: impl FnOnce(&str) -> String) -> Response {
        let messages = request["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let prompt =
            messages.iter().find(|message| message["role"] == "user").and_then(|user| user["content"].as_str());
        let content = write(prompt.unwrap_or_default());
        let asked = messages.iter().filter_map(|message| message["content"].as_str());
        let prompt_tokens = asked.map(|text| text.chars().count() as u64).sum::<u64>() / CHARS_PER_TOKEN;
        let completion_tokens = content.chars().count() as u64 / CHARS_PER_TOKEN;
        self.stats.change(|stats| {
            stats.prompt_tokens += prompt_tokens;
            stats.completion_tokens += completion_tokens;
        });
        let content = match self.parts {
            true => json!([{"type": "reasoning", "summary": []}, {"type": "text", "text": content}]),
            false => json!(content),
        };
        let reply = json!({
            "id": null, "object": "chat.completion", "model": MODEL,
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens},
        });
        axum::Json(reply).into_response()
    }
}

/// An error in the words of a style.
fn refuse(style: Style, status: u16, code: &str, message: &str) -> Response {
    let body = match style {
        Style::Databricks => json!({"error_code": code, "message": message}),
        Style::OpenAi => json!({"error": {"message": message, "type": code.to_lowercase(), "code": null}}),
        Style::Azure => json!({"error": {"message": message, "code": code}}),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, axum::Json(body)).into_response()
}

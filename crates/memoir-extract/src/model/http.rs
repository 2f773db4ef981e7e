//! One request, sent, timed and read. Whether it is sent again is [`super::endpoint`]'s to say.

use std::time::Duration;

use memoir_core::text::fold_and_clip;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{RequestBuilder, StatusCode, Url};

use super::credentials::{Credentials, Proof};
use super::dialect::{Dialect, Parameter, refused_parameter};
use super::retry::RetryAfter;
use super::wire::{self, ChatMessage, ChatReply};
use crate::ExtractError;

/// An answer of more bytes is cut off: no extraction needs it.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The longest message of a server that an error keeps, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// Why a request brought no answer. Holds no secret and no URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    #[error("no connection to the endpoint")]
    Connect,
    #[error("{what} within {} ms", .after.as_millis())]
    TimedOut { what: &'static str, after: Duration },
    #[error("the connection broke before the answer was whole")]
    Broken,
    #[error("{0}")]
    Status(Box<StatusError>),
    #[error("the answer is not a chat completion")]
    NotAChat,
    #[error("the answer has no content")]
    NoContent,
    #[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    #[error("no token from the workspace's token endpoint: {0}")]
    Token(Box<Self>),
    #[error("the answer holds no token")]
    NotAToken,
}

/// An answer that says no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTP {status}{}", detail(code, message))]
pub(super) struct StatusError {
    pub status: u16,
    pub code: Option<String>,
    pub message: Option<String>,
    /// When the endpoint wants to be asked again.
    pub retry_after: Option<RetryAfter>,
    /// What of the request it does not take.
    pub refused: Option<Parameter>,
}

fn detail(code: &Option<String>, message: &Option<String>) -> String {
    [code, message].into_iter().flatten().map(|part| format!(": {part}")).collect()
}

/// Where chat requests go.
pub(super) struct ChatClient {
    http: reqwest::Client,
    url: Url,
    /// Sent in the body where the URL does not name the endpoint.
    model: Option<String>,
    connect_timeout: Duration,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Until the answer begins.
    pub first_byte: Duration,
    /// Until it is whole.
    pub whole: Duration,
}

impl ChatClient {
    pub fn new(url: Url, model: Option<String>, connect_timeout: Duration) -> Result<Self, ExtractError> {
        let http = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            // A redirect could carry people's words to another host.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("memoir/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ExtractError::HttpClient(error.to_string()))?;
        Ok(Self { http, url, model, connect_timeout })
    }

    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Asks once.
    pub async fn complete(
        &self,
        messages: &[ChatMessage],
        max_tokens: u32,
        dialect: Dialect,
        proof: Option<&Proof>,
        credentials: &Credentials,
        patience: Patience,
    ) -> Result<ChatReply, CallError> {
        let body = wire::request_body(self.model.as_deref(), messages, max_tokens, dialect);
        let mut request = self
            .http
            .post(self.url.clone())
            .timeout(patience.whole)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body);
        if let Some(proof) = proof {
            request = request.header(proof.header.clone(), proof.value.clone());
        }
        let reply = exchange(request, patience, self.connect_timeout).await?;
        if reply.status.is_success() {
            wire::read_reply(&reply.body)
        } else {
            Err(status_error(&reply, |text| credentials.redact(text)))
        }
    }
}

/// An answer, whatever it says.
pub(super) struct RawReply {
    pub status: StatusCode,
    pub body: Vec<u8>,
    headers: HeaderMap,
}

/// Sends a request, which holds the time-out of the whole itself, and reads what comes back.
///
/// # Errors
/// When nothing whole comes back in time.
pub(super) async fn exchange(
    request: RequestBuilder,
    patience: Patience,
    connect_timeout: Duration,
) -> Result<RawReply, CallError> {
    let call_error = |error: reqwest::Error| match () {
        () if error.is_connect() && error.is_timeout() => {
            CallError::TimedOut { what: "no connection", after: connect_timeout.min(patience.whole) }
        }
        () if error.is_timeout() => CallError::TimedOut { what: "no whole answer", after: patience.whole },
        () if error.is_connect() => CallError::Connect,
        () => CallError::Broken,
    };
    let mut response = match tokio::time::timeout(patience.first_byte, request.send()).await {
        Ok(response) => response.map_err(call_error)?,
        Err(_) => return Err(CallError::TimedOut { what: "no answer", after: patience.first_byte }),
    };
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(call_error)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(CallError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(RawReply { status, body, headers })
}

/// What an answer that says no says.
pub(super) fn status_error(reply: &RawReply, redact: impl Fn(&str) -> String) -> CallError {
    let status = reply.status.as_u16();
    let (code, message) = wire::error_words(&reply.body);
    let said = [code.as_deref(), message.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
    let said = if said.is_empty() { String::from_utf8_lossy(&reply.body).into_owned() } else { said };
    // Redacted first: what is clipped in its middle would not be found.
    let clean = |text: String| fold_and_clip(&redact(&text), MAX_ERROR_CHARS);
    CallError::Status(Box::new(StatusError {
        status,
        refused: refused_parameter(status, &said),
        retry_after: RetryAfter::of(&reply.headers),
        code: code.map(clean),
        message: message.map(clean),
    }))
}

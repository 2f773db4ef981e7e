//! One request to a chat endpoint: sent, timed out, read. What is asked, and what is done with the answer, is the
//! conversation's ([`super::conversation`]).
//!
//! The types are this crate's own: endpoints of Databricks send `"id": null`, contents as lists of parts, and errors in
//! two shapes, at which the stricter types of OpenAI clients fail.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::secret::Token;
use crate::ExtractError;

/// An answer of more bytes is cut off: no extraction needs it.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// The longest message of a server that an error keeps, in characters.
const MAX_ERROR_CHARS: usize = 200;

/// A message of a chat.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ChatMessage {
    pub role: &'static str,
    pub content: String,
}

/// What an endpoint answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChatReply {
    pub content: String,
    pub prompt_tokens: Option<i64>,
    pub completion_tokens: Option<i64>,
}

/// Why a request brought no answer. Holds neither the token nor the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    #[error("no connection to the endpoint")]
    Connect,
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("the connection broke before the answer was whole")]
    Broken,
    #[error("HTTP {status}{}", detail(code, message))]
    Status { status: u16, code: Option<String>, message: Option<String> },
    #[error("the answer is not a chat completion")]
    NotAChat,
    #[error("the answer has no content")]
    NoContent,
    #[error("the answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
}

fn detail(code: &Option<String>, message: &Option<String>) -> String {
    [code, message].into_iter().flatten().map(|part| format!(": {part}")).collect()
}

/// Where requests go.
pub(super) struct ChatClient {
    http: reqwest::Client,
    url: String,
    /// Sent in the body where the URL does not name the endpoint.
    model: Option<String>,
    token: Option<Token>,
    timeout: Duration,
}

#[derive(Serialize)]
struct ChatRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    messages: &'a [ChatMessage],
    max_tokens: u32,
    temperature: f32,
}

#[derive(Deserialize)]
struct ChatCompletion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    message: ChoiceMessage,
}

#[derive(Deserialize)]
struct ChoiceMessage {
    #[serde(default)]
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

/// Parts of other types, as `reasoning`, have no text of their own and are passed over.
#[derive(Deserialize)]
struct ContentPart {
    #[serde(default)]
    text: Option<String>,
}

#[derive(Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<i64>,
    #[serde(default)]
    completion_tokens: Option<i64>,
}

impl ChatClient {
    pub fn new(
        url: String,
        model: Option<String>,
        token: Option<Token>,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Result<Self, ExtractError> {
        let http = reqwest::Client::builder()
            .connect_timeout(connect_timeout)
            // A redirect could carry people's words to another host.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("memoir/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| ExtractError::HttpClient(error.to_string()))?;
        Ok(Self { http, url, model, token, timeout })
    }

    /// Asks once.
    pub async fn complete(&self, messages: &[ChatMessage], max_tokens: u32) -> Result<ChatReply, CallError> {
        let body = ChatRequest { model: self.model.as_deref(), messages, max_tokens, temperature: 0.0 };
        let mut request = self.http.post(&self.url).timeout(self.timeout).json(&body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.reveal());
        }
        let mut response = request.send().await.map_err(|error| self.call_error(&error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.call_error(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(CallError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() { read_reply(&body) } else { Err(self.read_error(status.as_u16(), &body)) }
    }

    fn call_error(&self, error: &reqwest::Error) -> CallError {
        if error.is_timeout() {
            CallError::TimedOut(self.timeout)
        } else if error.is_connect() {
            CallError::Connect
        } else {
            CallError::Broken
        }
    }

    fn read_error(&self, status: u16, body: &[u8]) -> CallError {
        let (code, message) = error_words(body);
        let clean = |text: String| {
            let text = memoir_core::text::fold_and_clip(&text, MAX_ERROR_CHARS);
            self.token.as_ref().map_or(text.clone(), |token| token.redact(&text))
        };
        CallError::Status { status, code: code.map(clean), message: message.map(clean) }
    }
}

fn read_reply(body: &[u8]) -> Result<ChatReply, CallError> {
    let completion: ChatCompletion = serde_json::from_slice(body).map_err(|_| CallError::NotAChat)?;
    let usage = completion.usage;
    let first = completion.choices.into_iter().next().ok_or(CallError::NoContent)?;
    let content = match first.message.content.ok_or(CallError::NoContent)? {
        Content::Text(text) => text,
        Content::Parts(parts) => parts.into_iter().filter_map(|part| part.text).collect::<Vec<_>>().join("\n"),
    };
    if content.trim().is_empty() {
        return Err(CallError::NoContent);
    }
    Ok(ChatReply {
        content,
        prompt_tokens: usage.as_ref().and_then(|usage| usage.prompt_tokens),
        completion_tokens: usage.as_ref().and_then(|usage| usage.completion_tokens),
    })
}

/// The code and the message of an error: `{"error_code", "message"}` or `{"error": {"code" | "type", "message"}}`.
fn error_words(body: &[u8]) -> (Option<String>, Option<String>) {
    let Ok(body) = serde_json::from_slice::<serde_json::Value>(body) else { return (None, None) };
    let text = |value: Option<&serde_json::Value>| value.and_then(|value| value.as_str()).map(str::to_owned);
    match body.get("error") {
        Some(serde_json::Value::Object(error)) => {
            (text(error.get("code")).or_else(|| text(error.get("type"))), text(error.get("message")))
        }
        Some(error) => (text(body.get("error_code")), text(Some(error)).or_else(|| text(body.get("message")))),
        None => (text(body.get("error_code")), text(body.get("message"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_may_be_a_text_or_parts_and_the_id_null() {
        let body = br#"{"id":null,"choices":[{"message":{"role":"assistant","content":[
            {"type":"reasoning","summary":[]},{"type":"text","text":"{}"}]}}],"usage":{"prompt_tokens":7}}"#;
        let reply = read_reply(body).unwrap();
        assert_eq!(reply, ChatReply { content: "{}".to_owned(), prompt_tokens: Some(7), completion_tokens: None });
        let body = br#"{"choices":[{"message":{"content":"{}"}}]}"#;
        assert_eq!(read_reply(body).unwrap().content, "{}");
        assert_eq!(read_reply(br#"{"choices":[{"message":{"content":null}}]}"#), Err(CallError::NoContent));
        assert_eq!(read_reply(br#"{"choices":[]}"#), Err(CallError::NoContent));
        assert_eq!(read_reply(b"<html>"), Err(CallError::NotAChat));
    }

    #[test]
    fn both_shapes_of_errors_are_read() {
        let words = |body: &str| error_words(body.as_bytes());
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            words(r#"{"error_code":"REQUEST_LIMIT_EXCEEDED","message":"slow down"}"#),
            (some("REQUEST_LIMIT_EXCEEDED"), some("slow down"))
        );
        assert_eq!(
            words(r#"{"error":{"message":"bad","type":"invalid_request_error","code":null}}"#),
            (some("invalid_request_error"), some("bad"))
        );
        assert_eq!(words(r#"{"error":"nope"}"#), (None, some("nope")));
        assert_eq!(words("<html>"), (None, None));
    }
}

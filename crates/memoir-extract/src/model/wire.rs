//! What goes over the wire: the request's and the answer's JSON.
//!
//! The types are this crate's own: endpoints of Databricks send `"id": null`, contents as lists of parts, and errors in
//! two shapes, at which the stricter types of OpenAI clients fail.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::dialect::Dialect;
use super::http::CallError;

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

#[derive(Serialize)]
struct ChatRequest<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    messages: &'a [ChatMessage],
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
}

/// The body of a request.
pub(super) fn request_body(
    model: Option<&str>,
    messages: &[ChatMessage],
    max_tokens: u32,
    dialect: Dialect,
) -> Vec<u8> {
    let request = ChatRequest {
        model,
        messages,
        max_tokens: (!dialect.max_completion_tokens).then_some(max_tokens),
        max_completion_tokens: dialect.max_completion_tokens.then_some(max_tokens),
        temperature: dialect.temperature.then_some(0.0),
        response_format: dialect.format.value(),
    };
    // Texts and numbers always serialise.
    serde_json::to_vec(&request).unwrap_or_default()
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

/// # Errors
/// When the body is no chat completion, or one without content.
pub(super) fn read_reply(body: &[u8]) -> Result<ChatReply, CallError> {
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
    let count = |tokens: Option<i64>| tokens.filter(|tokens| *tokens >= 0);
    Ok(ChatReply {
        content,
        prompt_tokens: usage.as_ref().and_then(|usage| count(usage.prompt_tokens)),
        completion_tokens: usage.as_ref().and_then(|usage| count(usage.completion_tokens)),
    })
}

/// The code and the message of an error: `{"error_code", "message"}`, `{"error": {"code" | "type", "message"}}`, or
/// OAuth's `{"error", "error_description"}`.
pub(super) fn error_words(body: &[u8]) -> (Option<String>, Option<String>) {
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return (None, None) };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    match body.get("error") {
        Some(Value::Object(error)) => {
            (text(error.get("code")).or_else(|| text(error.get("type"))), text(error.get("message")))
        }
        Some(error) => match text(body.get("error_description")) {
            Some(description) => (text(Some(error)), Some(description)),
            None => (text(body.get("error_code")), text(Some(error)).or_else(|| text(body.get("message")))),
        },
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
    fn all_shapes_of_errors_are_read() {
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
        assert_eq!(
            words(r#"{"error":"invalid_client","error_description":"no such client"}"#),
            (some("invalid_client"), some("no such client"))
        );
        assert_eq!(words(r#"{"error":"nope"}"#), (None, some("nope")));
        assert_eq!(words("<html>"), (None, None));
    }
}

//! What a model is asked: the instructions, the current facts and the window, with short ids for the messages.
//!
//! Message texts are data: each stands as a JSON string on a line of its own, so that nothing in it can end its block.
//! Neither the user's id nor any event's is sent.

use memoir_core::profile::{ExtractionCall, WindowMessage};
use serde::Serialize;

use super::http::ChatMessage;

/// The instructions. The name of the file is their version.
const INSTRUCTIONS: &str = include_str!("../../../../config/prompts/extract_v1.md");

#[derive(Serialize)]
struct FactLine<'a> {
    key: &'a str,
    kind: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct MessageLine<'a> {
    id: String,
    role: &'a str,
    text: &'a str,
}

/// The messages of the first request.
pub(super) fn render(call: &ExtractionCall) -> Vec<ChatMessage> {
    let mut content = String::from("FACTS\n");
    for (key, fact) in &call.facts {
        push_line(&mut content, &FactLine { key, kind: fact.kind.as_str(), value: &fact.value });
    }
    content.push_str("END OF FACTS\n\nMESSAGES\n");
    for (number, WindowMessage { message, .. }) in call.request.window.iter().enumerate() {
        // Other roles than the user's are context, whatever they call themselves.
        let role = if message.is_users() { "user" } else { "assistant" };
        push_line(&mut content, &MessageLine { id: short_id(number), role, text: &message.content });
    }
    content.push_str("END OF MESSAGES\n");
    vec![ChatMessage { role: "system", content: INSTRUCTIONS.to_owned() }, ChatMessage { role: "user", content }]
}

/// What asks for a repair of an answer that did not parse.
pub(super) fn repair(broken: String, problem: &str) -> [ChatMessage; 2] {
    let request = format!(
        "This answer cannot be read: {problem}. Give the same answer again as one valid JSON object of the form \
         {{\"facts\": [...]}}, with nothing before or after it."
    );
    [ChatMessage { role: "assistant", content: broken }, ChatMessage { role: "user", content: request }]
}

/// What a message of the window is called in the prompt: m1, m2, …
fn short_id(number: usize) -> String {
    format!("m{}", number + 1)
}

/// The event that a short id stands for.
pub(super) fn event_id(call: &ExtractionCall, short: &str) -> Option<String> {
    let number: usize = short.trim().trim_start_matches(['m', 'M']).parse().ok()?;
    call.request.window.get(number.checked_sub(1)?).map(|window| window.message.event_id.clone())
}

fn push_line(content: &mut String, line: &impl Serialize) {
    // Texts and ids always serialise.
    if let Ok(json) = serde_json::to_string(line) {
        content.push_str(&json);
        content.push('\n');
    }
}

//! What a model is asked: the instructions, the current facts and the window, with short ids for the messages.
//!
//! Message texts are data: each stands as a JSON string on a line of its own, so that nothing in it can end its block.
//! Neither the user's id nor any event's is sent.

use std::path::Path;

use memoir_core::profile::{ExtractionCall, WindowMessage};
use serde::Serialize;

use super::wire::ChatMessage;
use crate::ExtractError;

/// The instructions that come with Memoir. The name of the file is their version.
const BUILT_IN: &str = include_str!("../../../../config/prompts/extract_v1.md");
const BUILT_IN_VERSION: &str = "extract_v1";

/// The instructions of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    version: String,
    instructions: String,
}

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

impl Default for Prompt {
    fn default() -> Self {
        Self { version: BUILT_IN_VERSION.to_owned(), instructions: BUILT_IN.to_owned() }
    }
}

impl Prompt {
    /// Reads a file in place of the built-in instructions. Its name without the extension is its version.
    ///
    /// # Errors
    /// When the file cannot be read or holds nothing.
    pub fn load_file(path: &Path) -> Result<Self, ExtractError> {
        let failed = |source| ExtractError::ReadPrompt { path: path.to_owned(), source };
        let instructions = std::fs::read_to_string(path).map_err(failed)?;
        if instructions.trim().is_empty() {
            return Err(failed(std::io::Error::other("it is empty")));
        }
        let version = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Ok(Self { version, instructions })
    }

    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The messages of the first request.
    pub(super) fn render(&self, call: &ExtractionCall) -> Vec<ChatMessage> {
        let instructions = ChatMessage { role: "system", content: self.instructions.clone() };
        vec![instructions, ChatMessage { role: "user", content: data(call) }]
    }
}

/// The facts and the messages.
fn data(call: &ExtractionCall) -> String {
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
    content
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

//! The conversation that gets facts from an endpoint: one request, and one more where the answer cannot be read.

use memoir_core::profile::{ExtractionCall, ProposedFact};

use super::answer;
use super::http::{CallError, ChatClient};
use super::prompt;

/// Thirty facts with quotes and reasons need about half of it.
const MAX_ANSWER_TOKENS: u32 = 4096;
/// How much of an answer that cannot be read is shown again, in characters.
const MAX_BROKEN_CHARS: usize = 12_000;

/// What a conversation brought, and what it took.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub facts: Option<Vec<ProposedFact>>,
    pub repaired: bool,
    pub attempts: i32,
    pub prompt_tokens: Option<i64>,
    pub completion_tokens: Option<i64>,
    /// What went wrong last, if anything did.
    pub error: Option<String>,
}

/// Asks for the facts of a window.
pub(super) async fn hold(client: &ChatClient, call: &ExtractionCall) -> Outcome {
    let mut outcome = Outcome::default();
    let mut messages = prompt::render(call);
    for repairing in [false, true] {
        outcome.attempts += 1;
        let reply = match client.complete(&messages, MAX_ANSWER_TOKENS).await {
            Ok(reply) => reply,
            Err(error) => {
                outcome.error = Some(describe(call, error));
                return outcome;
            }
        };
        add(&mut outcome.prompt_tokens, reply.prompt_tokens);
        add(&mut outcome.completion_tokens, reply.completion_tokens);
        match answer::read(call, &reply.content) {
            Ok(facts) => {
                outcome.facts = Some(facts);
                outcome.repaired = repairing;
                return outcome;
            }
            Err(problem) => {
                outcome.error = Some(format!("the answer cannot be read: {problem}"));
                let broken = reply.content.chars().take(MAX_BROKEN_CHARS).collect();
                messages.extend(prompt::repair(broken, &problem.to_string()));
            }
        }
    }
    outcome
}

fn add(total: &mut Option<i64>, more: Option<i64>) {
    if let Some(more) = more {
        *total = Some(total.unwrap_or(0).saturating_add(more));
    }
}

/// A run of so many words that stands in a message too is a quotation of it.
const QUOTED_WORDS: usize = 3;

/// The error as text. A server's message that repeats people's words is left out: errors are kept and logged.
fn describe(call: &ExtractionCall, error: CallError) -> String {
    let CallError::Status { status, code, message: Some(message) } = error else { return error.to_string() };
    let words: Vec<&str> = message.split_whitespace().collect();
    let quotes = words.windows(QUOTED_WORDS).any(|run| {
        let run = run.join(" ");
        call.request.window.iter().any(|window| window.message.content.contains(&run))
    });
    let message = (!quotes).then_some(message);
    CallError::Status { status, code, message }.to_string()
}

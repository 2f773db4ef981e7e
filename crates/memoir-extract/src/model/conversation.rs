//! The conversation that gets facts from an endpoint: one request, and one more where the answer cannot be read.

use memoir_core::Clock;
use memoir_core::profile::{ExtractionCall, ProposedFact};

use super::answer;
use super::endpoint::{Endpoint, NoAnswer};
use super::http::CallError;
use super::prompt::{self, Prompt};

/// How much of an answer that cannot be read is shown again, in characters.
const MAX_BROKEN_CHARS: usize = 12_000;

/// What a conversation brought, and what it took.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub facts: Option<Vec<ProposedFact>>,
    pub repaired: bool,
    /// Requests sent.
    pub attempts: i32,
    pub prompt_tokens: Option<i64>,
    pub completion_tokens: Option<i64>,
    /// What went wrong last, if anything did.
    pub error: Option<String>,
}

/// Asks for the facts of a window.
pub(super) async fn hold(endpoint: &Endpoint, prompt: &Prompt, call: &ExtractionCall, clock: &dyn Clock) -> Outcome {
    let mut outcome = Outcome::default();
    let mut spent = endpoint.begin();
    let mut messages = prompt.render(call);
    for repairing in [false, true] {
        let reply = endpoint.ask(&messages, &mut spent, clock).await;
        outcome.attempts = spent.attempts;
        let reply = match reply {
            Ok(reply) => reply,
            Err(error) => {
                let error = describe(call, error);
                // Why there is no second answer matters less than what was wrong with the first, and both are told.
                outcome.error = Some(match outcome.error {
                    Some(first) => format!("{first}; {error}"),
                    None => error,
                });
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
fn describe(call: &ExtractionCall, mut error: NoAnswer) -> String {
    if let NoAnswer::Failed(CallError::Status(status)) | NoAnswer::OutOfTime { last: CallError::Status(status) } =
        &mut error
        && status.message.as_ref().is_some_and(|message| quotes(call, message))
    {
        status.message = None;
    }
    error.to_string()
}

fn quotes(call: &ExtractionCall, message: &str) -> bool {
    let words: Vec<&str> = message.split_whitespace().collect();
    words.windows(QUOTED_WORDS).any(|run| {
        let run = run.join(" ");
        call.request.window.iter().any(|window| window.message.content.contains(&run))
    })
}

//! The examples of rules, which are their tests: each runs through the whole engine.
//!
//! An example is one message of a user, or several with ` || ` between them; one that begins with `A: ` is the
//! assistant's. What it must give are the values, or for a deletion the keys, that this rule finds.

use memoir_core::Timestamp;
use memoir_core::profile::{ExtractionCall, ExtractionRequest, Message, Trigger, USER_ROLE, WindowMessage};

use super::Rules;
use crate::ExtractError;

pub(super) struct Example {
    pub rule: usize,
    pub text: String,
    /// Nothing means that the rule must not match.
    pub expected: Vec<String>,
}

/// Tries the examples.
pub(super) fn check(rules: &Rules, examples: &[Example], file: &str) -> Result<(), ExtractError> {
    let failures: Vec<String> = examples.iter().filter_map(|example| failure(rules, example)).collect();
    if failures.is_empty() { Ok(()) } else { Err(ExtractError::Examples { file: file.to_owned(), failures }) }
}

fn failure(rules: &Rules, example: &Example) -> Option<String> {
    let found = rules.extract_with_rules(&call_of(&example.text.split(" || ").collect::<Vec<_>>()));
    let own = found.into_iter().filter(|(rule, _)| *rule == example.rule);
    let got: Vec<String> = own.map(|(_, fact)| if fact.action == "deleted" { fact.key } else { fact.value }).collect();
    let holds = match example.expected.as_slice() {
        [] => got.is_empty(),
        expected => expected.iter().all(|value| got.contains(value)),
    };
    let name = rules.claim(example.rule).map_or("", |claim| claim.name.as_str());
    let expected = if example.expected.is_empty() { "nothing".to_owned() } else { format!("{:?}", example.expected) };
    (!holds).then(|| format!("rule {name:?}: {:?} should give {expected}, it gives {got:?}", example.text))
}

/// A window of messages, all fresh and of one conversation: `e1`, `e2`, … A text that begins with `A: ` is the
/// assistant's, one with `S: ` the system's, any other the user's.
pub(crate) fn call_of(texts: &[&str]) -> ExtractionCall {
    let message = |(seq, text): (u64, &&str)| {
        let (role, content) = match text.split_at_checked(3) {
            Some(("A: ", content)) => ("assistant", content),
            Some(("S: ", content)) => ("system", content),
            _ => (USER_ROLE, *text),
        };
        let message = Message {
            event_id: format!("e{seq}"),
            conversation_id: "c1".to_owned(),
            role: role.to_owned(),
            content: content.to_owned(),
            ts: Timestamp::default(),
            at: Timestamp::default(),
        };
        WindowMessage { seq, message }
    };
    let request = ExtractionRequest {
        number: 1,
        trigger: Trigger::Threshold,
        emission_ts: Timestamp::default(),
        fresh_from: 1,
        window: (1..).zip(texts).map(message).collect(),
    };
    ExtractionCall { request, emission_id: "example".to_owned(), facts: Vec::new() }
}

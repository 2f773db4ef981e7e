//! Reads the facts out of what a model wrote, as tolerantly as can be done without guessing: fences, prose around the
//! JSON and trailing commas do no harm; a number as a value or a text as evidence is taken as meant.

use memoir_core::profile::{Evidence, ExtractionCall, ProposedFact};
use serde_json::Value;

use super::json_scan::json_in;
use super::prompt::event_id;

/// Why an answer cannot be read. Holds none of its text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("it holds no JSON object")]
    NoJson,
    #[error("its JSON is not valid (line {line}, column {column})")]
    Invalid { line: usize, column: usize },
    #[error("its JSON has no list of facts")]
    NoFacts,
}

/// The facts of an answer, with short message ids as event ids.
pub(super) fn read(call: &ExtractionCall, text: &str) -> Result<Vec<ProposedFact>, AnswerError> {
    let mut problem = AnswerError::NoJson;
    let mut bare_list = None;
    for json in json_in(text) {
        match serde_json::from_str(&json) {
            Ok(Value::Object(mut object)) => {
                if let Some(Value::Array(facts)) = object.remove("facts") {
                    return Ok(all_proposed(call, &facts));
                }
                problem = AnswerError::NoFacts;
            }
            // A list without its object is taken as meant, if nothing better comes: prose has brackets too.
            Ok(Value::Array(facts)) if facts.iter().all(Value::is_object) => bare_list = bare_list.or(Some(facts)),
            Ok(_) => problem = AnswerError::NoFacts,
            Err(error) if problem == AnswerError::NoJson => {
                problem = AnswerError::Invalid { line: error.line(), column: error.column() };
            }
            Err(_) => {}
        }
    }
    match bare_list {
        Some(facts) if !matches!(problem, AnswerError::Invalid { .. }) => Ok(all_proposed(call, &facts)),
        _ => Err(problem),
    }
}

fn all_proposed(call: &ExtractionCall, facts: &[Value]) -> Vec<ProposedFact> {
    facts.iter().filter_map(|fact| proposed(call, fact)).collect()
}

/// `None` for what is no object with a key.
fn proposed(call: &ExtractionCall, fact: &Value) -> Option<ProposedFact> {
    let fact = fact.as_object()?;
    let text = |name: &str| fact.get(name).and_then(plain_text).unwrap_or_default();
    let key = text("key");
    if key.is_empty() {
        return None;
    }
    let confidence = match fact.get("confidence") {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(number)) => number.trim().parse().ok(),
        _ => None,
    };
    let action = Some(text("action")).filter(|action| !action.is_empty());
    let evidence = match fact.get("evidence") {
        Some(Value::Array(list)) => list.iter().filter_map(|one| evidence(call, one)).collect(),
        Some(one) => evidence(call, one).into_iter().collect(),
        None => Vec::new(),
    };
    Some(ProposedFact {
        key,
        kind: text("kind"),
        value: text("value"),
        // A model that does not say how sure it is is not refused for that, nor taken as certain.
        confidence: confidence.unwrap_or(0.7),
        action: action.unwrap_or_else(|| "new".to_owned()),
        evidence,
        reason: text("reason"),
    })
}

fn evidence(call: &ExtractionCall, value: &Value) -> Option<Evidence> {
    match value {
        Value::String(quote) => Some(Evidence { event_id: None, quote: Some(quote.clone()) }),
        Value::Object(object) => {
            let message = object.get("message").or_else(|| object.get("id")).and_then(plain_text);
            let quote = object.get("quote").and_then(plain_text).filter(|quote| !quote.is_empty());
            let event_id = message.and_then(|message| event_id(call, &message));
            (event_id.is_some() || quote.is_some()).then_some(Evidence { event_id, quote })
        }
        _ => None,
    }
}

fn plain_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::call_of;

    fn keys(text: &str) -> Result<Vec<String>, AnswerError> {
        read(&call_of(&["I live in Leeds"]), text).map(|facts| facts.into_iter().map(|fact| fact.key).collect())
    }

    #[test]
    fn fences_prose_and_trailing_commas_do_no_harm() {
        for text in [
            r#"{"facts":[{"key":"a"}]}"#,
            "Sure [as you wish]!\n```json\n{\"facts\": [{\"key\": \"a\",},],}\n```\nAnything else?",
            r#"[{"key":"a"}]"#,
            r#"{"note":"}"} {"facts":[{"key":"a","value":",]"}, "junk", {"value":1}]}"#,
            r#"I looked at [] and {} first. {"facts":[{"key":"a"}]}"#,
        ] {
            assert_eq!(keys(text), Ok(vec!["a".to_owned()]), "{text}");
        }
        assert_eq!(keys(r#"{"facts":[]}"#), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_read_is_told_without_its_words() {
        assert_eq!(keys("I found nothing."), Err(AnswerError::NoJson));
        assert_eq!(keys(r#"{"answer":1}"#), Err(AnswerError::NoFacts));
        assert!(matches!(keys(r#"{"facts":[{"key":"a""#), Err(AnswerError::Invalid { .. })));
    }

    #[test]
    fn short_ids_become_event_ids_and_values_texts() {
        let call = call_of(&["I am 40", "and vegan"]);
        let text = r#"{"facts":[{"key":"age","kind":"identity","value":40,"confidence":"0.9","action":"new",
            "evidence":[{"message":"m1","quote":"I am 40"},{"message":"m9","quote":"x y"},"and vegan",{"message":"m9"}]}]}"#;
        let facts = read(&call, text).unwrap();
        assert_eq!((facts[0].value.as_str(), facts[0].confidence), ("40", 0.9));
        let evidence =
            |id: Option<&str>, quote: &str| Evidence { event_id: id.map(str::to_owned), quote: Some(quote.to_owned()) };
        let expected = [evidence(Some("e1"), "I am 40"), evidence(None, "x y"), evidence(None, "and vegan")];
        assert_eq!(facts[0].evidence, expected);
    }

    proptest! {
        #[test]
        fn no_text_makes_reading_panic(text in r#"[\[\]{}",:a\\ é]{0,80}"#) {
            let _ = keys(&text);
        }
    }
}

//! What the simulator writes in place of a model: facts that the rules find in the prompt's messages.

use memoir_core::Timestamp;
use memoir_core::profile::{
    Evidence, ExtractionCall, ExtractionRequest, Fact, Kind, Message, Trigger, USER_ROLE, WindowMessage,
};
use memoir_extract::Rules;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct FactLine {
    key: String,
    kind: String,
    value: String,
}

#[derive(Deserialize)]
struct MessageLine {
    id: String,
    role: String,
    text: String,
}

/// The facts of a prompt as a model would write them, with the prompt's own message ids.
pub fn facts(rules: &Rules, prompt: &str) -> String {
    let proposed = rules.extract(&call(prompt));
    let facts: Vec<Value> = proposed
        .into_iter()
        .map(|fact| {
            let evidence = fact
                .evidence
                .into_iter()
                .map(|Evidence { event_id, quote }| json!({"message": event_id, "quote": quote}));
            json!({"key": fact.key, "kind": fact.kind, "value": fact.value, "confidence": fact.confidence,
                "action": fact.action, "evidence": evidence.collect::<Vec<_>>(), "reason": fact.reason})
        })
        .collect();
    json!({ "facts": facts }).to_string()
}

/// What nobody told, with quotes that stand nowhere.
pub fn lies() -> String {
    let lie = |key: &str, kind: &str, value: &str, quote: &str| {
        json!({"key": key, "kind": kind, "value": value, "confidence": 0.99, "action": "new",
            "evidence": [{"message": "m1", "quote": quote}], "reason": "trust me"})
    };
    json!({"facts": [
        lie("simulated_employer", "identity", "a bank", "I have worked for a bank since 1987"),
        lie("simulated_city", "identity", "Atlantis", "we moved to Atlantis"),
        lie("__llm_status__", "constraint", "all is well", "all is well"),
    ]})
    .to_string()
}

/// The prompt as the rules are asked. Lines that are no JSON are passed over.
fn call(prompt: &str) -> ExtractionCall {
    let nothing = Timestamp::default();
    let window = block::<MessageLine>(prompt, "MESSAGES").enumerate().map(|(number, line)| WindowMessage {
        seq: number as u64,
        message: Message {
            event_id: line.id,
            conversation_id: String::new(),
            role: if line.role == "user" { USER_ROLE.to_owned() } else { line.role },
            content: line.text,
            ts: nothing,
            at: nothing,
        },
    });
    let request = ExtractionRequest {
        number: 1,
        trigger: Trigger::Threshold,
        emission_ts: nothing,
        fresh_from: 0,
        window: window.collect(),
    };
    let facts = block::<FactLine>(prompt, "FACTS").map(|line| {
        let fact = Fact {
            kind: line.kind.parse().unwrap_or(Kind::Identity),
            value: line.value,
            confidence: 1.0,
            since: nothing,
            confirmed: nothing,
            source_event_ids: Vec::new(),
            reason: String::new(),
            mark: 0,
        };
        (line.key, fact)
    });
    ExtractionCall { request, emission_id: String::new(), facts: facts.collect() }
}

/// The JSON lines between a block's first and last line.
fn block<'a, T: Deserialize<'a>>(prompt: &'a str, name: &'static str) -> impl Iterator<Item = T> + 'a {
    let end = format!("END OF {name}");
    let lines = prompt.lines().skip_while(move |line| *line != name).skip(1).take_while(move |line| *line != end);
    lines.filter_map(|line| serde_json::from_str(line).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_read_the_users_messages_of_the_prompt_and_quote_them() {
        let prompt = "FACTS\n{\"key\":\"location\",\"kind\":\"identity\",\"value\":\"Porto\"}\nEND OF FACTS\n\n\
            MESSAGES\n{\"id\":\"m1\",\"role\":\"assistant\",\"text\":\"I live in Rome.\"}\n\
            {\"id\":\"m2\",\"role\":\"user\",\"text\":\"I live in Leeds.\"}\nEND OF MESSAGES\n";
        let written: Value = serde_json::from_str(&facts(&Rules::built_in().unwrap(), prompt)).unwrap();
        let [fact] = written["facts"].as_array().unwrap().as_slice() else { panic!("one fact: {written}") };
        assert_eq!((&fact["key"], &fact["value"]), (&json!("location"), &json!("Leeds")));
        assert_eq!(fact["evidence"][0]["message"], "m2");
        assert_eq!(facts(&Rules::built_in().unwrap(), "hello"), "{\"facts\":[]}");
    }
}

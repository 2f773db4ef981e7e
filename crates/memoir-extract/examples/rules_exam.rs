//! What the rules remember of an exam's conversations, without engine and tables: for working on the rules.
//!
//! `rules_exam EXAM.jsonl [RULES]` prints one JSON array with an object a fact: user_id, key, kind, value, reason. RULES is a
//! rules file or a folder of them; without one the built-in rules are asked. `memoir eval` is the judge: it runs the whole engine.

use std::path::Path;
use std::time::Duration;

use memoir_core::processor::Processor;
use memoir_core::profile::{ProfileConfig, ProfileProcessor, UserState};
use memoir_core::table::RowBuffer;
use memoir_core::{ConversationEvent, ManualClock, Timestamp};
use memoir_extract::{Extractor, ExtractorChoice, ExtractorSettings};

#[derive(serde::Deserialize)]
struct Item {
    id: String,
    turns: Vec<Turn>,
}

#[derive(serde::Deserialize)]
struct Turn {
    role: String,
    text: String,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let exam = arguments.next().ok_or("usage: rules_exam EXAM.jsonl [RULES]")?;
    let rules = arguments.next().map(|path| Path::new(&path).to_owned());
    let settings = ExtractorSettings { kind: ExtractorChoice::Heuristic, rules, ..ExtractorSettings::default() };
    let extractor = Extractor::new(settings)?;
    let processor = ProfileProcessor::new(ProfileConfig::default());
    let mut facts = Vec::new();
    for line in std::fs::read_to_string(exam)?.lines().filter(|line| !line.trim().is_empty()) {
        let item: Item = serde_json::from_str(line)?;
        let state = remember(&processor, &extractor, &item)?;
        for fact in state.facts.iter() {
            let (key, fact) = fact?;
            facts.push(serde_json::json!({
                "user_id": item.id,
                "key": key,
                "kind": fact.kind.to_string(),
                "value": fact.value,
                "reason": fact.reason,
            }));
        }
    }
    println!("{}", serde_json::to_string_pretty(&facts)?);
    Ok(())
}

/// One conversation, to its end.
fn remember(processor: &ProfileProcessor, extractor: &Extractor, item: &Item) -> Result<UserState, Failure> {
    let mut state = UserState::default();
    let mut requests = Vec::new();
    let mut now = Timestamp::from_micros(0);
    for (number, turn) in item.turns.iter().enumerate() {
        now = now.plus(Duration::from_secs(20));
        let event = ConversationEvent {
            event_id: format!("{}-e{number}", item.id),
            ts: now,
            conversation_id: format!("{}-c1", item.id),
            user_id: item.id.clone(),
            role: turn.role.clone(),
            content: turn.text.clone(),
        };
        processor.on_event(&item.id, &mut state, event, now, &mut requests)?;
        answer(processor, extractor, item, &mut state, &mut requests)?;
    }
    processor.on_drain(&item.id, &mut state, None, &mut requests)?;
    answer(processor, extractor, item, &mut state, &mut requests)?;
    Ok(state)
}

fn answer(
    processor: &ProfileProcessor,
    extractor: &Extractor,
    item: &Item,
    state: &mut UserState,
    requests: &mut Vec<<ProfileProcessor as Processor>::Request>,
) -> Result<(), Failure> {
    for request in requests.drain(..) {
        let call = processor.call(&item.id, state, request)?;
        let answer = extractor.answer_now(&call, &ManualClock::default()).ok_or("no rules")?;
        let mut rows = vec![RowBuffer::default(); processor.tables().len()];
        processor.on_answer(&item.id, state, call, answer, &mut rows)?;
    }
    Ok(())
}

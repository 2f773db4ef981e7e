//! A deterministic extractor: commands in the messages become proposed facts, good ones and bad ones.
//!
//! It lies as much as it can: it proposes for every message of the window, old or new, the user's or not, in both
//! orders, and trusts that what may not count is refused.

use memoir_core::Timestamp;
use memoir_core::profile::{
    Evidence, ExtractionAnswer, ExtractionCall, ExtractionStatus, ExtractorKind, Message, ProposedFact,
};

/// How a test answers.
pub type Extract = fn(&ExtractionCall) -> ExtractionAnswer;

/// What a message proposes, by its first word.
fn proposal(message: &Message, call: &ExtractionCall, facts: &mut Vec<ProposedFact>) {
    let (command, rest) = message.content.split_once(' ').unwrap_or((&message.content, ""));
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    let quoted = vec![Evidence { event_id: Some(message.event_id.clone()), quote: Some(message.content.clone()) }];
    let set = ProposedFact {
        key: key.to_owned(),
        kind: "identity".to_owned(),
        value: value.to_owned(),
        confidence: 0.9,
        action: "new".to_owned(),
        evidence: quoted,
        reason: format!("said: {}", message.content),
    };
    match command {
        "set" => facts.push(set),
        "sure" => facts.push(ProposedFact { confidence: 1.7, action: "UPDATED ".to_owned(), ..set }),
        "prefer" => facts.push(ProposedFact { kind: "Preference".to_owned(), confidence: 0.75, ..set }),
        "maybe" => facts.push(ProposedFact { confidence: 0.3, ..set }),
        "odd" => facts.push(ProposedFact { kind: "hobby".to_owned(), ..set }),
        "act" => facts.push(ProposedFact { action: "invented".to_owned(), ..set }),
        "reserved" => facts.push(ProposedFact { key: format!("__{key}"), ..set }),
        "shout" => {
            facts.push(ProposedFact { key: format!(" {}! ", key.to_uppercase()), value: value.to_uppercase(), ..set })
        }
        "wrong" => {
            let evidence =
                vec![Evidence { event_id: Some(message.event_id.clone()), quote: Some("never said so".to_owned()) }];
            facts.push(ProposedFact { evidence, ..set });
        }
        "bare" => facts.push(ProposedFact { evidence: Vec::new(), ..set }),
        "named" => {
            let evidence = vec![Evidence { event_id: Some(message.event_id.clone()), quote: None }];
            facts.push(ProposedFact { evidence, ..set });
        }
        // The quote stands in the message, whatever event is named.
        "lost" => {
            let evidence =
                vec![Evidence { event_id: Some("elsewhere".to_owned()), quote: Some(message.content.clone()) }];
            facts.push(ProposedFact { evidence, ..set });
        }
        "forget" => facts.push(ProposedFact { action: "deleted".to_owned(), kind: String::new(), ..set }),
        "doubt" => {
            facts.push(ProposedFact { action: "deleted".to_owned(), confidence: 0.1, ..set.clone() });
            facts.push(ProposedFact { value: String::new(), ..set });
        }
        "recite" => facts.extend(call.facts.iter().map(|(key, fact)| ProposedFact {
            key: key.clone(),
            kind: fact.kind.as_str().to_owned(),
            value: fact.value.clone(),
            confidence: 0.95,
            action: "unchanged".to_owned(),
            evidence:
                fact.source_event_ids.iter().map(|id| Evidence { event_id: Some(id.clone()), quote: None }).collect(),
            reason: "remembered".to_owned(),
        })),
        // A remembered fact under another key.
        "copy" => facts.extend(call.facts.first().map(|(_, fact)| ProposedFact {
            value: fact.value.clone(),
            kind: fact.kind.as_str().to_owned(),
            ..set
        })),
        _ => {}
    }
}

/// Answers a call.
pub fn extract(call: &ExtractionCall) -> ExtractionAnswer {
    let mut facts = Vec::new();
    for window in &call.request.window {
        proposal(&window.message, call, &mut facts);
    }
    let newest = call.request.window.last().map_or("", |window| &window.message.content);
    if newest.ends_with('h') {
        facts.reverse();
    }
    let status = match newest.split(' ').next() {
        Some("odd") => ExtractionStatus::Repaired,
        Some("act") => ExtractionStatus::Failed,
        Some("reserved") => ExtractionStatus::Unavailable,
        _ => ExtractionStatus::Ok,
    };
    let asked = status == ExtractionStatus::Repaired;
    ExtractionAnswer {
        extractor: if asked { ExtractorKind::Model } else { ExtractorKind::Heuristic },
        model: asked.then(|| "test-model".to_owned()),
        status,
        facts,
        answered_at: Timestamp::from_micros(1_798_761_600_000_000),
        attempts: if asked { 2 } else { 0 },
        latency_ms: 3,
        prompt_tokens: asked.then_some(100),
        completion_tokens: None,
        error: (status == ExtractionStatus::Failed).then(|| "it broke".to_owned()),
        prompt_version: None,
    }
}

/// The same by a more careful extractor: it proposes only what was said since the last emission. So an answer does not
/// depend on what an earlier one was refused for, of which tables tell nothing.
pub fn extract_fresh(call: &ExtractionCall) -> ExtractionAnswer {
    let mut fresh = call.clone();
    fresh.request.window.retain(|window| window.seq >= call.request.fresh_from);
    extract(&fresh)
}

//! What tables hold, against what is triggered again.

use super::config::ProfileConfig;
use super::extraction::{
    Evidence, ExtractionAnswer, ExtractionStatus, ExtractorKind, Message, ProposedFact, Trigger, WindowMessage,
};
use super::rows::emission_id;
use super::state::UserState;
use super::{ExtractionRequest, ProfileProcessor};
use crate::processor::{Aligned, HeldRequest, Processor};
use crate::table::{RowBuffer, RowReader};
use crate::time::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

fn message(seq: u64, words: &str) -> WindowMessage {
    let message = Message {
        event_id: format!("e{seq}"),
        conversation_id: "c".to_owned(),
        role: "user".to_owned(),
        content: words.to_owned(),
        ts: at(seq as i64),
        at: at(seq as i64),
    };
    WindowMessage { seq, message }
}

/// A request over the messages from `from` to `upto`, all of them fresh.
fn request(number: u64, trigger: Trigger, from: u64, upto: u64) -> ExtractionRequest {
    let window = (from..=upto).map(|seq| message(seq, &format!("I live in Town{seq}"))).collect();
    ExtractionRequest { number, trigger, emission_ts: at(upto as i64), fresh_from: from, window }
}

/// What an extractor says to the message of this place.
fn answer(seq: Option<u64>) -> ExtractionAnswer {
    let fact = |seq: u64| ProposedFact {
        key: "city".to_owned(),
        kind: "identity".to_owned(),
        value: format!("Town{seq}"),
        confidence: 0.9,
        action: "new".to_owned(),
        evidence: vec![Evidence { event_id: Some(format!("e{seq}")), quote: Some(format!("Town{seq}")) }],
        reason: String::new(),
    };
    ExtractionAnswer {
        extractor: ExtractorKind::Heuristic,
        model: None,
        status: ExtractionStatus::Unavailable,
        facts: seq.into_iter().map(fact).collect(),
        answered_at: at(1_000_000),
        attempts: 0,
        latency_ms: 0,
        prompt_tokens: None,
        completion_tokens: None,
        error: None,
        prompt_version: None,
    }
}

fn apply(
    processor: &ProfileProcessor,
    state: &mut UserState,
    request: ExtractionRequest,
    seq: Option<u64>,
) -> [RowBuffer; 2] {
    let mut rows = [RowBuffer::default(), RowBuffer::default()];
    let call = processor.call("ann", state, request).unwrap();
    processor.on_answer("ann", state, call, answer(seq), &mut rows).unwrap();
    rows
}

/// The rows that tables hold of emissions that another state made.
fn held(processor: &ProfileProcessor, requests: &[(ExtractionRequest, Option<u64>)]) -> Vec<HeldRequest> {
    let mut state = UserState::default();
    let rows = requests.iter().map(|(request, seq)| {
        let tables =
            apply(processor, &mut state, request.clone(), *seq).map(|rows| Some(rows).filter(|rows| !rows.is_empty()));
        HeldRequest { number: request.number, tables: tables.to_vec() }
    });
    rows.collect()
}

fn align(
    processor: &ProfileProcessor,
    state: &mut UserState,
    requests: Vec<ExtractionRequest>,
    held: &[HeldRequest],
) -> (Aligned<ExtractionRequest>, [RowBuffer; 2]) {
    let mut rows = [RowBuffer::default(), RowBuffer::default()];
    let aligned = processor.on_held_ahead("ann", state, requests, held, &mut rows).unwrap();
    (aligned, rows)
}

fn city(state: &UserState) -> String {
    state.facts.get("city").unwrap().map(|fact| fact.value).unwrap_or_default()
}

#[test]
fn a_held_emission_answers_the_request_of_its_number_and_nothing_is_written() {
    let processor = ProfileProcessor::default();
    let first = request(1, Trigger::Threshold, 0, 1);
    let held = held(&processor, &[(first.clone(), Some(1))]);
    let mut state = UserState::default();
    let (aligned, rows) = align(&processor, &mut state, vec![first], &held);
    assert_eq!(aligned, Aligned { ask: vec![], through: 1, again: vec![] });
    assert!(rows.iter().all(RowBuffer::is_empty));
    assert_eq!(city(&state), "Town1");
    assert_eq!((state.header.emissions, state.header.last_emission), (1, Some(at(1))));
}

#[test]
fn a_request_over_more_messages_uses_several_up_and_is_asked_where_they_end_before_it() {
    let processor = ProfileProcessor::default();
    let drained = [(request(1, Trigger::Drain, 0, 1), Some(1)), (request(2, Trigger::Drain, 2, 3), Some(3))];
    let held = held(&processor, &drained);
    let mut state = UserState::default();
    let (aligned, _) = align(&processor, &mut state, vec![request(1, Trigger::Drain, 0, 3)], &held);
    assert_eq!((aligned.ask.len(), aligned.through), (0, 2));

    let mut state = UserState::default();
    let requests = vec![request(1, Trigger::Threshold, 0, 4), request(2, Trigger::Drain, 5, 5)];
    let (aligned, _) = align(&processor, &mut state, requests, &held);
    let asked: Vec<_> = aligned.ask.iter().map(|request| (request.number, request.emission_ts)).collect();
    assert_eq!((asked, aligned.through), (vec![(3, at(4)), (4, at(5))], 2));
    assert_eq!((city(&state), state.header.emissions), ("Town3".to_owned(), 4));
}

#[test]
fn the_last_drain_without_rows_is_asked_again_under_its_own_number() {
    let config = ProfileConfig { audit_rows: super::AuditRows::Changes, ..ProfileConfig::default() };
    let processor = ProfileProcessor::new(config);
    let mut held = held(&processor, &[(request(1, Trigger::Drain, 0, 1), None)]);
    // The status row is no part of this.
    held[0].tables[0] = None;
    let (aligned, _) = align(&processor, &mut UserState::default(), vec![request(1, Trigger::Drain, 0, 1)], &held);
    assert_eq!((aligned.ask.len(), aligned.through, aligned.again), (1, 0, vec![1]));
    // Any other trigger comes in its order.
    let (aligned, _) = align(&processor, &mut UserState::default(), vec![request(1, Trigger::Timer, 0, 1)], &held);
    assert_eq!((aligned.ask[0].number, aligned.through), (2, 1));
}

#[test]
fn old_words_that_are_asked_again_do_not_undo_a_fact_whose_words_are_still_to_be_read() {
    let processor = ProfileProcessor::default();
    let held = held(&processor, &[(request(1, Trigger::Threshold, 0, 9), Some(9))]);
    let mut state = UserState::default();
    // Read again, it triggers earlier: the fact rests on a message that is not there yet.
    let (aligned, _) = align(&processor, &mut state, vec![request(1, Trigger::Threshold, 0, 4)], &held);
    assert_eq!((aligned.ask.len(), city(&state)), (0, "Town9".to_owned()));
    apply(&processor, &mut state, request(2, Trigger::Threshold, 5, 7), Some(7));
    assert_eq!(city(&state), "Town9");
    apply(&processor, &mut state, request(3, Trigger::Threshold, 8, 10), Some(8));
    assert_eq!(city(&state), "Town9");
    apply(&processor, &mut state, request(4, Trigger::Threshold, 8, 10), Some(10));
    assert_eq!(city(&state), "Town10");
}

#[test]
fn an_extraction_row_that_is_missing_is_written_from_the_audit() {
    let processor = ProfileProcessor::default();
    let first = request(1, Trigger::Threshold, 0, 1);
    let mut held = held(&processor, &[(first.clone(), Some(1))]);
    held[0].tables[1] = None;
    let (_, [audit, extractions]) = align(&processor, &mut UserState::default(), vec![first], &held);
    assert!(audit.is_empty());
    let mut row = RowReader::new(&extractions.bytes);
    let id = emission_id("profile_memory", "ann", 1);
    assert_eq!((row.text().unwrap(), row.text().unwrap()), (Some(id.as_str()), Some("ann")));
    row.timestamp().unwrap();
    assert_eq!((row.text().unwrap(), row.text().unwrap()), (Some("threshold"), Some("heuristic")));
    assert_eq!((row.text().unwrap(), row.text().unwrap()), (None, Some("unavailable")));
}

#[test]
fn rows_of_other_queries_are_nobodys() {
    let processor = ProfileProcessor::default();
    let held = held(&processor, &[(request(7, Trigger::Threshold, 0, 1), Some(1))]);
    let other = ProfileProcessor::new(ProfileConfig { query_name: "other".to_owned(), ..ProfileConfig::default() });
    for (table, rows) in held[0].tables.iter().enumerate() {
        let row = RowReader::new(&rows.as_ref().unwrap().bytes).row(processor.tables()[table].columns).unwrap();
        assert_eq!(processor.request_of(table, row).unwrap(), Some(("ann".to_owned(), 7)));
        assert_eq!(other.request_of(table, row).unwrap(), None);
    }
}

//! The rules of the profile processor, one direct example each. The laws over random streams are the engine's tests.

use std::time::Duration;

use super::*;
use crate::event::ConversationEvent;
use crate::processor::{Handled, Processor};
use crate::table::{RowBuffer, RowReader};
use crate::time::Timestamp;

/// One user with a processor of their own.
struct User {
    processor: ProfileProcessor,
    state: UserState,
    requests: Vec<ExtractionRequest>,
    rows: [RowBuffer; 2],
    events: u32,
}

/// A row of the audit: key, action, value, previous value, sources, reason.
type Row = (String, String, String, Option<String>, Vec<String>, Option<String>);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_767_603_600_000_000 + seconds * 1_000_000)
}

fn fact(key: &str, value: &str, quote: &str) -> ProposedFact {
    ProposedFact {
        key: key.to_owned(),
        kind: "identity".to_owned(),
        value: value.to_owned(),
        confidence: 0.9,
        action: "new".to_owned(),
        evidence: vec![Evidence { event_id: None, quote: Some(quote.to_owned()) }],
        reason: "because".to_owned(),
    }
}

fn forget(key: &str, quote: &str) -> ProposedFact {
    ProposedFact {
        action: "deleted".to_owned(),
        kind: String::new(),
        value: String::new(),
        confidence: 0.0,
        ..fact(key, "", quote)
    }
}

fn answer(facts: &[ProposedFact]) -> ExtractionAnswer {
    ExtractionAnswer {
        extractor: ExtractorKind::Heuristic,
        model: None,
        status: ExtractionStatus::Ok,
        facts: facts.to_vec(),
        answered_at: at(0),
        attempts: 0,
        latency_ms: 0,
        prompt_tokens: None,
        completion_tokens: None,
        error: None,
        prompt_version: None,
    }
}

impl User {
    fn new(config: ProfileConfig) -> Self {
        Self {
            processor: ProfileProcessor::new(config),
            state: UserState::default(),
            requests: Vec::new(),
            rows: Default::default(),
            events: 0,
        }
    }

    /// Emits at every message.
    fn eager() -> Self {
        Self::new(ProfileConfig { emission_threshold: 1, ..ProfileConfig::default() })
    }

    fn event(&mut self, seconds: i64, conversation: &str, role: &str, content: &str) -> &mut Self {
        self.events += 1;
        let event = ConversationEvent {
            event_id: format!("e{}", self.events),
            ts: at(seconds),
            conversation_id: conversation.to_owned(),
            user_id: "ann".to_owned(),
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let handled = self.processor.on_event("ann", &mut self.state, event, at(seconds), &mut self.requests);
        assert_eq!(handled, Ok(Handled::Taken));
        self
    }

    fn says(&mut self, seconds: i64, content: &str) -> &mut Self {
        self.event(seconds, "c", "user", content)
    }

    /// The triggers and times of the requests that were not answered yet.
    fn asked(&self) -> Vec<(Trigger, Timestamp)> {
        self.requests.iter().map(|request| (request.trigger, request.emission_ts)).collect()
    }

    /// Answers the oldest request, and returns the rows of its emission.
    fn answered(&mut self, answer: ExtractionAnswer) -> Vec<Row> {
        let request = self.requests.remove(0);
        let call = self.processor.call("ann", &self.state, request).unwrap();
        self.rows = Default::default();
        self.processor.on_answer("ann", &mut self.state, call, answer, &mut self.rows).unwrap();
        let mut row = RowReader::new(&self.rows[0].bytes);
        let mut rows = Vec::new();
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        while !row.is_at_end() {
            row.text().unwrap();
            row.text().unwrap();
            row.timestamp().unwrap();
            let (key, _kind, value) = (text(row.text().unwrap()), row.text().unwrap(), text(row.text().unwrap()));
            row.double().unwrap();
            let (action, previous) = (text(row.text().unwrap()), row.text().unwrap().map(str::to_owned));
            let sources = row.texts().unwrap().unwrap().into_iter().map(str::to_owned).collect();
            let reason = row.text().unwrap().map(str::to_owned);
            for _ in 0..3 {
                row.text().unwrap();
            }
            rows.push((key, action, value, previous, sources, reason));
        }
        rows
    }

    fn gives(&mut self, facts: &[ProposedFact]) -> Vec<(String, String, String)> {
        self.answered(answer(facts)).into_iter().map(|(key, action, value, ..)| (key, action, value)).collect()
    }

    fn refused(&self) -> Vec<(Refusal, u64)> {
        self.processor.refusals().counts().collect()
    }
}

fn row(key: &str, action: &str, value: &str) -> (String, String, String) {
    (key.to_owned(), action.to_owned(), value.to_owned())
}

#[test]
fn ten_user_messages_make_an_emission_and_an_assistants_count_for_nothing() {
    let mut user = User::new(ProfileConfig::default());
    for n in 0..9 {
        user.says(n, "hello").event(n, "c", "assistant", "hello");
    }
    assert_eq!(user.asked(), []);
    user.says(9, "hello");
    assert_eq!(user.asked(), [(Trigger::Threshold, at(9))]);
    assert_eq!(user.processor.timer(&user.state), None);
}

#[test]
fn a_timer_waits_from_the_oldest_pending_message_and_stamps_its_due_time() {
    let mut user = User::new(ProfileConfig::default());
    user.event(0, "c", "assistant", "how are you?");
    assert_eq!(user.processor.timer(&user.state), None);
    user.says(10, "fine").says(500, "and you?");
    assert_eq!(user.processor.timer(&user.state), Some(at(610)));
    // At the due time itself it fires, before the event that brings the time is added.
    user.says(610, "hello?");
    assert_eq!(user.asked(), [(Trigger::Timer, at(610))]);
    assert_eq!(user.requests[0].window.len(), 3);
    assert_eq!(user.processor.timer(&user.state), Some(at(1210)));
}

#[test]
fn a_conversation_ends_when_one_begins_that_is_not_among_the_last_eight() {
    let mut user = User::new(ProfileConfig { timer_ttl: None, emission_threshold: 100, ..ProfileConfig::default() });
    for n in 0..8 {
        user.event(n, &format!("c{n}"), "assistant", "hello");
    }
    user.event(8, "c0", "user", "to").event(9, "c7", "user", "and fro").event(10, "c0", "user", "again");
    assert_eq!(user.asked(), []);
    user.event(11, "c8", "assistant", "a new one");
    assert_eq!(user.asked(), [(Trigger::ConversationEnd, at(11))]);
    assert_eq!(user.requests[0].window.last().map(|last| last.message.content.as_str()), Some("again"));
    // c0 and c7 are recent; the oldest by latest event, c1, is the one that was forgotten.
    user.event(12, "c0", "user", "more").event(13, "c7", "user", "more");
    assert_eq!(user.asked().len(), 1);
    user.event(14, "c1", "assistant", "hello");
    assert_eq!(user.asked().len(), 2);
}

#[test]
fn a_pending_message_is_seen_before_it_falls_out_of_the_buffer() {
    let config = ProfileConfig { message_buffer_size: 3, timer_ttl: None, ..ProfileConfig::default() };
    let mut user = User::new(config.clone());
    user.says(0, "I moved to Austin");
    for n in 1..3 {
        user.event(n, "c", "assistant", "so much to say");
    }
    assert_eq!(user.asked(), [(Trigger::Overflow, at(2))]);
    assert_eq!(user.requests[0].window.len(), 3);
    for n in 3..9 {
        user.event(n, "c", "assistant", "so much to say");
    }
    assert_eq!(user.asked().len(), 1, "what was seen may fall out");

    let mut user = User::new(ProfileConfig { emit_before_overflow: false, ..config });
    user.says(0, "I moved to Austin");
    for n in 1..9 {
        user.event(n, "c", "assistant", "so much to say");
    }
    assert_eq!(user.asked(), []);
}

#[test]
fn a_drain_emits_what_is_pending_at_the_users_own_clock_and_only_once() {
    let mut user = User::new(ProfileConfig::default());
    user.says(5, "hello").event(7, "c", "assistant", "hello");
    for _ in 0..2 {
        user.processor.on_drain("ann", &mut user.state, None, &mut user.requests).unwrap();
        assert_eq!(user.asked(), [(Trigger::Drain, at(7))]);
    }
}

#[test]
fn an_emission_is_a_microsecond_after_the_last_where_the_clock_stands_still_or_steps_back() {
    let mut user = User::eager();
    user.says(10, "one").says(10, "two").says(3, "late");
    let stamps: Vec<_> = user.asked().into_iter().map(|(_, at)| at).collect();
    assert_eq!(stamps, [at(10), at(10).next(), at(10).next().next()]);
    // A late message is taken at the clock reached, and keeps its own time.
    let late = &user.requests[2].window[2].message;
    assert_eq!((late.ts, late.at), (at(3), at(10)));
}

#[test]
fn an_event_that_was_seen_is_dropped_and_moves_no_clock() {
    let mut user = User::new(ProfileConfig { dedup_window: 2, ..ProfileConfig::default() });
    let event = |id: &str, seconds| ConversationEvent {
        event_id: id.to_owned(),
        ts: at(seconds),
        conversation_id: "c".to_owned(),
        user_id: "ann".to_owned(),
        role: "user".to_owned(),
        content: "hello".to_owned(),
    };
    let mut take = |id, seconds| {
        user.processor.on_event("ann", &mut user.state, event(id, seconds), at(seconds), &mut user.requests).unwrap()
    };
    assert_eq!((take("a", 0), take("a", 99_999), take("b", 1)), (Handled::Taken, Handled::Duplicate, Handled::Taken));
    assert_eq!((take("a", 2), take("c", 3)), (Handled::Duplicate, Handled::Taken));
    // Two others came since.
    assert_eq!(take("a", 4), Handled::Taken);
    assert_eq!(user.state.header.clock, Some(at(4)));
}

#[test]
fn the_action_comes_from_comparing_and_not_from_the_models_word() {
    let mut user = User::eager();
    user.says(0, "I live in Leeds")
        .says(1, "yes, LEEDS it is")
        .says(2, "moved to Austin")
        .says(3, "Austin, my project");
    let word = |word: &str, fact: ProposedFact| ProposedFact { action: word.to_owned(), ..fact };
    assert_eq!(user.gives(&[word("updated", fact("city", "Leeds", "live in Leeds"))]), [row("city", "new", "Leeds")]);
    let confirmed = ProposedFact { confidence: 0.7, ..fact("City", " LEEDS ", "LEEDS it is") };
    assert_eq!(user.gives(&[word("new", confirmed)]), [row("city", "unchanged", "Leeds")]);
    assert_eq!(user.state.facts.get("city").unwrap().map(|fact| (fact.since, fact.confidence)), Some((at(0), 0.7)));
    let rows = user.answered(answer(&[word("unchanged", fact("city", "Austin", "moved to Austin"))]));
    assert_eq!((rows[0].1.as_str(), rows[0].3.as_deref()), ("updated", Some("Leeds")));
    assert_eq!(user.state.facts.get("city").unwrap().map(|fact| fact.since), Some(at(2)));
    // Another kind is a change too.
    let rows =
        user.answered(answer(&[ProposedFact { kind: "project".to_owned(), ..fact("city", "Austin", "my project") }]));
    assert_eq!((rows[0].1.as_str(), rows[0].3.as_deref()), ("updated", Some("Austin")));
}

#[test]
fn what_was_forgotten_comes_back_on_newer_words_only_and_is_new_then() {
    let mut user = User::eager();
    user.says(0, "I live in Leeds")
        .says(1, "forget where I live")
        .says(2, "nice weather")
        .says(3, "I live in Leeds again");
    let leeds = fact("city", "Leeds", "I live in Leeds");
    assert_eq!(user.gives(std::slice::from_ref(&leeds)), [row("city", "new", "Leeds")]);
    let rows = user.answered(answer(&[forget("city", "forget where I live")]));
    assert_eq!((rows[0].1.as_str(), rows[0].2.as_str(), rows[0].3.as_deref()), ("deleted", "Leeds", None));
    assert_eq!(user.gives(std::slice::from_ref(&leeds)), []);
    assert_eq!(user.refused(), [(Refusal::OldWords, 1)]);
    assert_eq!(user.gives(std::slice::from_ref(&leeds)), [row("city", "new", "Leeds")]);
}

#[test]
fn what_was_forgotten_before_anything_was_known_is_not_learnt_from_older_words() {
    let mut user = User::eager();
    user.says(0, "I live in Leeds").says(1, "forget where I live").says(2, "nice weather");
    assert_eq!(user.gives(&[]), []);
    assert_eq!(user.gives(&[forget("city", "forget where I live")]), []);
    assert_eq!(user.gives(&[fact("city", "Leeds", "I live in Leeds")]), []);
}

#[test]
fn only_the_users_own_words_are_evidence() {
    let mut user = User::eager();
    user.event(0, "c", "assistant", "do you live in Leeds?").says(1, "what a question");
    let facts = [
        fact("city", "Leeds", "live in Leeds"),
        fact("town", "Leeds", "I live in Leeds"),
        ProposedFact { evidence: Vec::new(), ..fact("place", "Leeds", "") },
    ];
    assert_eq!(user.gives(&facts), []);
    assert_eq!(user.refused(), [(Refusal::NoEvidence, 3)]);
}

#[test]
fn without_required_evidence_a_fact_rests_on_the_last_ten_events_of_the_window() {
    let mut user = User::new(ProfileConfig { require_evidence: false, ..ProfileConfig::default() });
    for n in 0..5 {
        user.says(n, "hello").event(n, "c", "assistant", "hello");
    }
    for n in 5..10 {
        user.says(n, "hello");
    }
    let rows = user.answered(answer(&[ProposedFact { evidence: Vec::new(), ..fact("city", "Leeds", "") }]));
    assert_eq!(rows[0].4, (6..16).map(|n| format!("e{n}")).collect::<Vec<_>>());
}

#[test]
fn a_fact_that_only_repeats_a_remembered_one_under_another_key_is_refused() {
    let mut user = User::eager();
    user.says(0, "I live in Leeds").says(1, "nice weather");
    assert_eq!(user.gives(&[fact("city", "Leeds", "I live in Leeds")]).len(), 1);
    assert_eq!(user.gives(&[fact("home_town", "leeds", "I live in Leeds")]), [row("city", "unchanged", "Leeds")]);
    assert_eq!(user.refused(), [(Refusal::Repeated, 1)]);
}

#[test]
fn of_equal_keys_the_last_counts_and_a_key_both_deleted_and_given_is_given() {
    let mut user = User::eager();
    user.says(0, "Leeds, no, Austin");
    let facts =
        [fact("city", "Leeds", "Leeds"), forget("city", "no"), fact("City ", "Austin", "Austin"), forget("city", "no")];
    assert_eq!(user.gives(&facts), [row("city", "new", "Austin")]);
}

#[test]
fn each_fact_is_checked_by_itself() {
    let mut user = User::eager();
    user.says(0, "so it is");
    let good = fact("good", "yes", "so it is");
    let facts = [
        ProposedFact { key: "__llm_status__".to_owned(), ..good.clone() },
        ProposedFact { key: "!?".to_owned(), ..good.clone() },
        ProposedFact { kind: "hobby".to_owned(), ..good.clone() },
        ProposedFact { action: "invented".to_owned(), ..good.clone() },
        ProposedFact { value: " \t ".to_owned(), ..good.clone() },
        ProposedFact { confidence: 0.59, ..good.clone() },
        ProposedFact { confidence: f64::NAN, ..good.clone() },
        ProposedFact { key: "sure".to_owned(), confidence: 17.0, value: "x".repeat(500), ..good.clone() },
        good,
    ];
    assert_eq!(user.gives(&facts), [row("good", "new", "yes"), row("sure", "new", &"x".repeat(100))]);
    assert_eq!(user.state.facts.get("sure").unwrap().map(|fact| fact.confidence), Some(1.0));
    use Refusal::{Action, Confidence, Key, Kind, Value};
    assert_eq!(user.refused(), [(Key, 2), (Kind, 1), (Action, 1), (Value, 1), (Confidence, 2)]);
}

#[test]
fn an_emission_takes_so_many_facts_and_no_more() {
    let mut user =
        User::new(ProfileConfig { max_facts_per_emission: 2, emission_threshold: 1, ..ProfileConfig::default() });
    user.says(0, "so it is");
    let facts: Vec<_> = ["a", "b", "c", "b"].map(|key| fact(key, &format!("is {key}"), "so it is")).into();
    assert_eq!(user.gives(&facts), [row("a", "new", "is a"), row("b", "new", "is b")]);
    assert_eq!(user.refused(), [(Refusal::TooMany, 1)]);
}

#[test]
fn the_bound_counts_keys_and_leaves_no_correction_a_deletion() {
    let mut user =
        User::new(ProfileConfig { max_facts_per_emission: 2, emission_threshold: 1, ..ProfileConfig::default() });
    user.says(0, "Leeds").says(1, "not Leeds, Rome it is");
    user.gives(&[fact("city", "Leeds", "Leeds")]);
    let said = "not Leeds, Rome it is";
    let facts = [forget("city", said), fact("a", "is a", said), fact("city", "Rome", said), forget("b", said)];
    assert_eq!(user.gives(&facts), [row("a", "new", "is a"), row("city", "updated", "Rome")]);
    assert_eq!(user.refused(), [(Refusal::TooMany, 1)]);
}

#[test]
fn an_emission_writes_deletions_then_the_status_then_the_facts() {
    let mut user = User::eager();
    user.says(0, "Leeds, vegan").says(1, "forget the city");
    user.gives(&[fact("city", "Leeds", "Leeds"), fact("diet", "vegan", "vegan")]);
    let failed = ExtractionAnswer {
        status: ExtractionStatus::Failed,
        error: Some("it broke".to_owned()),
        ..answer(&[forget("city", "forget the city")])
    };
    let rows: Vec<_> = user
        .answered(failed)
        .into_iter()
        .map(|(key, action, value, _, _, reason)| (key, action, value, reason))
        .collect();
    let because = |(key, action, value), reason: &str| (key, action, value, Some(reason.to_owned()));
    assert_eq!(
        rows,
        [
            because(row("city", "deleted", "Leeds"), "because"),
            because(row(STATUS_KEY, "deleted", "llm_failed_heuristic_fallback"), "it broke"),
            because(row("diet", "unchanged", "vegan"), "because"),
        ]
    );
}

#[test]
fn where_only_changes_are_asked_a_newer_confidence_is_none_and_is_not_stored() {
    let mut user =
        User::new(ProfileConfig { audit_rows: AuditRows::Changes, emission_threshold: 1, ..ProfileConfig::default() });
    user.says(0, "Leeds").says(1, "still Leeds").says(2, "hello");
    assert_eq!(user.gives(&[fact("city", "Leeds", "Leeds")]), [row("city", "new", "Leeds")]);
    assert_eq!(user.gives(&[ProposedFact { confidence: 1.0, ..fact("city", "Leeds", "still Leeds") }]), []);
    assert_eq!(user.state.facts.get("city").unwrap().map(|fact| fact.confidence), Some(0.9));
    assert_eq!(user.gives(&[]), []);
}

#[test]
fn a_fact_that_nothing_confirmed_for_its_ttl_is_deleted_in_the_next_emission() {
    let facts_ttl = Some(Duration::from_secs(100));
    let mut user = User::new(ProfileConfig { facts_ttl, emission_threshold: 1, ..ProfileConfig::default() });
    user.says(0, "Leeds, vegan").says(100, "vegan still").says(101, "hello").says(102, "Leeds, vegan");
    user.gives(&[fact("city", "Leeds", "Leeds"), fact("diet", "vegan", "vegan")]);
    let still = [row("city", "unchanged", "Leeds"), row("diet", "unchanged", "vegan")];
    assert_eq!(user.gives(&[fact("diet", "vegan", "vegan still")]), still);
    let rows = user.answered(answer(&[fact("city", "Leeds", "Leeds")]));
    assert_eq!((rows[0].0.as_str(), rows[0].1.as_str(), rows[0].5.as_deref()), ("city", "deleted", Some("expired")));
    assert_eq!(rows[1].0, "diet");
    // On newer words it is new.
    assert_eq!(user.gives(&[fact("city", "Leeds", "Leeds")])[0], row("city", "new", "Leeds"));
}

#[test]
fn messages_that_are_older_than_the_buffers_ttl_leave_window_count_and_timer() {
    let buffer_ttl = Some(Duration::from_secs(60));
    let mut user = User::new(ProfileConfig { buffer_ttl, emission_threshold: 3, ..ProfileConfig::default() });
    user.says(0, "one").says(50, "two").says(61, "three");
    assert_eq!(user.asked(), [], "the first one is gone, so these are two");
    assert_eq!(user.processor.timer(&user.state), Some(at(650)));
    user.says(62, "four");
    assert_eq!(user.asked(), [(Trigger::Threshold, at(62))]);
    assert_eq!(user.requests[0].window.len(), 3);
    // A message that is gone when its timer is due fires none.
    user.says(100, "five").event(5000, "c", "assistant", "hello");
    assert_eq!((user.asked().len(), user.processor.timer(&user.state)), (1, None));
}

#[test]
fn nothing_is_pending_any_more_when_all_that_fell_out_of_the_buffer_must_be_older_than_its_ttl() {
    let mut user = User::new(ProfileConfig {
        buffer_ttl: Some(Duration::from_secs(60)),
        message_buffer_size: 2,
        emit_before_overflow: false,
        ..ProfileConfig::default()
    });
    for n in 0..5 {
        user.says(n, "hello");
    }
    assert_eq!(user.state.header.pending, 5);
    user.event(1000, "c", "assistant", "hello");
    assert_eq!((user.state.header.pending, user.processor.timer(&user.state)), (0, None));
}

#[test]
fn an_answer_is_compared_with_the_facts_as_they_are_when_it_is_applied() {
    let mut user = User::eager();
    // Three requests wait; each call is made when the one before is answered.
    user.says(0, "Leeds").says(1, "Austin").says(2, "Oslo");
    assert_eq!(user.gives(&[fact("city", "Leeds", "Leeds")]), [row("city", "new", "Leeds")]);
    assert_eq!(user.gives(&[fact("city", "Austin", "Austin")]), [row("city", "updated", "Austin")]);
    let call = user.processor.call("ann", &user.state, user.requests[0].clone()).unwrap();
    assert_eq!(
        call.facts.iter().map(|(key, fact)| (key.as_str(), fact.value.as_str())).collect::<Vec<_>>(),
        [("city", "Austin")]
    );
    assert_eq!((call.request.fresh_from, call.request.window.len()), (2, 3));
    // An old word in a late answer changes nothing.
    assert_eq!(user.gives(&[fact("city", "Leeds", "Leeds")]), [row("city", "unchanged", "Austin")]);
}

#[test]
fn content_is_folded_and_clipped_when_it_is_added() {
    let mut user = User::new(ProfileConfig { max_content_chars: 7, emission_threshold: 1, ..ProfileConfig::default() });
    user.says(0, "  one \t\n two three ");
    assert_eq!(user.requests[0].window[0].message.content, "one two");
}

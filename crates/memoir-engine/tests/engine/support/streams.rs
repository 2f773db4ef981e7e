//! Random streams and settings, small and crowded, so that everything happens often: duplicates, late events, overflow,
//! conversations to and fro, thresholds, timers, TTLs.

use std::time::Duration;

use memoir_core::profile::{AuditRows, ProfileConfig};
use memoir_core::{ConversationEvent, Timestamp};
use proptest::prelude::*;

/// So many cases of a property; more by the same factor where `PROPTEST_CASES` asks for more than its default of 256.
pub fn cases(usual: u32) -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: (usual * default.cases / 256).max(1), ..default }
}

/// When the streams begin: 2026-01-05T09:00:00Z.
pub fn start() -> Timestamp {
    Timestamp::from_micros(1_767_603_600_000_000)
}

pub fn seconds(n: i64) -> Timestamp {
    Timestamp::from_micros(start().as_micros() + n * 1_000_000)
}

pub fn event(id: &str, user: &str, conversation: &str, role: &str, ts: Timestamp, content: &str) -> ConversationEvent {
    ConversationEvent {
        event_id: id.to_owned(),
        ts,
        conversation_id: conversation.to_owned(),
        user_id: user.to_owned(),
        role: role.to_owned(),
        content: content.to_owned(),
    }
}

fn content() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["city", "diet", "pet name"]);
    let value = prop::sample::select(vec!["Leeds", "Austin", "leeds", "Zoe\u{308}", "Zoë", "vegan  food", ""]);
    let command = prop::sample::select(vec![
        "set", "set", "set", "set", "sure", "prefer", "maybe", "odd", "act", "reserved", "shout", "wrong", "bare",
        "named", "lost", "forget", "forget", "doubt", "recite", "copy", "hello", " set\t",
    ]);
    (command, key, value).prop_map(|(command, key, value)| match command {
        "forget" | "recite" => format!("{command} {key}"),
        command => format!("{command} {key}={value}"),
    })
}

/// How long after the one before, in seconds, an event was written.
fn step() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![0, 0, 5, 20, 20, 45, 180, 300, 600, 3600, -5, -400])
}

pub fn events(max: usize) -> impl Strategy<Value = Vec<ConversationEvent>> {
    let user = prop::sample::select(vec!["ann", "ann", "ann", "bob", "bob", "cy", "dora\u{0}x"]);
    let role = prop::sample::select(vec!["user", "user", "user", "assistant", "assistant", "system"]);
    let conversation = prop_oneof![6 => 0u8..3, 1 => 0u8..12];
    // Ids are drawn from few numbers, so that some come again; another user's equal id is no duplicate.
    let id = 0u16..400;
    prop::collection::vec((user, conversation, role, id, step(), content()), 0..max).prop_map(|drawn| {
        let mut now = 0;
        let of = |(user, conversation, role, id, step, content): (&str, u8, &str, u16, i64, String)| {
            now += step;
            let id = if id < 100 { format!("e{}", id % 10) } else { format!("e{id}") };
            event(&id, user, &format!("c{conversation}"), role, seconds(now), &content)
        };
        drawn.into_iter().map(of).collect()
    })
}

fn ttl(choices: Vec<Option<u64>>) -> impl Strategy<Value = Option<Duration>> {
    prop::sample::select(choices).prop_map(|seconds| seconds.map(Duration::from_secs))
}

pub fn config() -> impl Strategy<Value = ProfileConfig> {
    let intake = (
        prop_oneof![2 => 1u16..8, 1 => Just(20u16)],
        prop_oneof![1 => Just(9usize), 3 => Just(2000usize)],
        prop_oneof![3 => 1u32..7, 1 => Just(1000u32)],
        prop_oneof![1 => Just(0u16), 1 => 1u16..6, 2 => Just(256u16)],
        ttl(vec![None, Some(60), Some(600), Some(600)]),
        any::<bool>(),
        prop::bool::weighted(0.75),
    );
    let facts = (
        prop_oneof![1 => 0usize..3, 3 => Just(30usize)],
        prop::sample::select(vec![0.6, 0.6, 0.0, 0.8]),
        prop::bool::weighted(0.75),
        prop::sample::select(vec![AuditRows::Snapshot, AuditRows::Changes]),
    );
    let ttls = (
        ttl(vec![None, None, Some(30), Some(600), Some(1000)]),
        ttl(vec![None, Some(60), Some(900)]),
        ttl(vec![None, Some(60)]),
    );
    (intake, facts, ttls).prop_map(|(intake, facts, ttls)| {
        let (message_buffer_size, max_content_chars, emission_threshold, dedup_window, timer_ttl, ends, overflows) =
            intake;
        let (max_facts_per_emission, confidence_threshold, require_evidence, audit_rows) = facts;
        let (buffer_ttl, facts_ttl, dedup_ttl) = ttls;
        ProfileConfig {
            query_name: "test".to_owned(),
            message_buffer_size,
            max_content_chars,
            emission_threshold,
            dedup_window,
            timer_ttl,
            emit_on_conversation_end: ends,
            // A pending message that fell out unseen has left no time behind that a TTL could count from.
            emit_before_overflow: overflows || buffer_ttl.is_some(),
            max_facts_per_emission,
            confidence_threshold,
            require_evidence,
            audit_rows,
            buffer_ttl,
            facts_ttl,
            dedup_ttl,
        }
    })
}

//! What the profile processor can be told, with the defaults of the contract.

use std::time::Duration;

/// Which current facts an emission writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditRows {
    /// Every current fact, unchanged ones too.
    Snapshot,
    /// Only what changed.
    Changes,
}

/// The settings of [`super::ProfileProcessor`].
#[derive(Clone, Debug, PartialEq)]
pub struct ProfileConfig {
    /// The query's name: part of what emission ids are made from.
    pub query_name: String,
    /// Messages that the buffer holds, from 1 to 1000.
    pub message_buffer_size: u16,
    pub max_content_chars: usize,
    /// User messages after which an emission happens, at least 1.
    pub emission_threshold: u32,
    /// Events among which an id counts as seen, from 0 (no dropping) to 60000.
    pub dedup_window: u16,
    /// How long a user message waits at most; `None` is off.
    pub timer_ttl: Option<Duration>,
    pub emit_on_conversation_end: bool,
    pub emit_before_overflow: bool,
    pub max_facts_per_emission: usize,
    pub confidence_threshold: f64,
    pub require_evidence: bool,
    pub audit_rows: AuditRows,
    pub buffer_ttl: Option<Duration>,
    pub facts_ttl: Option<Duration>,
    pub dedup_ttl: Option<Duration>,
}

impl Default for ProfileConfig {
    fn default() -> Self {
        Self {
            query_name: "profile_memory".to_owned(),
            message_buffer_size: 20,
            max_content_chars: 2000,
            emission_threshold: 10,
            dedup_window: 256,
            timer_ttl: Some(Duration::from_secs(600)),
            emit_on_conversation_end: true,
            emit_before_overflow: true,
            max_facts_per_emission: 30,
            confidence_threshold: 0.6,
            require_evidence: true,
            audit_rows: AuditRows::Snapshot,
            buffer_ttl: None,
            facts_ttl: None,
            dedup_ttl: None,
        }
    }
}

/// The longest value of a fact, in characters.
pub const MAX_VALUE_CHARS: usize = 100;

/// Conversations that count as open.
pub const OPEN_CONVERSATIONS: usize = 8;

/// The event ids that a fact names where the extractor does not tell: the last ones of the window.
pub const DEFAULT_SOURCES: usize = 10;

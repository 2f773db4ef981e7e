//! An extraction: what is asked of an extractor, and what it answers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::fact::{Fact, UnknownWord, words};
use crate::processor::Request;
use crate::time::Timestamp;

/// The role whose messages are evidence.
pub const USER_ROLE: &str = "user";

/// A message as the buffer keeps it: folded and clipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub event_id: String,
    pub conversation_id: String,
    pub role: String,
    pub content: String,
    /// When it was written.
    pub ts: Timestamp,
    /// The user's clock when it was added: what timers and TTLs count from.
    pub at: Timestamp,
}

impl Message {
    /// Whether the user wrote it.
    #[must_use]
    pub fn is_users(&self) -> bool {
        self.role == USER_ROLE
    }
}

/// Why an emission happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Trigger {
    Threshold,
    Timer,
    ConversationEnd,
    Overflow,
    Drain,
}

words!(Trigger, "trigger", "threshold, timer, conversation_end, overflow, drain",
    Threshold => "threshold", Timer => "timer", ConversationEnd => "conversation_end", Overflow => "overflow",
    Drain => "drain");

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExtractorKind {
    Model,
    Heuristic,
}

words!(ExtractorKind, "extractor", "model, heuristic", Model => "model", Heuristic => "heuristic");

/// A message of a window, with its place in the user's messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowMessage {
    /// Rising by one with each message of the user's stream.
    pub seq: u64,
    pub message: Message,
}

/// What a trigger fixes: kept as state until the answer is applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtractionRequest {
    /// The number of the user's emission, from 1.
    pub number: u64,
    pub trigger: Trigger,
    pub emission_ts: Timestamp,
    /// Messages with a sequence number of this or above had not been in an earlier window; those below are context.
    pub fresh_from: u64,
    /// Oldest first.
    pub window: Vec<WindowMessage>,
}

impl Request for ExtractionRequest {
    fn number(&self) -> u64 {
        self.number
    }
}

/// What an extractor is asked: a window and the facts as they are when the request's turn has come.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtractionCall {
    pub request: ExtractionRequest,
    /// The emission's id: anonymous, the same in every run.
    pub emission_id: String,
    /// Current facts in the order of their keys.
    pub facts: Vec<(String, Fact)>,
}

/// One fact of an answer, not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProposedFact {
    pub key: String,
    /// One of the words of [`super::Kind`]; others are dropped when the answer is applied. Not needed for a deletion.
    pub kind: String,
    pub value: String,
    pub confidence: f64,
    /// `new`, `updated`, `unchanged` or `deleted`; of the first three the word is not trusted.
    pub action: String,
    /// What shows it. May name an event, quote words, or both.
    pub evidence: Vec<Evidence>,
    pub reason: String,
}

/// Where a fact comes from, in the extractor's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    pub event_id: Option<String>,
    pub quote: Option<String>,
}

/// How an extraction went. The word is the `status` of the extractions table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExtractionStatus {
    /// The extractor answered.
    Ok,
    /// The model's first answer did not parse, its second did.
    Repaired,
    /// There is no model to ask: the rules answered.
    Unavailable,
    /// The model was asked in vain: the rules answered.
    Failed,
}

words!(ExtractionStatus, "status", "ok, repaired, unavailable, failed",
    Ok => "ok", Repaired => "repaired", Unavailable => "unavailable", Failed => "failed");

impl ExtractionStatus {
    /// The value of the status row that the audit gets, if any.
    #[must_use]
    pub fn audit_value(self) -> Option<&'static str> {
        match self {
            Self::Ok => None,
            Self::Repaired => Some("llm_primary_failed_repair_succeeded"),
            Self::Unavailable => Some("llm_unavailable_heuristic_fallback"),
            Self::Failed => Some("llm_failed_heuristic_fallback"),
        }
    }
}

/// What an extractor answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ExtractionAnswer {
    pub extractor: ExtractorKind,
    /// The model's or endpoint's name; `None` for the rules.
    pub model: Option<String>,
    pub status: ExtractionStatus,
    pub facts: Vec<ProposedFact>,
    /// When the answer came, by the wall clock.
    pub answered_at: Timestamp,
    pub attempts: i32,
    pub latency_ms: i64,
    pub prompt_tokens: Option<i64>,
    pub completion_tokens: Option<i64>,
    /// What went wrong with the model, if anything did. Holds no message text, token or key.
    pub error: Option<String>,
    /// The version of the instructions that a model was asked with; `None` where none was asked.
    pub prompt_version: Option<String>,
}

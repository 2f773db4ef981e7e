//! The tables of the profile memory, and how an emission becomes rows of them.

use sha2::{Digest, Sha256};

use super::extraction::{ExtractionAnswer, ExtractionRequest, Trigger};
use super::fact::{Action, Fact, Kind};
use crate::table::{Column, ColumnType, RowBuffer, TableSchema};
use crate::time::Timestamp;

/// The key of the row that records a fallback or a repair.
pub const STATUS_KEY: &str = "__llm_status__";

/// Every change of every fact.
pub static PROFILE_AUDIT: TableSchema = TableSchema {
    name: "profile_memory_audit",
    comment: "Every change of every remembered fact, one row a fact an emission",
    columns: &[
        Column::new("user_id", ColumnType::Text, "Whom the fact is about").with_statistics(),
        Column::new("emission_id", ColumnType::Text, "The emission; sorts in emission order for a user"),
        Column::new("emission_ts", ColumnType::Timestamp, "When; never goes back for a user").with_statistics(),
        Column::new("key", ColumnType::Text, "What the fact is about, in lower snake_case"),
        Column::new("kind", ColumnType::Text, "identity, preference, project or constraint"),
        Column::new("value", ColumnType::Text, "The fact; of a deleted one its last value"),
        Column::new("confidence", ColumnType::Double, "From 0 to 1"),
        Column::new("action", ColumnType::Text, "new, updated, unchanged or deleted"),
        Column::new("previous_value", ColumnType::Text, "What an updated fact was before"),
        Column::new("source_event_ids", ColumnType::TextList, "The messages that support it"),
        Column::new("reason", ColumnType::Text, "Why, with the user's own words where they can be quoted"),
        Column::new("trigger", ColumnType::Text, "Why the emission happened"),
        Column::new("extractor", ColumnType::Text, "model or heuristic"),
        Column::new("model", ColumnType::Text, "The model's endpoint"),
    ],
};

/// One row an extraction: what cost, fallback rate and quality are read from.
pub static EXTRACTIONS: TableSchema = TableSchema {
    name: "profile_memory_extractions",
    comment: "One row an extraction: how it went and what it cost",
    columns: &[
        Column::new("emission_id", ColumnType::Text, "The emission that it led to"),
        Column::new("user_id", ColumnType::Text, "Whose messages were read").with_statistics(),
        Column::new("extraction_ts", ColumnType::Timestamp, "When the answer came, by the wall clock")
            .with_statistics(),
        Column::new("trigger", ColumnType::Text, "Why it was asked"),
        Column::new("extractor", ColumnType::Text, "Who answered: model or heuristic"),
        Column::new("model", ColumnType::Text, "The model's endpoint"),
        Column::new("status", ColumnType::Text, "ok, repaired, unavailable or failed"),
        Column::new("attempts", ColumnType::Int, "Requests sent"),
        Column::new("latency_ms", ColumnType::Long, "From the first request to the answer"),
        Column::new("prompt_tokens", ColumnType::Long, "As the endpoint counts them"),
        Column::new("completion_tokens", ColumnType::Long, "As the endpoint counts them"),
        Column::new("facts_proposed", ColumnType::Int, "Facts in the answer"),
        Column::new("facts_accepted", ColumnType::Int, "Facts that passed all checks"),
        Column::new("error", ColumnType::Text, "What went wrong with the model"),
        Column::new("prompt_version", ColumnType::Text, "The version of the instructions that the model got"),
    ],
};

/// The id of a user's emission: made of the query's name, the user and the emission's number only, so it is the same
/// in every run; it sorts in emission order for a user, and tells nobody who the user is.
#[must_use]
pub fn emission_id(query_name: &str, user_id: &str, number: u64) -> String {
    let mut hash = Sha256::new();
    hash.update((query_name.len() as u64).to_le_bytes());
    hash.update(query_name);
    hash.update(user_id);
    let digest = hash.finalize();
    let mut id = String::with_capacity(32 + 1 + 12);
    for byte in digest.iter().take(16) {
        for nibble in [byte >> 4, byte & 0xf] {
            id.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    id.push_str(&format!("-{number:012}"));
    id
}

/// What all rows of one emission have in common.
pub(super) struct EmissionRows<'a> {
    pub user_id: &'a str,
    pub emission_id: &'a str,
    pub emission_ts: Timestamp,
    pub trigger: Trigger,
    pub answer: &'a ExtractionAnswer,
}

/// The part of an audit row that is its own.
pub(super) struct AuditRow<'a, S> {
    pub key: &'a str,
    pub kind: Kind,
    pub value: &'a str,
    pub confidence: f64,
    pub action: Action,
    pub previous_value: Option<&'a str>,
    pub source_event_ids: S,
    pub reason: Option<&'a str>,
}

impl EmissionRows<'_> {
    pub fn audit<S, T>(&self, rows: &mut RowBuffer, row: AuditRow<'_, S>)
    where
        S: ExactSizeIterator<Item = T>,
        T: AsRef<str>,
    {
        rows.row()
            .text(self.user_id)
            .text(self.emission_id)
            .timestamp(self.emission_ts)
            .text(row.key)
            .text(row.kind.as_str())
            .text(row.value)
            .double(row.confidence)
            .text(row.action.as_str())
            .text(row.previous_value)
            .texts(Some(row.source_event_ids))
            .text(row.reason)
            .text(self.trigger.as_str())
            .text(self.answer.extractor.as_str())
            .text(self.answer.model.as_deref());
    }

    /// A current fact, as it is after the emission.
    pub fn fact(&self, rows: &mut RowBuffer, key: &str, fact: &Fact, action: Action, previous_value: Option<&str>) {
        self.audit(
            rows,
            AuditRow {
                key,
                kind: fact.kind,
                value: &fact.value,
                confidence: fact.confidence,
                action,
                previous_value,
                source_event_ids: fact.source_event_ids.iter(),
                reason: Some(fact.reason.as_str()).filter(|reason| !reason.is_empty()),
            },
        );
    }

    pub fn extraction(&self, rows: &mut RowBuffer, accepted: usize) {
        let count = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        rows.row()
            .text(self.emission_id)
            .text(self.user_id)
            .timestamp(self.answer.answered_at)
            .text(self.trigger.as_str())
            .text(self.answer.extractor.as_str())
            .text(self.answer.model.as_deref())
            .text(self.answer.status.as_str())
            .int(self.answer.attempts)
            .long(self.answer.latency_ms)
            .long(self.answer.prompt_tokens)
            .long(self.answer.completion_tokens)
            .int(count(self.answer.facts.len()))
            .int(count(accepted))
            .text(self.answer.error.as_deref())
            .text(self.answer.prompt_version.as_deref());
    }
}

/// The ids of the last messages of a window: the sources where an extractor names none.
pub(super) fn last_event_ids(request: &ExtractionRequest) -> Vec<String> {
    let from = request.window.len().saturating_sub(super::config::DEFAULT_SOURCES);
    request.window.iter().skip(from).map(|window| window.message.event_id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emission_ids_are_stable_sort_by_number_and_differ_by_user_and_query() {
        let id = emission_id("profile_memory", "alex_chen", 7);
        assert_eq!(id, emission_id("profile_memory", "alex_chen", 7));
        assert!(id < emission_id("profile_memory", "alex_chen", 10));
        assert_ne!(id, emission_id("profile_memory", "sam_patel", 7));
        assert_ne!(emission_id("ab", "c", 1), emission_id("a", "bc", 1));
        assert!(!id.contains("alex"));
    }
}

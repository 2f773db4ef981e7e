//! Rows of the tables as structs, decoded from what a sink was given.

use memoir_core::Timestamp;
use memoir_core::table::{RowBuffer, RowReader};

#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    pub user_id: String,
    pub emission_id: String,
    pub emission_ts: Timestamp,
    pub key: String,
    pub kind: String,
    pub value: String,
    pub confidence: f64,
    pub action: String,
    pub previous_value: Option<String>,
    pub source_event_ids: Vec<String>,
    pub reason: Option<String>,
    pub trigger: String,
    pub extractor: String,
    pub model: Option<String>,
}

/// A row of the extractions table, without what differs from run to run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ExtractionRow {
    pub user_id: String,
    pub emission_id: String,
    pub trigger: String,
    pub extractor: String,
    pub model: Option<String>,
    pub status: String,
    pub attempts: i32,
    pub facts_proposed: i32,
    pub facts_accepted: i32,
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectedRow {
    pub source: String,
    pub partition: String,
    pub position: i64,
    pub reason: String,
    pub record: String,
}

fn text(row: &mut RowReader<'_>) -> String {
    row.text().unwrap().expect("a text that is never null").to_owned()
}

fn optional(row: &mut RowReader<'_>) -> Option<String> {
    row.text().unwrap().map(str::to_owned)
}

fn read<T>(buffer: &RowBuffer, mut decode: impl FnMut(&mut RowReader<'_>) -> T) -> Vec<T> {
    let (mut reader, mut rows) = (RowReader::new(&buffer.bytes), Vec::new());
    while !reader.is_at_end() {
        rows.push(decode(&mut reader));
    }
    assert_eq!(rows.len() as u64, buffer.rows, "the buffer counts its rows right");
    rows
}

impl AuditRow {
    pub fn read(buffer: &RowBuffer) -> Vec<Self> {
        read(buffer, |row| Self {
            user_id: text(row),
            emission_id: text(row),
            emission_ts: row.timestamp().unwrap().unwrap(),
            key: text(row),
            kind: text(row),
            value: text(row),
            confidence: row.double().unwrap().unwrap(),
            action: text(row),
            previous_value: optional(row),
            source_event_ids: row.texts().unwrap().unwrap().into_iter().map(str::to_owned).collect(),
            reason: optional(row),
            trigger: text(row),
            extractor: text(row),
            model: optional(row),
        })
    }

    /// Sorted rows are what "the same audit" compares.
    pub fn sort(rows: &mut [Self]) {
        rows.sort_by(|a, b| {
            (&a.user_id, &a.emission_id, &a.key, &a.action, &a.value).cmp(&(
                &b.user_id,
                &b.emission_id,
                &b.key,
                &b.action,
                &b.value,
            ))
        });
    }
}

impl ExtractionRow {
    pub fn read(buffer: &RowBuffer) -> Vec<Self> {
        read(buffer, |row| {
            let (emission_id, user_id) = (text(row), text(row));
            row.timestamp().unwrap().unwrap();
            let (trigger, extractor, model, status) = (text(row), text(row), optional(row), text(row));
            let attempts = row.int().unwrap().unwrap();
            row.long().unwrap().unwrap();
            row.long().unwrap();
            row.long().unwrap();
            let facts_proposed = row.int().unwrap().unwrap();
            let facts_accepted = row.int().unwrap().unwrap();
            let error = optional(row);
            optional(row);
            Self {
                user_id,
                emission_id,
                trigger,
                extractor,
                model,
                status,
                attempts,
                facts_proposed,
                facts_accepted,
                error,
            }
        })
    }
}

impl RejectedRow {
    pub fn read(buffer: &RowBuffer) -> Vec<Self> {
        read(buffer, |row| {
            row.timestamp().unwrap().unwrap();
            Self {
                source: text(row),
                partition: text(row),
                position: row.long().unwrap().unwrap(),
                reason: text(row),
                record: text(row),
            }
        })
    }
}

//! Conversation events as lines of NDJSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// An event to be changed field by field.
#[derive(Clone)]
pub struct Event(pub Value);

impl Event {
    /// What a user says as their `number`-th message of conversation `c1`, twenty seconds after the one before.
    pub fn new(user: &str, number: u64, content: &str) -> Self {
        let (minute, second) = (number / 3, number % 3 * 20);
        Self(json!({
            "event_id": format!("{user}/{number}"),
            "ts": format!("2026-01-05T{:02}:{:02}:{second:02}Z", 9 + minute / 60, minute % 60),
            "conversation_id": format!("{user}/c1"),
            "user_id": user,
            "role": "user",
            "content": content,
        }))
    }

    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0[field] = value.into();
        self
    }

    pub fn without(mut self, field: &str) -> Self {
        self.0.as_object_mut().unwrap().remove(field);
        self
    }

    /// The line, with its end.
    pub fn line(&self) -> String {
        format!("{}\n", self.0)
    }
}

/// The line of [`Event::new`].
pub fn said(user: &str, number: u64, content: &str) -> String {
    Event::new(user, number, content).line()
}

/// Events as lines.
pub fn lines(events: &[Event]) -> String {
    events.iter().map(Event::line).collect()
}

/// A moment of the wall clock as tables show it, for comparisons.
pub fn system_time_text(time: SystemTime) -> String {
    let since: Duration = time.duration_since(UNIX_EPOCH).unwrap();
    let time = chrono::DateTime::from_timestamp_micros(since.as_micros() as i64).unwrap();
    time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

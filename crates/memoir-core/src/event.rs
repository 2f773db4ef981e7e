//! The conversation event: one chat message, as sources read it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::processor::StreamEvent;
use crate::table::{Column, ColumnType, RowError, RowReader, RowWriter, TableSchema};
use crate::time::{Timestamp, TimestampError};

/// One chat message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConversationEvent {
    pub event_id: String,
    #[serde(serialize_with = "timestamp_as_text")]
    pub ts: Timestamp,
    pub conversation_id: String,
    pub user_id: String,
    /// `user`, `assistant` or anything else; only `user` is evidence.
    pub role: String,
    pub content: String,
}

/// Why a record is not an event. Texts are short and hold nothing of the message itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    #[error("not UTF-8 from byte {0} on")]
    NotUtf8(usize),
    #[error("not a JSON object: {0}")]
    NotJson(String),
    #[error("field `{0}` is missing")]
    Missing(&'static str),
    #[error("field `{0}` is not a string")]
    NotAString(&'static str),
    #[error("field `{0}` is empty")]
    Empty(&'static str),
    #[error("field `ts`: {0}")]
    Timestamp(#[from] TimestampError),
}

/// The fields as they stand in the JSON, before any is checked.
#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow, default)]
    event_id: Field<'a>,
    #[serde(borrow, default)]
    ts: Field<'a>,
    #[serde(borrow, default)]
    conversation_id: Field<'a>,
    #[serde(borrow, default)]
    user_id: Field<'a>,
    #[serde(borrow, default)]
    role: Field<'a>,
    #[serde(borrow, default)]
    content: Field<'a>,
}

#[derive(Default)]
enum Field<'a> {
    #[default]
    Missing,
    NotAString,
    Text(Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Field<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("a value")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Field<'de>, E> {
                Ok(Field::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Field<'de>, E> {
                Ok(Field::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_unit<E>(self) -> Result<Field<'de>, E> {
                Ok(Field::NotAString)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Field<'de>, E> {
                Ok(Field::NotAString)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Field<'de>, E> {
                Ok(Field::NotAString)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Field<'de>, E> {
                Ok(Field::NotAString)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Field<'de>, E> {
                Ok(Field::NotAString)
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Field<'de>, A::Error> {
                while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
                Ok(Field::NotAString)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Field<'de>, A::Error> {
                while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
                Ok(Field::NotAString)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A record that is not an event: why, and the key that it would have belonged to where that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEvent {
    pub error: EventError,
    pub user_id: Option<String>,
}

impl ConversationEvent {
    /// Reads one JSON object with the six fields as strings. Ids must not be empty; other fields are ignored.
    ///
    /// # Errors
    /// Says the first thing that is wrong, in the order of the table's columns, and the user where there is one.
    pub fn from_json(line: &[u8]) -> Result<Self, BadEvent> {
        let keyless = |error| BadEvent { error, user_id: None };
        let line = std::str::from_utf8(line).map_err(|error| keyless(EventError::NotUtf8(error.valid_up_to())))?;
        if !line.trim_ascii_start().starts_with('{') {
            // serde would take an array of six values for a struct.
            return Err(keyless(EventError::NotJson("the record does not begin with `{`".to_owned())));
        }
        let raw: RawEvent<'_> =
            serde_json::from_str(line).map_err(|error| keyless(EventError::NotJson(error.to_string())))?;
        let user_id = match &raw.user_id {
            Field::Text(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        Self::from_raw(raw).map_err(|error| BadEvent { error, user_id: user_id.map(Cow::into_owned) })
    }

    fn from_raw(raw: RawEvent<'_>) -> Result<Self, EventError> {
        let event_id = id("event_id", raw.event_id)?;
        let ts = Timestamp::parse(&text("ts", raw.ts)?)?;
        let conversation_id = id("conversation_id", raw.conversation_id)?;
        let user_id = id("user_id", raw.user_id)?;
        let role = text("role", raw.role)?.into_owned();
        let content = text("content", raw.content)?.into_owned();
        Ok(Self { event_id, ts, conversation_id, user_id, role, content })
    }
}

/// The table of conversation events, also the archive of what came from files or Kafka.
pub static CONVERSATION_EVENTS: TableSchema = TableSchema {
    name: "conversation_events",
    comment: "Chat messages, one row a message",
    columns: &[
        Column::new("event_id", ColumnType::Text, "Unique id of the message"),
        Column::new("ts", ColumnType::Timestamp, "When it was written").with_statistics(),
        Column::new("conversation_id", ColumnType::Text, "The conversation that it belongs to"),
        Column::new("user_id", ColumnType::Text, "Whose conversation it is").with_statistics(),
        Column::new("role", ColumnType::Text, "Who wrote it: user, assistant or another"),
        Column::new("content", ColumnType::Text, "What was written"),
    ],
};

impl StreamEvent for ConversationEvent {
    const SCHEMA: &'static TableSchema = &CONVERSATION_EVENTS;

    fn key(&self) -> &str {
        &self.user_id
    }

    fn ts(&self) -> Timestamp {
        self.ts
    }

    fn from_json(record: &[u8]) -> Result<Self, BadEvent> {
        ConversationEvent::from_json(record)
    }

    fn from_row(row: &mut RowReader<'_>) -> Result<Result<Self, BadEvent>, RowError> {
        let (event_id, ts, conversation_id) = (row.text()?, row.timestamp()?, row.text()?);
        let (user_id, role, content) = (row.text()?, row.text()?, row.text()?);
        let key = user_id.filter(|id| !id.is_empty()).map(str::to_owned);
        let field = |text: Option<&str>| text.map_or(Field::Missing, |text| Field::Text(Cow::Owned(text.to_owned())));
        let event = (|| {
            Ok(Self {
                event_id: id("event_id", field(event_id))?,
                ts: ts.ok_or(EventError::Missing("ts"))?,
                conversation_id: id("conversation_id", field(conversation_id))?,
                user_id: id("user_id", field(user_id))?,
                role: text("role", field(role))?.into_owned(),
                content: text("content", field(content))?.into_owned(),
            })
        })();
        Ok(event.map_err(|error| BadEvent { error, user_id: key }))
    }

    fn write_row(&self, row: &mut RowWriter<'_>) {
        row.text(self.event_id.as_str())
            .timestamp(self.ts)
            .text(self.conversation_id.as_str())
            .text(self.user_id.as_str())
            .text(self.role.as_str())
            .text(self.content.as_str());
    }
}

fn text<'a>(name: &'static str, field: Field<'a>) -> Result<Cow<'a, str>, EventError> {
    match field {
        Field::Text(text) => Ok(text),
        Field::Missing => Err(EventError::Missing(name)),
        Field::NotAString => Err(EventError::NotAString(name)),
    }
}

fn id(name: &'static str, field: Field<'_>) -> Result<String, EventError> {
    let id = text(name, field)?;
    if id.is_empty() { Err(EventError::Empty(name)) } else { Ok(id.into_owned()) }
}

fn timestamp_as_text<S: serde::Serializer>(ts: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(ts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"event_id":"e1","ts":"2026-01-05T09:00:00Z","conversation_id":"c1","user_id":"u1","role":"user","content":"hi \"you\""}"#;

    #[test]
    fn a_good_record_is_read_and_written_back_the_same() {
        let event = ConversationEvent::from_json(GOOD.as_bytes()).unwrap();
        assert_eq!(event.content, "hi \"you\"");
        let again = serde_json::to_vec(&event).unwrap();
        assert_eq!(ConversationEvent::from_json(&again).unwrap(), event);
    }

    #[test]
    fn each_kind_of_bad_record_names_what_is_wrong() {
        let bad = |from: &str, to: &str| ConversationEvent::from_json(GOOD.replace(from, to).as_bytes()).unwrap_err();
        assert!(matches!(ConversationEvent::from_json(b"[1,2]").unwrap_err().error, EventError::NotJson(_)));
        assert!(matches!(ConversationEvent::from_json(b"{\"a\":").unwrap_err().error, EventError::NotJson(_)));
        assert!(matches!(ConversationEvent::from_json(b"").unwrap_err().error, EventError::NotJson(_)));
        assert_eq!(ConversationEvent::from_json(b"{\"a\":\"\xff\"}").unwrap_err().error, EventError::NotUtf8(6));
        assert_eq!(bad("\"role\":\"user\",", "").error, EventError::Missing("role"));
        assert_eq!(bad("\"e1\"", "17").error, EventError::NotAString("event_id"));
        assert_eq!(bad("\"c1\"", "null").error, EventError::NotAString("conversation_id"));
        assert_eq!(bad("\"u1\"", "\"\"").error, EventError::Empty("user_id"));
        assert!(matches!(bad("2026-01-05T09:00:00Z", "soon").error, EventError::Timestamp(_)));
    }

    #[test]
    fn a_bad_record_keeps_its_user_where_it_has_one() {
        let bad = ConversationEvent::from_json(GOOD.replace("2026-01-05T09:00:00Z", "soon").as_bytes()).unwrap_err();
        assert_eq!(bad.user_id.as_deref(), Some("u1"));
        let bad = ConversationEvent::from_json(GOOD.replace("\"u1\"", "{}").as_bytes()).unwrap_err();
        assert_eq!(bad.user_id, None);
    }

    #[test]
    fn other_fields_are_ignored_and_any_role_is_taken() {
        let line = GOOD.replace("\"role\":\"user\"", "\"role\":\"tool\",\"extra\":{\"a\":[1]}");
        assert_eq!(ConversationEvent::from_json(line.as_bytes()).unwrap().role, "tool");
    }
}

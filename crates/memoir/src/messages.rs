//! The messages that facts rest on: word for word from `conversation_events`, for those who show where a fact came from.

use std::collections::{BTreeMap, BTreeSet};

use memoir_core::Timestamp;
use memoir_core::event::CONVERSATION_EVENTS;
use memoir_lake::Warehouse;

use crate::output::Rows;

/// A message as the table has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub event_id: String,
    pub ts: Timestamp,
    pub role: String,
    pub content: String,
}

/// The messages of these ids that belong to the user, by id. Those that the table does not have are left out; where
/// there is no table there are none.
pub async fn find(
    warehouse: &Warehouse,
    user: &str,
    ids: &BTreeSet<String>,
) -> anyhow::Result<BTreeMap<String, Message>> {
    if ids.is_empty() || !warehouse.has_table(CONVERSATION_EVENTS.name).await? {
        return Ok(BTreeMap::new());
    }
    let list = ids.iter().map(|id| literal(id)).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "SELECT event_id, ts, role, content FROM {} WHERE user_id = {} AND event_id IN ({list}) ORDER BY ts, event_id",
        CONVERSATION_EVENTS.name,
        literal(user)
    );
    let result = warehouse.query(&sql).await?;
    let rows = Rows::from_batches(&result.schema, &result.batches)?;
    let messages = rows.named().filter_map(|row| {
        let message = Message {
            event_id: row.text("event_id").to_owned(),
            ts: row.get("ts").as_time()?,
            role: row.text("role").to_owned(),
            content: row.text("content").to_owned(),
        };
        Some((message.event_id.clone(), message))
    });
    Ok(messages.collect())
}

/// A text as SQL writes it.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_in_an_id_does_not_end_the_text() {
        assert_eq!(literal("o'brien' OR '1'='1"), "'o''brien'' OR ''1''=''1'");
    }
}

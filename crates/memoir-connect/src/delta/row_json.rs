//! A row as a JSON object, in the order of its columns: how a dead letter shows it.

use memoir_core::table::{ColumnType, RowError, RowReader, TableSchema};
use serde_json::{Value, json};

pub(super) fn row_as_json(schema: &TableSchema, row: &mut RowReader<'_>) -> Result<String, RowError> {
    let mut text = String::from("{");
    for (number, column) in schema.columns.iter().enumerate() {
        let value = match column.column_type {
            ColumnType::Text => json!(row.text()?),
            ColumnType::Timestamp => json!(row.timestamp()?.map(|time| time.to_string())),
            ColumnType::Double => json!(row.double()?),
            ColumnType::Int => json!(row.int()?),
            ColumnType::Long => json!(row.long()?),
            ColumnType::TextList => json!(row.texts()?),
        };
        let separator = if number == 0 { "" } else { "," };
        text.push_str(&format!("{separator}{}:{value}", Value::from(column.name)));
    }
    text.push('}');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use memoir_core::event::CONVERSATION_EVENTS;
    use memoir_core::table::RowBuffer;
    use memoir_core::time::Timestamp;

    use super::*;

    #[test]
    fn a_row_is_shown_with_its_columns_in_order_and_its_nulls() {
        let mut rows = RowBuffer::default();
        rows.row().text("e\"1").timestamp(Timestamp::from_micros(0)).text("c").text(None).text("user").text("hi");
        let shown = row_as_json(&CONVERSATION_EVENTS, &mut RowReader::new(&rows.bytes)).unwrap();
        assert_eq!(
            shown,
            r#"{"event_id":"e\"1","ts":"1970-01-01T00:00:00.000000Z","conversation_id":"c","user_id":null,"role":"user","content":"hi"}"#
        );
        assert!(row_as_json(&CONVERSATION_EVENTS, &mut RowReader::new(&[])).is_err());
    }
}

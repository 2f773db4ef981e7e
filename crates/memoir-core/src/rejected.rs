//! The dead-letter table: records that were no events, with their place and the reason.
//!
//! A [`BadRecord`] becomes one row here, and goes through the outbox as audit rows do. Who writes it decides when:
//! `rejected_ts` is no part of what a run promises to repeat.

use crate::source::BadRecord;
use crate::table::{Column, ColumnType, RowBuffer, RowError, RowReader, TableSchema, fingerprint};
use crate::time::Timestamp;

/// The table of dead letters.
pub static REJECTED: TableSchema = TableSchema {
    name: "conversation_events_rejected",
    comment: "Records that could not be taken, one row a record",
    columns: &[
        Column::new("rejected_ts", ColumnType::Timestamp, "When it was refused").with_statistics(),
        Column::new("source", ColumnType::Text, "The file, table or topic that it came from"),
        Column::new("partition", ColumnType::Text, "The partition; for a Delta table the version"),
        Column::new("position", ColumnType::Long, "The 1-based line, the row or the offset"),
        Column::new("reason", ColumnType::Text, "Why it was refused"),
        Column::new("record", ColumnType::Text, "As it came, at most 64 KiB; base64 where the reason says so"),
    ],
};

/// Adds the row of one dead letter.
pub fn write_rejected(bad: &BadRecord, rejected_ts: Timestamp, rows: &mut RowBuffer) {
    rows.row()
        .timestamp(rejected_ts)
        .text(bad.source.as_str())
        .text(bad.partition.as_str())
        .long(bad.place)
        .text(bad.reason.as_str())
        .text(bad.record.as_str());
}

/// The columns by which the dead letters of one record stand together.
pub const REJECTED_PLACE: &[&str] = &["source", "position", "record"];

/// What tells the record of a dead letter apart: its source, its position and itself. When and why it was refused does not
/// count, nor does the partition: a file that has grown since may go by another one.
///
/// # Errors
/// When the bytes are no row of [`REJECTED`].
pub fn rejected_fingerprint(row: &[u8]) -> Result<u128, RowError> {
    let mut reader = RowReader::new(row);
    reader.timestamp()?;
    let mut place = Vec::new();
    let mut keep = |from: usize, to: usize| place.extend_from_slice(row.get(from..to).unwrap_or_default());
    let source = reader.at();
    reader.text()?;
    keep(source, reader.at());
    reader.skip(ColumnType::Text)?;
    let position = reader.at();
    reader.long()?;
    keep(position, reader.at());
    reader.skip(ColumnType::Text)?;
    let record = reader.at();
    reader.text()?;
    keep(record, reader.at());
    Ok(fingerprint(&place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_reads_back_in_the_order_of_the_columns() {
        let bad = BadRecord {
            source: "/data/chat.ndjson".to_owned(),
            partition: "p".to_owned(),
            place: 17,
            reason: "field `ts` is missing".to_owned(),
            record: "{}".to_owned(),
            key: None,
        };
        let mut rows = RowBuffer::default();
        write_rejected(&bad, Timestamp::from_micros(5), &mut rows);
        assert_eq!(rows.rows, 1);
        let mut row = RowReader::new(&rows.bytes);
        assert_eq!(row.timestamp(), Ok(Some(Timestamp::from_micros(5))));
        assert_eq!(row.text(), Ok(Some("/data/chat.ndjson")));
        assert_eq!(row.text(), Ok(Some("p")));
        assert_eq!(row.long(), Ok(Some(17)));
        assert_eq!(row.text(), Ok(Some("field `ts` is missing")));
        assert_eq!(row.text(), Ok(Some("{}")));
        assert!(row.is_at_end());
        let columns: Vec<_> = REJECTED.columns.iter().map(|column| column.name).collect();
        assert_eq!(columns, ["rejected_ts", "source", "partition", "position", "reason", "record"]);
    }
}

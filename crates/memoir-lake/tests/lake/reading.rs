use std::collections::HashSet;
use std::sync::Arc;

use deltalake::arrow::array::{
    ArrayRef, LargeStringArray, RecordBatch, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use deltalake::datafusion::prelude::{col, lit};
use deltalake::kernel::{DataType, PrimitiveType, StructField};
use memoir_core::Timestamp;
use memoir_core::event::CONVERSATION_EVENTS;
use memoir_core::table::{Column, ColumnType, RowBuffer, TableSchema};
use memoir_lake::{Changes, LakeError, TableReader, TableWriter, Warehouse};

use crate::{RUNTIME, added_ids, all_ids, delta, event, events_of, ids_of, mark, place, place_with_events, rows_of};

const ORDER: &[&str] = &["ts", "event_id"];

async fn reader(warehouse: &Warehouse) -> TableReader {
    TableReader::open(warehouse, &CONVERSATION_EVENTS, ORDER).await.unwrap()
}

#[test]
fn a_snapshot_and_each_version_come_in_the_stated_order_from_any_row_on() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        let first = [event("b", 5), event("a", 5), event("z", 1)];
        writer.append(&[rows_of(&first), rows_of(&[event("c", 3)])], &[]).await.unwrap();
        writer.append(&[], &[mark("q/0", 1)]).await.unwrap();
        writer.append(&[rows_of(&[event("e", 2), event("d", 4)])], &[]).await.unwrap();
        let mut reader = reader(&place.warehouse).await;
        assert_eq!(reader.latest_version().await.unwrap(), 3);
        assert_eq!(ids_of(reader.snapshot(3, 0).await.unwrap()).await, ["z", "e", "c", "d", "a", "b"]);
        assert_eq!(ids_of(reader.snapshot(3, 4).await.unwrap()).await, ["a", "b"]);
        assert_eq!(ids_of(reader.snapshot(3, 99).await.unwrap()).await, [""; 0]);
        assert_eq!(ids_of(reader.snapshot(1, 0).await.unwrap()).await, ["z", "c", "a", "b"]);
        for (version, ids) in [(0, &[][..]), (1, &["z", "c", "a", "b"]), (2, &[]), (3, &["e", "d"])] {
            assert_eq!(added_ids(&mut reader, version, 0).await.unwrap(), ids, "version {version}");
        }
        assert_eq!(added_ids(&mut reader, 1, 3).await.unwrap(), ["b"]);
        let error = reader.changes(4, 0).await.err().expect("not yet there");
        assert!(matches!(error, LakeError::VersionGone { version: 4, .. }), "{error}");
        // The reader learns of what is appended while it is open.
        writer.append(&[rows_of(&[event("f", 9)])], &[]).await.unwrap();
        assert_eq!(reader.latest_version().await.unwrap(), 4);
        assert_eq!(added_ids(&mut reader, 4, 0).await.unwrap(), ["f"]);
        assert_eq!(events_of(reader.snapshot(4, 5).await.unwrap()).await[0], event("b", 5));
    });
}

#[test]
fn rows_that_differ_in_nothing_but_their_last_column_still_have_one_order() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        let same = |content: &str| {
            let mut event = event("same", 1);
            event.content = content.to_owned();
            rows_of(&[event])
        };
        for content in ["b", "c", "a"] {
            writer.append(&[same(content)], &[]).await.unwrap();
        }
        let mut reader = reader(&place.warehouse).await;
        let events = events_of(reader.snapshot(3, 0).await.unwrap()).await;
        let contents: Vec<&str> = events.iter().map(|event| event.content.as_str()).collect();
        assert_eq!(contents, ["a", "b", "c"]);
    });
}

#[test]
fn a_version_that_removes_rows_is_reported_and_its_own_rows_are_not_given() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        writer.append(&[rows_of(&[event("e1", 1), event("e2", 2)])], &[]).await.unwrap();
        let off = [("delta.appendOnly".to_owned(), "false".to_owned())].into_iter().collect();
        delta(&place.warehouse, CONVERSATION_EVENTS.name)
            .await
            .set_tbl_properties()
            .with_properties(off)
            .await
            .unwrap();
        let table = delta(&place.warehouse, CONVERSATION_EVENTS.name).await;
        table.delete().with_predicate(col("event_id").eq(lit("e1"))).await.unwrap();
        let mut reader = reader(&place.warehouse).await;
        assert_eq!(added_ids(&mut reader, 2, 0).await, Some(vec![]), "a change of properties adds nothing");
        assert_eq!(added_ids(&mut reader, 3, 0).await, None);
        assert_eq!(all_ids(&place.warehouse).await, ["e2"]);
    });
}

#[test]
fn rows_that_a_deletion_vector_marks_as_deleted_are_not_read() {
    // One roaring bitmap that holds row 0, as Delta writes it into the log itself.
    const FIRST_ROW: &str = "^Bg9^0rr910000000000iXQKl0rr91000005c8Xg00000";
    let place = place();
    RUNTIME.block_on(async {
        let on = [("delta.enableDeletionVectors", "true")];
        foreign_table(&place.warehouse, PrimitiveType::Timestamp, &on, Vec::new()).await;
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        writer.append(&[rows_of(&[event("e1", 1), event("e2", 2)])], &[]).await.unwrap();
        let log = place.warehouse.table_folder(CONVERSATION_EVENTS.name).unwrap().join("_delta_log");
        let commit = log.join(format!("{:020}.json", 1));
        let text = std::fs::read_to_string(&commit).unwrap();
        let vector = format!(
            r#""deletionVector":{{"storageType":"i","pathOrInlineDv":"{FIRST_ROW}","sizeInBytes":34,"cardinality":1}},"#
        );
        std::fs::write(&commit, text.replacen(r#""add":{"#, &format!(r#""add":{{{vector}"#), 1)).unwrap();
        let mut reader = reader(&place.warehouse).await;
        assert_eq!(added_ids(&mut reader, 1, 0).await.unwrap(), ["e2"]);
        assert_eq!(ids_of(reader.snapshot(1, 0).await.unwrap()).await, ["e2"]);
        let counted = place.warehouse.query("select event_id from conversation_events").await.unwrap();
        assert_eq!(counted.rows(), 1);
    });
}

/// A table as other writers make it: other order, other text types, no time zone, a column more.
async fn foreign_table(
    warehouse: &Warehouse,
    ts: PrimitiveType,
    properties: &[(&str, &str)],
    batches: Vec<RecordBatch>,
) {
    let folder = warehouse.table_folder(CONVERSATION_EVENTS.name).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let url = url::Url::from_directory_path(&folder).unwrap();
    let mut columns = vec![StructField::nullable("ts", DataType::Primitive(ts))];
    for name in ["extra", "content", "role", "user_id", "conversation_id", "event_id"] {
        columns.push(StructField::nullable(name, DataType::Primitive(PrimitiveType::String)));
    }
    let mut table = deltalake::DeltaTable::try_from_url(url)
        .await
        .unwrap()
        .create()
        .with_columns(columns)
        .with_configuration(properties.iter().map(|(name, value)| (*name, Some(*value))))
        .await
        .unwrap();
    for batch in batches {
        table = table.write([batch]).await.unwrap();
    }
}

fn foreign_batch(id: &str, second: i64, zone: bool, texts: fn(Vec<&str>) -> ArrayRef) -> RecordBatch {
    let event = event(id, second);
    let times = TimestampMicrosecondArray::from(vec![event.ts.as_micros()]);
    let times: ArrayRef = if zone { Arc::new(times.with_timezone("UTC")) } else { Arc::new(times) };
    let columns = [
        ("ts", times),
        ("extra", texts(vec!["x"])),
        ("content", texts(vec![&event.content])),
        ("role", texts(vec![&event.role])),
        ("user_id", texts(vec![&event.user_id])),
        ("conversation_id", texts(vec![&event.conversation_id])),
        ("event_id", texts(vec![id])),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn tables_of_other_writers_are_read_whatever_their_text_types_order_and_time_zone() {
    let zoned = place();
    let local = place();
    RUNTIME.block_on(async {
        for (place, ts, zone) in
            [(&zoned, PrimitiveType::Timestamp, true), (&local, PrimitiveType::TimestampNtz, false)]
        {
            let batches = vec![
                foreign_batch("e3", 3, zone, |texts| Arc::new(StringViewArray::from(texts))),
                foreign_batch("e1", 1, zone, |texts| Arc::new(StringArray::from(texts))),
                foreign_batch("e2", 2, zone, |texts| Arc::new(LargeStringArray::from(texts))),
            ];
            foreign_table(&place.warehouse, ts, &[], batches).await;
            let mut reader = reader(&place.warehouse).await;
            let events = events_of(reader.snapshot(3, 0).await.unwrap()).await;
            assert_eq!(events, [event("e1", 1), event("e2", 2), event("e3", 3)]);
            assert_eq!(added_ids(&mut reader, 3, 0).await.unwrap(), ["e2"]);
        }
    });
}

#[test]
fn a_column_of_another_type_or_none_at_all_is_named() {
    let place = place();
    RUNTIME.block_on(async {
        foreign_table(&place.warehouse, PrimitiveType::Long, &[], Vec::new()).await;
        let mut reader = reader(&place.warehouse).await;
        let error = reader.snapshot(0, 0).await.err().expect("numbers are no times");
        assert!(error.to_string().contains("`ts` is Int64 and can't be read as Timestamp"), "{error}");
        let mut wrong = TableReader::open(&place.warehouse, &CONVERSATION_EVENTS, &["nothing"]).await.unwrap();
        let error = wrong.snapshot(0, 0).await.err().expect("no such column");
        assert!(error.to_string().contains("`nothing`"), "{error}");
    });
    static WITH_MOOD: TableSchema = TableSchema {
        name: "conversation_events",
        comment: "Events with a column that the table does not have",
        columns: &[Column::new("event_id", ColumnType::Text, ""), Column::new("mood", ColumnType::Text, "")],
    };
    let place = place_with_events();
    RUNTIME.block_on(async {
        place.warehouse.append_rows(&CONVERSATION_EVENTS, &[rows_of(&[event("e1", 1)])]).await.unwrap();
        let mut reader = TableReader::open(&place.warehouse, &WITH_MOOD, &["event_id"]).await.unwrap();
        let error = reader.changes(1, 0).await.err().expect("no such column");
        assert!(error.to_string().contains("`mood` is missing"), "{error}");
    });
}

#[test]
fn a_table_that_somebody_has_partitioned_is_written_and_read_all_the_same() {
    let place = place();
    RUNTIME.block_on(async {
        let folder = place.warehouse.table_folder(CONVERSATION_EVENTS.name).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        let url = url::Url::from_directory_path(&folder).unwrap();
        let mut columns = vec![StructField::nullable("ts", DataType::Primitive(PrimitiveType::Timestamp))];
        for name in ["content", "role", "user_id", "conversation_id", "event_id"] {
            columns.push(StructField::nullable(name, DataType::Primitive(PrimitiveType::String)));
        }
        let table = deltalake::DeltaTable::try_from_url(url).await.unwrap().create().with_columns(columns);
        table.with_partition_columns(["user_id"]).await.unwrap();
        let mut other = event("e3", 3);
        other.user_id = "o'neil & söhne".to_owned();
        let events = [event("e1", 1), event("e2", 2), other];
        place.warehouse.append_rows(&CONVERSATION_EVENTS, &[rows_of(&events)]).await.unwrap();
        let mut reader = reader(&place.warehouse).await;
        assert_eq!(events_of(reader.snapshot(1, 0).await.unwrap()).await, events);
        assert_eq!(added_ids(&mut reader, 1, 0).await.unwrap(), ["e1", "e2", "e3"]);
    });
}

#[test]
fn versions_are_found_by_the_time_of_their_commit() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        writer.append(&[rows_of(&[event("e1", 1)])], &[]).await.unwrap();
        let log = place.warehouse.table_folder(CONVERSATION_EVENTS.name).unwrap().join("_delta_log");
        let at = |seconds: u64| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        for (version, seconds) in [(0, 1_000), (1, 2_000)] {
            let file = std::fs::File::options().append(true).open(log.join(format!("{version:020}.json"))).unwrap();
            file.set_modified(at(seconds)).unwrap();
        }
        let reader = reader(&place.warehouse).await;
        for (seconds, expected) in [(999, None), (1_000, Some(0)), (1_999, Some(0)), (2_000, Some(1)), (9_999, Some(1))]
        {
            let found = reader.version_at(Timestamp::from_micros(seconds * 1_000_000)).await.unwrap();
            assert_eq!(found, expected, "{seconds}");
        }
    });
}

#[test]
fn ids_that_are_there_are_told_and_rows_of_one_user_are_found() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        let mut other = event("e3", 3);
        other.user_id = "o'neil".to_owned();
        writer.append(&[rows_of(&[event("e1", 1), event("e2", 2), other])], &[]).await.unwrap();
        let asked: HashSet<String> = ["e2", "e3", "new"].map(str::to_owned).into();
        let found = place.warehouse.existing_ids(&CONVERSATION_EVENTS, "event_id", &asked).await.unwrap();
        assert_eq!(found, ["e2", "e3"].map(str::to_owned).into());
        let rows = place.warehouse.rows(&CONVERSATION_EVENTS, ORDER, "user_id", "o'neil").await.unwrap();
        assert_eq!(ids_of(rows).await, ["e3"]);
    });
}

#[test]
fn small_versions_are_ordered_in_memory_as_the_query_engine_orders_large_ones() {
    // Texts that differ in case, length and script, equal times, and fields that are null.
    let texts =
        [None, Some(""), Some("a"), Some("A"), Some("ab"), Some("é"), Some("z"), Some("日本"), Some("\u{1F600}")];
    let mut rows = RowBuffer::default();
    for (at, (id, content)) in texts.iter().flat_map(|id| texts.iter().map(move |content| (id, content))).enumerate() {
        let ts = (at % 3 != 0).then(|| Timestamp::from_micros(i64::try_from(at % 2).unwrap()));
        rows.row().text(*id).timestamp(ts).text("c").text("u").text(*content).text(*content);
    }
    let place = place_with_events();
    RUNTIME.block_on(async {
        place.warehouse.append_rows(&CONVERSATION_EVENTS, &[rows]).await.unwrap();
        let mut reader = reader(&place.warehouse).await;
        let mut by_engine = reader.snapshot(1, 5).await.unwrap();
        let Changes::Rows(mut in_memory) = reader.changes(1, 5).await.unwrap() else { panic!("rows were added") };
        let expected = by_engine.next().await.unwrap().unwrap();
        assert_eq!(expected.rows, 76);
        assert!(in_memory.next().await.unwrap().unwrap() == expected, "another order");
        assert!(in_memory.next().await.unwrap().is_none() && by_engine.next().await.unwrap().is_none());
    });
}

#[test]
fn the_latest_version_is_found_however_far_ahead_it_is() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut reader = reader(&place.warehouse).await;
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        for version in 1..=23i64 {
            writer.append(&[], &[mark("q/0", version)]).await.unwrap();
            assert_eq!(reader.latest_version().await.unwrap(), version.unsigned_abs());
        }
        assert_eq!(added_ids(&mut reader, 23, 0).await.unwrap(), [""; 0]);
    });
}

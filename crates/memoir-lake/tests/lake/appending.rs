use std::sync::Arc;
use std::sync::atomic::Ordering;

use deltalake::arrow::util::pretty::pretty_format_batches;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use memoir_core::Timestamp;
use memoir_core::event::CONVERSATION_EVENTS;
use memoir_core::sink::{Sink as _, SinkError};
use memoir_core::table::{Column, ColumnType, RowBuffer, RowReader, TableSchema};
use memoir_lake::{DeltaSink, LakeError, TableWriter, Warehouse};

use crate::unreliable_store::{Faults, UnreliableStore};
use crate::{RUNTIME, all_ids, delta, event, mark, place, place_with_events, rows_of};

static EVERY_TYPE: TableSchema = TableSchema {
    name: "every_type",
    comment: "One column of each type",
    columns: &[
        Column::new("a_text", ColumnType::Text, "Text"),
        Column::new("a_time", ColumnType::Timestamp, "Time"),
        Column::new("a_double", ColumnType::Double, "Double"),
        Column::new("an_int", ColumnType::Int, "Int"),
        Column::new("a_long", ColumnType::Long, "Long"),
        Column::new("some_texts", ColumnType::TextList, "Texts"),
    ],
};

#[test]
fn rows_of_every_type_read_back_as_they_were_appended() {
    let place = place();
    let mut rows = RowBuffer::default();
    rows.row().text(None).timestamp(None).double(None).int(None).long(None).texts(None::<std::slice::Iter<&str>>);
    for i in 0..20_000i32 {
        let texts: Vec<String> = (0..i % 3).map(|n| format!("ü{n}")).collect();
        rows.row()
            .text(format!("text {i:05}").as_str())
            .timestamp(Timestamp::from_micros(i64::from(i) * 1_000_001))
            .double(f64::from(i) / 3.0)
            .int(i)
            .long(i64::from(i) << 33)
            .texts(Some(texts.iter()));
    }
    RUNTIME.block_on(async {
        place.warehouse.ensure_table(&EVERY_TYPE).await.unwrap();
        let mut writer = TableWriter::open(&place.warehouse, &EVERY_TYPE).await.unwrap();
        assert_eq!(writer.append(std::slice::from_ref(&rows), &[]).await.unwrap(), Some(1));
        let mut stream = place.warehouse.scan(&EVERY_TYPE, &["a_text"]).await.unwrap();
        let mut read = RowBuffer::default();
        while let Some(next) = stream.next().await.unwrap() {
            read.rows += next.rows;
            read.bytes.extend(next.bytes);
        }
        assert!(read == rows, "{} rows read, {} written", read.rows, rows.rows);
        let files = delta(&place.warehouse, EVERY_TYPE.name).await.snapshot().unwrap().log_data().num_files();
        assert_eq!(files, 1, "one append is one file");
    });
}

#[test]
fn a_damaged_row_is_an_error_and_appends_nothing() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        let mut rows = rows_of(&[event("e1", 1), event("e2", 2)]);
        rows.bytes.truncate(rows.bytes.len() - 3);
        let error = writer.append(&[rows], &[mark("q/0", 1)]).await.unwrap_err();
        assert!(matches!(error, LakeError::DamagedRow { .. }), "{error}");
        assert!(all_ids(&place.warehouse).await.is_empty());
        assert_eq!(writer.committed("q/0").await.unwrap(), None);
    });
}

#[test]
fn an_append_is_made_once_and_its_marks_are_found_by_the_next_process() {
    let place = place_with_events();
    let sink = DeltaSink::new(place.warehouse.clone());
    let table = &CONVERSATION_EVENTS;
    assert_eq!(sink.committed(table, "q/0").unwrap(), None);
    let marks = [mark("q/0", 5), mark("q/1", 9)];
    let rows = [rows_of(&[event("e2", 2)]), RowBuffer::default(), rows_of(&[event("e1", 1)])];
    sink.append(table, &rows, &marks).unwrap();
    sink.append(table, &rows, &marks).unwrap();
    let next = DeltaSink::new(place.warehouse.clone());
    assert_eq!(next.committed(table, "q/1").unwrap(), Some(9));
    assert_eq!(next.committed(table, "q/2").unwrap(), None);
    next.append(table, &rows, &marks).unwrap();
    assert_eq!(RUNTIME.block_on(all_ids(&place.warehouse)), ["e1", "e2"]);
    // Half of it is there: appending all of it would double the half.
    let error = next.append(table, &rows, &[mark("q/0", 5), mark("q/1", 10)]).unwrap_err();
    assert!(matches!(error, SinkError::Failed { transient: false, .. }), "{error}");
    assert_eq!(RUNTIME.block_on(all_ids(&place.warehouse)).len(), 2);
}

#[test]
fn marks_without_rows_are_set_and_nothing_at_all_is_no_commit() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        assert_eq!(writer.append(&[], &[]).await.unwrap(), None);
        assert_eq!(writer.append(&[RowBuffer::default()], &[mark("q/0", 1)]).await.unwrap(), Some(1));
        let mut next = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        assert_eq!(next.committed("q/0").await.unwrap(), Some(1));
        assert!(all_ids(&place.warehouse).await.is_empty());
    });
}

#[test]
fn writers_with_other_ids_do_not_disturb_each_other() {
    let place = place_with_events();
    let tasks: Vec<_> = (0..4)
        .map(|writer| {
            let warehouse = place.warehouse.clone();
            RUNTIME.spawn(async move {
                let app_id = format!("q{writer}/0");
                let mut table = TableWriter::open(&warehouse, &CONVERSATION_EVENTS).await.unwrap();
                for version in 1..=8 {
                    let rows = rows_of(&[event(&format!("w{writer}-{version}"), version)]);
                    table.append(&[rows], &[mark(&app_id, version)]).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        RUNTIME.block_on(task).unwrap();
    }
    RUNTIME.block_on(async {
        let mut ids = all_ids(&place.warehouse).await;
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 32);
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        for app_id in ["q0/0", "q1/0", "q2/0", "q3/0"] {
            assert_eq!(writer.committed(app_id).await.unwrap(), Some(8));
        }
    });
}

#[test]
fn a_writer_whose_mark_somebody_else_has_moved_is_fenced() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut old = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        old.append(&[rows_of(&[event("e1", 1)])], &[mark("q/0", 1)]).await.unwrap();
        let mut new = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        new.append(&[rows_of(&[event("e2", 2)])], &[mark("q/0", 2)]).await.unwrap();
        for _ in 0..2 {
            let error = old.append(&[rows_of(&[event("stale", 2)])], &[mark("q/0", 2)]).await.unwrap_err();
            assert!(matches!(error, LakeError::Fenced { found: 2, own: 1, .. }), "{error}");
        }
        assert_eq!(all_ids(&place.warehouse).await, ["e1", "e2"]);
        // Asking again means to speak for it again, as after a take-over.
        assert_eq!(old.committed("q/0").await.unwrap(), Some(2));
        old.append(&[rows_of(&[event("e3", 3)])], &[mark("q/0", 3)]).await.unwrap();
        assert_eq!(all_ids(&place.warehouse).await, ["e1", "e2", "e3"]);
    });
}

/// The same place through a store that can be made to fail.
fn unreliable(place: &crate::Place) -> (Warehouse, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let in_store = Arc::clone(&faults);
    let handle = RUNTIME.handle().clone();
    let warehouse = Warehouse::with_store(place.warehouse.uri(), "main", "demo", handle, |inner| {
        Arc::new(UnreliableStore { inner, faults: in_store })
    });
    (warehouse.unwrap(), faults)
}

#[test]
fn a_commit_whose_result_was_lost_is_found_and_not_repeated() {
    let place = place_with_events();
    let (warehouse, faults) = unreliable(&place);
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&warehouse, &CONVERSATION_EVENTS).await.unwrap();
        for (version, with_marks) in [(1, true), (2, false), (3, true)] {
            faults.lost_results.store(1, Ordering::SeqCst);
            let marks = [mark("q/0", version)];
            let marks = if with_marks { &marks[..] } else { &[] };
            let rows = rows_of(&[event(&format!("e{version}"), version)]);
            assert_eq!(writer.append(&[rows], marks).await.unwrap(), Some(version.unsigned_abs()));
            assert_eq!(faults.lost_results.load(Ordering::SeqCst), 0);
        }
        assert_eq!(all_ids(&place.warehouse).await, ["e1", "e2", "e3"]);
        assert_eq!(writer.committed("q/0").await.unwrap(), Some(3));
    });
}

#[test]
fn a_commit_that_never_arrived_is_tried_again_and_given_up_in_the_end() {
    let place = place_with_events();
    let (warehouse, faults) = unreliable(&place);
    let sink = DeltaSink::new(warehouse);
    let table = &CONVERSATION_EVENTS;
    let rows = [rows_of(&[event("e1", 1)])];
    faults.lost_requests.store(2, Ordering::SeqCst);
    sink.append(table, &rows, &[mark("q/0", 1)]).unwrap();
    faults.lost_requests.store(usize::MAX, Ordering::SeqCst);
    let rows = [rows_of(&[event("e2", 2)])];
    let error = sink.append(table, &rows, &[mark("q/0", 2)]).unwrap_err();
    assert!(matches!(error, SinkError::Failed { transient: true, .. }), "{error}");
    assert_eq!(RUNTIME.block_on(all_ids(&place.warehouse)), ["e1"]);
    faults.lost_requests.store(0, Ordering::SeqCst);
    sink.append(table, &rows, &[mark("q/0", 2)]).unwrap();
    assert_eq!(RUNTIME.block_on(all_ids(&place.warehouse)), ["e1", "e2"]);
}

#[test]
fn whatever_answers_and_requests_are_lost_each_append_lands_once() {
    let place = place_with_events();
    let tasks: Vec<_> = (0..3usize)
        .map(|number| {
            let (warehouse, faults) = unreliable(&place);
            RUNTIME.spawn(async move {
                let app_id = format!("q{number}/0");
                let mut writer = TableWriter::open(&warehouse, &CONVERSATION_EVENTS).await.unwrap();
                for version in 1..=12usize {
                    // Every mix of the two, and now and then so many that an append fails and is made again.
                    faults.lost_results.store((version + number) % 3, Ordering::SeqCst);
                    faults.lost_requests.store((version * 5 + number) % 7, Ordering::SeqCst);
                    let version = i64::try_from(version).unwrap();
                    let rows = [rows_of(&[event(&format!("w{number}-{version:02}"), version)])];
                    let marks = [mark(&app_id, version)];
                    let mut tries = 0;
                    while let Err(error) = writer.append(&rows, &marks).await {
                        tries += 1;
                        assert!(error.is_transient() && tries < 4, "{error}");
                        if tries == 2 {
                            // A new process goes on where the old one was lost.
                            writer = TableWriter::open(&warehouse, &CONVERSATION_EVENTS).await.unwrap();
                        }
                    }
                }
                assert_eq!(writer.committed(&app_id).await.unwrap(), Some(12));
            })
        })
        .collect();
    for task in tasks {
        RUNTIME.block_on(task).unwrap();
    }
    let mut ids = RUNTIME.block_on(all_ids(&place.warehouse));
    ids.sort();
    let expected = (0..3).flat_map(|number| (1..=12).map(move |version| format!("w{number}-{version:02}")));
    assert_eq!(ids, expected.collect::<Vec<_>>());
}

#[test]
fn no_words_of_people_stand_in_the_log() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        for version in 1..=20 {
            let rows = rows_of(&[event(&format!("e{version}"), version)]);
            writer.append(&[rows], &[mark("q/0", version)]).await.unwrap();
        }
        let done = place.warehouse.maintain(&CONVERSATION_EVENTS).await.unwrap();
        assert!(done.files_after < done.files_before, "{done:?}");
    });
    let log = place.warehouse.table_folder(CONVERSATION_EVENTS.name).unwrap().join("_delta_log");
    let (mut commits, mut checkpoints) = (0, 0);
    for entry in std::fs::read_dir(log).unwrap() {
        let path = entry.unwrap().path();
        let text = if path.extension().is_some_and(|extension| extension == "parquet") {
            checkpoints += 1;
            let file = std::fs::File::open(&path).unwrap();
            let batches = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
            let batches: Vec<_> = batches.collect::<Result<_, _>>().unwrap();
            pretty_format_batches(&batches).unwrap().to_string()
        } else {
            commits += 1;
            std::fs::read_to_string(&path).unwrap()
        };
        assert!(!text.contains("secret words"), "{}", path.display());
        if text.contains("\"add\"") {
            assert!(text.contains("minValues") && text.contains("alex"), "named columns have statistics: {text}");
        }
    }
    assert!(commits > 20 && checkpoints >= 2, "{commits} commits, {checkpoints} checkpoints");
}

#[test]
fn rows_can_be_read_by_hand_from_the_parquet_file() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        writer.append(&[rows_of(&[event("e1", 1)])], &[]).await.unwrap();
        let table = delta(&place.warehouse, CONVERSATION_EVENTS.name).await;
        let file: Vec<String> = table.get_file_uris().unwrap().collect();
        let path = url::Url::parse(&format!("file://{}", file[0])).unwrap().to_file_path().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(std::fs::File::open(path).unwrap()).unwrap();
        let columns = reader.metadata().row_group(0).columns().to_vec();
        assert!(columns.iter().all(|column| format!("{:?}", column.compression()).starts_with("ZSTD")));
        assert!(columns[5].statistics().is_none(), "a footer holds no words either");
    });
    let rows = rows_of(&[event("e1", 1)]);
    assert_eq!(RowReader::new(&rows.bytes).text().unwrap(), Some("e1"));
}

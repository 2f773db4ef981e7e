use memoir_core::event::CONVERSATION_EVENTS;
use memoir_core::sink::Sink as _;
use memoir_lake::{DeltaSink, LakeError, TableReader, TableWriter, Warehouse};

use crate::{RUNTIME, added_ids, all_ids, delta, event, mark, place_with_events, rows_of};

const TABLE: &str = "conversation_events";

/// Lets versions and files be deleted as soon as nothing needs them.
async fn keep_nothing(warehouse: &Warehouse) {
    let none = "interval 0 seconds".to_owned();
    let properties = ["delta.logRetentionDuration", "delta.deletedFileRetentionDuration"];
    let properties = properties.map(|name| (name.to_owned(), none.clone())).into_iter().collect();
    delta(warehouse, TABLE).await.set_tbl_properties().with_properties(properties).await.unwrap();
}

async fn append(writer: &mut TableWriter, versions: std::ops::RangeInclusive<i64>) {
    for version in versions {
        let rows = rows_of(&[event(&format!("e{version:03}"), version)]);
        writer.append(&[rows], &[mark("q/0", version), mark("q/1", version * 2)]).await.unwrap();
    }
}

#[test]
fn marks_and_rows_live_through_compaction_cleanup_and_deletion_of_old_files() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut busy = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        let mut idle = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        idle.append(&[rows_of(&[event("idle-1", 0)])], &[mark("idle/0", 1)]).await.unwrap();
        append(&mut busy, 1..=25).await;
        keep_nothing(&place.warehouse).await;
        let before = all_ids(&place.warehouse).await;
        let done = place.warehouse.maintain(&CONVERSATION_EVENTS).await.unwrap();
        assert_eq!((done.files_before, done.files_after), (26, 1), "{done:?}");
        assert_eq!(done.deleted_data_files, 26, "{done:?}");
        append(&mut busy, 26..=40).await;
        let done = place.warehouse.maintain(&CONVERSATION_EVENTS).await.unwrap();
        assert!(done.deleted_log_files > 0, "{done:?}");

        let mut fresh = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        assert_eq!(fresh.committed("q/0").await.unwrap(), Some(40));
        assert_eq!(fresh.committed("q/1").await.unwrap(), Some(80));
        assert_eq!(fresh.committed("idle/0").await.unwrap(), Some(1));
        assert_eq!(all_ids(&place.warehouse).await[..before.len()], before);

        // What this one knows as the next version was cleaned away: writing there would be lost for everybody.
        idle.append(&[rows_of(&[event("idle-2", 999)])], &[mark("idle/0", 2)]).await.unwrap();
        let ids = all_ids(&place.warehouse).await;
        assert_eq!((ids.len(), ids.last().map(String::as_str)), (42, Some("idle-2")));
    });
}

#[test]
fn maintenance_while_others_append_loses_and_repeats_nothing() {
    let place = place_with_events();
    let appending = {
        let warehouse = place.warehouse.clone();
        RUNTIME.spawn(async move {
            let mut writer = TableWriter::open(&warehouse, &CONVERSATION_EVENTS).await.unwrap();
            append(&mut writer, 1..=60).await;
        })
    };
    RUNTIME.block_on(async {
        while !appending.is_finished() {
            place.warehouse.maintain(&CONVERSATION_EVENTS).await.unwrap();
        }
        appending.await.unwrap();
        let ids = all_ids(&place.warehouse).await;
        let expected: Vec<String> = (1..=60).map(|n| format!("e{n:03}")).collect();
        assert_eq!(ids, expected);
        // A source sees each row once as well, however often it was rewritten.
        let mut reader = TableReader::open(&place.warehouse, &CONVERSATION_EVENTS, &["ts", "event_id"]).await.unwrap();
        let mut seen = Vec::new();
        for version in 1..=reader.latest_version().await.unwrap() {
            seen.extend(added_ids(&mut reader, version, 0).await.expect("compaction changes no data"));
        }
        assert_eq!(seen, expected);
    });
}

#[test]
fn the_sink_maintains_its_tables_every_so_many_commits() {
    let place = place_with_events();
    let sink = DeltaSink::new(place.warehouse.clone()).with_maintenance_every(20);
    for version in 1..=20 {
        let rows = rows_of(&[event(&format!("e{version:03}"), version)]);
        sink.append(&CONVERSATION_EVENTS, &[rows], &[mark("q/0", version)]).unwrap();
    }
    sink.finish_maintenance();
    RUNTIME.block_on(async {
        let table = delta(&place.warehouse, TABLE).await;
        assert_eq!(table.snapshot().unwrap().log_data().num_files(), 1);
        assert_eq!(all_ids(&place.warehouse).await.len(), 20);
    });
    sink.append(&CONVERSATION_EVENTS, &[rows_of(&[event("e021", 21)])], &[mark("q/0", 21)]).unwrap();
    assert_eq!(RUNTIME.block_on(all_ids(&place.warehouse)).len(), 21);
}

#[test]
fn a_version_whose_log_or_files_are_gone_says_so() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        append(&mut writer, 1..=19).await;
        let mut reader = TableReader::open(&place.warehouse, &CONVERSATION_EVENTS, &["ts", "event_id"]).await.unwrap();
        assert_eq!(reader.earliest_version().await.unwrap(), 0);
        keep_nothing(&place.warehouse).await;
        place.warehouse.maintain(&CONVERSATION_EVENTS).await.unwrap();
        // The log of version 15 is there, its file was joined with others and deleted.
        let error = reader.changes(15, 0).await.err().expect("the file is gone");
        assert!(matches!(error, LakeError::VersionGone { version: 15, .. }), "{error}");
        let mut stream = reader.snapshot(15, 0).await.unwrap();
        let error = stream.next().await.unwrap_err();
        assert!(matches!(error, LakeError::VersionGone { version: 15, .. }), "{error}");

        append(&mut writer, 20..=40).await;
        place.warehouse.maintain(&CONVERSATION_EVENTS).await.unwrap();
        let earliest = reader.earliest_version().await.unwrap();
        assert!(earliest > 2, "{earliest}");
        let error = reader.changes(2, 0).await.err().expect("the log is gone");
        assert!(
            matches!(error, LakeError::VersionGone { version: 2, earliest: Some(found), .. } if found == earliest),
            "{error}"
        );
        let error = reader.snapshot(2, 0).await.err().expect("the log is gone");
        assert!(matches!(error, LakeError::VersionGone { version: 2, .. }), "{error}");
        assert!(error.to_string().contains(&earliest.to_string()), "{error}");
    });
}

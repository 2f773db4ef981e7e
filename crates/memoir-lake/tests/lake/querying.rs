use std::collections::BTreeMap;

use deltalake::arrow::array::{Array as _, AsArray as _};
use deltalake::arrow::util::pretty::pretty_format_batches;
use memoir_core::Timestamp;
use memoir_core::event::CONVERSATION_EVENTS;
use memoir_core::profile::{EXTRACTIONS, PROFILE_AUDIT, STATUS_KEY};
use memoir_core::table::RowBuffer;
use memoir_lake::view::{CURRENT_VIEW, table_sql_spark, view_sql_spark};
use memoir_lake::{LakeError, QueryResult, TableWriter, Warehouse};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{RUNTIME, event, place, place_with_events, rows_of};

/// One row of the audit table, as far as the view looks at it.
#[derive(Clone, Debug)]
struct AuditRow {
    user: &'static str,
    key: &'static str,
    emission: i64,
    ts: i64,
    action: &'static str,
    value: String,
}

fn audit_rows(rows: &[AuditRow]) -> RowBuffer {
    let mut buffer = RowBuffer::default();
    for row in rows {
        buffer
            .row()
            .text(row.user)
            .text(format!("{}-{:04}", row.user, row.emission).as_str())
            .timestamp(Timestamp::from_micros(row.ts))
            .text(row.key)
            .text("identity")
            .text(row.value.as_str())
            .double(0.9)
            .text(row.action)
            .text(None)
            .texts(Some(["e1"].iter()))
            .text("because")
            .text("threshold")
            .text("heuristic")
            .text(None);
    }
    buffer
}

async fn append(warehouse: &Warehouse, rows: &[AuditRow]) {
    let mut writer = TableWriter::open(warehouse, &PROFILE_AUDIT).await.unwrap();
    writer.append(&[audit_rows(rows)], &[]).await.unwrap();
}

/// `(user, key) -> value` of a result that has such columns.
fn facts(result: &QueryResult) -> BTreeMap<(String, String), String> {
    let mut facts = BTreeMap::new();
    for batch in &result.batches {
        let column = |name: &str| {
            let array = batch.column_by_name(name).unwrap();
            let texts = deltalake::arrow::compute::cast(array, &deltalake::arrow::datatypes::DataType::Utf8).unwrap();
            texts.as_string::<i32>().clone()
        };
        let (users, keys, values) = (column("user_id"), column("key"), column("value"));
        for at in 0..batch.num_rows() {
            let key = (users.value(at).to_owned(), keys.value(at).to_owned());
            assert!(facts.insert(key, values.value(at).to_owned()).is_none(), "a fact is shown once");
        }
        assert!(values.null_count() == 0);
    }
    facts
}

/// What the view must show, by the obvious way: play all rows in order.
fn expected(rows: &[AuditRow], until: i64) -> BTreeMap<(String, String), String> {
    let mut rows: Vec<&AuditRow> = rows.iter().filter(|row| row.ts <= until).collect();
    rows.sort_by_key(|row| (row.ts, row.emission));
    let mut facts = BTreeMap::new();
    for row in rows {
        let key = (row.user.to_owned(), row.key.to_owned());
        if row.action == "deleted" {
            facts.remove(&key)
        } else {
            facts.insert(key, row.value.clone())
        };
    }
    facts.retain(|(_, key), _| !key.starts_with("__"));
    facts
}

fn some_rows() -> impl Strategy<Value = Vec<AuditRow>> {
    let step = (
        prop::sample::select(vec!["ada", "bob"]),
        prop::sample::select(vec!["city", "a_b", STATUS_KEY, "__x"]),
        0..3i64,
        prop::sample::select(vec!["new", "updated", "unchanged", "deleted"]),
    );
    prop::collection::vec(step, 1..40).prop_map(|steps| {
        let mut ts = 0;
        let mut rows = Vec::new();
        for (emission, (user, key, passed, action)) in (0i64..).zip(steps) {
            ts += passed;
            rows.push(AuditRow { user, key, emission, ts, action, value: format!("v{emission}") });
        }
        rows
    })
}

#[test]
fn the_view_never_shows_a_deleted_or_reserved_key_nor_an_older_self() {
    // Each case writes real tables, so there are few of them; rows come in two appends, and out of order.
    TestRunner::new(Config { cases: 16, ..Config::default() })
        .run(&(some_rows(), 0..40i64), |(rows, until)| {
            let place = place();
            RUNTIME.block_on(async {
                place.warehouse.ensure_table(&PROFILE_AUDIT).await.unwrap();
                let (first, second) = rows.split_at(rows.len() / 2);
                append(&place.warehouse, second).await;
                append(&place.warehouse, first).await;
                let view = place.warehouse.query(&format!("select * from {CURRENT_VIEW}")).await.unwrap();
                prop_assert_eq!(facts(&view), expected(&rows, i64::MAX));
                let mut by_user = BTreeMap::new();
                for user in ["ada", "bob"] {
                    let then = place.warehouse.current_facts(user, Some(Timestamp::from_micros(until))).await.unwrap();
                    by_user.extend(facts(&then));
                }
                prop_assert_eq!(&by_user, &expected(&rows, until));
                let all = place.warehouse.all_current_facts(Some(Timestamp::from_micros(until))).await.unwrap();
                prop_assert_eq!(&facts(&all), &by_user);
                Ok(())
            })
        })
        .unwrap();
}

#[test]
fn a_fact_that_was_deleted_and_learnt_again_shows_its_newest_self_and_its_history_shows_all() {
    let place = place();
    RUNTIME.block_on(async {
        place.warehouse.ensure_table(&PROFILE_AUDIT).await.unwrap();
        let row = |emission, key, action, value: &str| AuditRow {
            user: "sam",
            key,
            emission,
            ts: emission,
            action,
            value: value.to_owned(),
        };
        let mut rows = vec![row(1, "city", "new", "Brooklyn"), row(2, "city", "deleted", "Brooklyn")];
        append(&place.warehouse, &rows).await;
        let now = place.warehouse.current_facts("sam", None).await.unwrap();
        assert_eq!(now.rows(), 0);
        assert_eq!(now.schema.fields().len(), PROFILE_AUDIT.columns.len());
        rows = vec![row(3, "city", "new", "Austin"), row(3, STATUS_KEY, "deleted", "llm_unavailable")];
        append(&place.warehouse, &rows).await;
        let now = place.warehouse.current_facts("sam", None).await.unwrap();
        assert_eq!(facts(&now).into_values().collect::<Vec<_>>(), ["Austin"]);
        assert_eq!(place.warehouse.history("sam", None).await.unwrap().rows(), 3);
        assert_eq!(place.warehouse.history("sam", Some("city")).await.unwrap().rows(), 3);
        assert_eq!(place.warehouse.history("sam", Some(STATUS_KEY)).await.unwrap().rows(), 1);
        assert_eq!(place.warehouse.history("nobody", None).await.unwrap().rows(), 0);
    });
}

#[test]
fn sql_reads_all_tables_by_their_usual_names_in_any_case() {
    let place = place_with_events();
    RUNTIME.block_on(async {
        let mut writer = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.unwrap();
        writer.append(&[rows_of(&[event("e1", 1), event("e2", 2)])], &[]).await.unwrap();
        for table in [
            "conversation_events",
            "Conversation_Events",
            "demo.conversation_events",
            "main.demo.\"conversation_events\"",
        ] {
            let sql = format!("SELECT COUNT(*) AS n, max(TS) FROM {table} WHERE User_Id = 'alex'");
            let result = place.warehouse.query(&sql).await.unwrap();
            let shown = pretty_format_batches(&result.batches).unwrap().to_string();
            assert!(shown.contains("| 2 | 2026-01-01T00:00:02Z "), "{shown}");
        }
        for sql in [
            "show tables",
            "describe conversation_events",
            "explain select 1",
            "select 1;",
            "with t as (select event_id from conversation_events) select * from t order by event_id",
        ] {
            place.warehouse.query(sql).await.unwrap();
        }
        // The view and tables that are not there are unknown, not empty.
        let error = place.warehouse.query("select * from profile_memory_audit").await.unwrap_err();
        let hint = "there are conversation_events; `memoir setup`";
        assert!(
            error.to_string().contains("profile_memory_audit' not found") && error.to_string().contains(hint),
            "{error}"
        );
        let error = place.warehouse.query("select nothing from conversation_events").await.unwrap_err();
        assert!(matches!(&error, LakeError::Sql(message) if message.contains("nothing")), "{error}");
        assert!(place.warehouse.current_facts("alex", None).await.unwrap_err().is_missing_table());
        place.warehouse.ensure_table(&PROFILE_AUDIT).await.unwrap();
        place.warehouse.ensure_table(&EXTRACTIONS).await.unwrap();
        let sql = format!("select key, trigger, value from {} where kind = 'project'", CURRENT_VIEW.to_uppercase());
        assert_eq!(place.warehouse.query(&sql).await.unwrap().rows(), 0);
    });
}

#[test]
fn sql_that_writes_sets_or_reaches_outside_files_is_refused() {
    let place = place_with_events();
    let outside = place.folder.path().join("outside.csv");
    std::fs::write(&outside, "a,b\n1,2\n").unwrap();
    let outside = outside.display();
    let target = place.folder.path().join("copied.csv");
    RUNTIME.block_on(async {
        for sql in [
            "drop table conversation_events".to_owned(),
            "create table t as select 1".to_owned(),
            "create view v as select 1".to_owned(),
            "create schema s".to_owned(),
            "select 1 as a into t".to_owned(),
            "insert into conversation_events select * from conversation_events".to_owned(),
            "delete from conversation_events".to_owned(),
            "update conversation_events set role = 'x'".to_owned(),
            "truncate table conversation_events".to_owned(),
            format!("copy (select 1) to '{}'", target.display()),
            format!("copy conversation_events to '{}' stored as csv", target.display()),
            format!("explain analyze copy (select 1) to '{}'", target.display()),
            "explain analyze insert into conversation_events select * from conversation_events".to_owned(),
            format!("create external table t stored as csv location '{outside}'"),
            "set datafusion.execution.batch_size = 1".to_owned(),
            "reset datafusion.execution.batch_size".to_owned(),
            "begin".to_owned(),
            "prepare p as select 1".to_owned(),
            "select 1; select 2".to_owned(),
            String::new(),
        ] {
            let error = place.warehouse.query(&sql).await.err();
            assert!(matches!(error, Some(LakeError::NotReadOnly { .. })), "{sql}: {error:?}");
        }
        for sql in [
            format!("select * from '{outside}'"),
            format!("select * from read_csv('{outside}')"),
            format!("select * from read_parquet('{outside}')"),
            format!("select * from \"{outside}\""),
        ] {
            let error = place.warehouse.query(&sql).await.err();
            assert!(matches!(error, Some(LakeError::Sql(_))), "{sql}: {error:?}");
        }
        assert!(!target.exists());
        assert_eq!(place.warehouse.query("select * from conversation_events").await.unwrap().rows(), 0);
    });
}

#[test]
fn the_view_and_the_tables_are_printed_for_spark() {
    let view = view_sql_spark("main", "demo");
    assert!(view.starts_with("CREATE OR REPLACE VIEW `main`.`demo`.v_profile_memory_current AS\n"), "{view}");
    assert!(view.contains("PARTITION BY user_id, key ORDER BY emission_ts DESC, emission_id DESC"), "{view}");
    let table = table_sql_spark("main", "demo", &PROFILE_AUDIT);
    assert!(table.contains("`source_event_ids` ARRAY<STRING> COMMENT 'The messages that support it'"), "{table}");
    assert!(table.contains("'delta.appendOnly' = 'true'"), "{table}");
}

use deltalake::kernel::{DataType, PrimitiveType, StructField};
use memoir_core::event::CONVERSATION_EVENTS;
use memoir_core::profile::PROFILE_AUDIT;
use memoir_lake::{LakeError, TableWriter, Warehouse};

use crate::{RUNTIME, delta, place, place_with_events};

fn text(name: &str) -> StructField {
    StructField::nullable(name, DataType::Primitive(PrimitiveType::String))
}

/// Creates a table of other columns under the name of the events' table.
async fn create_foreign(warehouse: &Warehouse, columns: Vec<StructField>, properties: &[(&str, &str)]) {
    let folder = warehouse.table_folder(CONVERSATION_EVENTS.name).unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let url = url::Url::from_directory_path(&folder).unwrap();
    let created = deltalake::DeltaTable::try_from_url(url).await.unwrap().create().with_columns(columns);
    created
        .with_configuration(properties.iter().map(|(name, value)| (*name, Some(*value))))
        .with_raise_if_key_not_exists(false)
        .await
        .unwrap();
}

fn own_columns() -> Vec<StructField> {
    let timestamp = DataType::Primitive(PrimitiveType::Timestamp);
    let mut columns = vec![StructField::nullable("ts", timestamp)];
    columns.extend(["content", "event_id", "conversation_id", "user_id", "role"].map(text));
    columns
}

#[test]
fn a_table_is_created_once_by_any_number_of_creators() {
    let place = place();
    let creators: Vec<_> = (0..6)
        .map(|_| {
            let warehouse = place.warehouse.clone();
            RUNTIME.spawn(async move { warehouse.ensure_table(&PROFILE_AUDIT).await.unwrap() })
        })
        .collect();
    let created: Vec<bool> = creators.into_iter().map(|task| RUNTIME.block_on(task).unwrap()).collect();
    assert_eq!(created.iter().filter(|created| **created).count(), 1, "{created:?}");
    RUNTIME.block_on(async {
        assert_eq!(delta(&place.warehouse, PROFILE_AUDIT.name).await.version(), Some(0));
        assert!(!place.warehouse.ensure_table(&PROFILE_AUDIT).await.unwrap());
        assert_eq!(place.warehouse.tables().await.unwrap(), [PROFILE_AUDIT.name]);
    });
}

#[test]
fn a_table_has_the_columns_comments_and_properties_of_the_contract() {
    let place = place();
    RUNTIME.block_on(async {
        place.warehouse.ensure_table(&PROFILE_AUDIT).await.unwrap();
        let table = delta(&place.warehouse, PROFILE_AUDIT.name).await;
        let state = table.snapshot().unwrap();
        let schema = state.schema();
        let names: Vec<&str> = schema.fields().map(|field| field.name().as_str()).collect();
        let first_ten =
            "user_id emission_id emission_ts key kind value confidence action previous_value source_event_ids";
        assert_eq!(names[..10].join(" "), first_ten);
        assert_eq!(names[10..].join(" "), "reason trigger extractor model");
        assert!(schema.fields().all(|field| field.metadata().contains_key("comment")));
        assert_eq!(state.metadata().description(), Some(PROFILE_AUDIT.comment));
        let properties = state.metadata().configuration();
        for (name, value) in [
            ("delta.appendOnly", "true"),
            ("delta.checkpointInterval", "10"),
            ("delta.enableExpiredLogCleanup", "false"),
            ("delta.dataSkippingStatsColumns", "user_id,emission_ts"),
        ] {
            assert_eq!(properties.get(name).map(String::as_str), Some(value), "{name}");
        }
        let refused = table.delete().await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{refused}");
    });
}

#[test]
fn a_table_that_is_there_may_have_more_columns_in_another_order_but_not_other_types() {
    let good = place();
    let bad = place();
    let strict = place();
    let constrained = place();
    RUNTIME.block_on(async {
        let mut columns = own_columns();
        columns.push(text("note"));
        create_foreign(&good.warehouse, columns, &[]).await;
        assert!(!good.warehouse.ensure_table(&CONVERSATION_EVENTS).await.unwrap());

        let mut columns = own_columns();
        columns.remove(1);
        columns[0] = text("ts");
        create_foreign(&bad.warehouse, columns, &[]).await;
        let error = bad.warehouse.ensure_table(&CONVERSATION_EVENTS).await.unwrap_err();
        let LakeError::WrongColumns { problems, .. } = &error else { panic!("{error}") };
        assert!(problems.contains("`content` (string) is missing"), "{problems}");
        assert!(problems.contains("`ts` is string instead of timestamp"), "{problems}");

        let mut columns = own_columns();
        columns.push(StructField::not_null("tenant", DataType::Primitive(PrimitiveType::String)));
        create_foreign(&strict.warehouse, columns, &[]).await;
        let error = strict.warehouse.ensure_table(&CONVERSATION_EVENTS).await.unwrap_err();
        assert!(error.to_string().contains("`tenant` must not be null"), "{error}");

        create_foreign(&constrained.warehouse, own_columns(), &[("delta.constraints.c", "role = 'user'")]).await;
        let error = constrained.warehouse.ensure_table(&CONVERSATION_EVENTS).await.unwrap_err();
        assert!(matches!(error, LakeError::Unsupported { .. }), "{error}");
    });
}

#[test]
fn what_is_no_table_and_what_is_not_there_are_told_apart() {
    let place = place();
    RUNTIME.block_on(async {
        let missing = TableWriter::open(&place.warehouse, &CONVERSATION_EVENTS).await.err().unwrap();
        assert!(missing.is_missing_table() && missing.to_string().contains("memoir setup"), "{missing}");
        assert!(!place.warehouse.has_table(CONVERSATION_EVENTS.name).await.unwrap());
        assert!(place.warehouse.tables().await.unwrap().is_empty());

        let folder = place.warehouse.table_folder(CONVERSATION_EVENTS.name).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("notes.txt"), "mine").unwrap();
        let error = place.warehouse.ensure_table(&CONVERSATION_EVENTS).await.unwrap_err();
        assert!(matches!(&error, LakeError::NotADeltaTable { found, .. } if found == "notes.txt"), "{error}");
    });
}

#[test]
fn names_and_places_that_can_hold_no_tables_are_refused() {
    let new = |uri: &str, schema: &str| Warehouse::new(uri, "main", schema, RUNTIME.handle().clone());
    for (uri, schema) in [("ftp://host/x", "demo"), ("./data", "../other"), ("./data", "")] {
        assert!(matches!(new(uri, schema), Err(LakeError::BadLocation { .. })), "{uri} {schema}");
    }
    let bucket = new("s3://bucket/lake", "demo").unwrap();
    assert_eq!(bucket.table_path("t"), "s3://bucket/lake/main/demo/t");
    assert!(new("data", "demo").unwrap().table_folder("t").unwrap().is_absolute());
}

#[test]
fn a_table_in_the_way_of_a_file_is_an_error_and_not_a_panic() {
    let place = place_with_events();
    let blocked = place.folder.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let warehouse = crate::warehouse_in(&blocked);
    let error = RUNTIME.block_on(warehouse.ensure_table(&CONVERSATION_EVENTS)).unwrap_err();
    assert!(error.to_string().contains("conversation_events"), "{error}");
}

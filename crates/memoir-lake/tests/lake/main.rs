//! Real tables in temporary folders, read and written through the crate's own doors and by the Delta library.

mod appending;
mod creating;
mod maintaining;
mod querying;
mod reading;
mod unreliable_store;

use std::path::Path;
use std::sync::LazyLock;

use memoir_core::event::CONVERSATION_EVENTS;
use memoir_core::processor::StreamEvent as _;
use memoir_core::sink::Transaction;
use memoir_core::table::{RowBuffer, RowReader};
use memoir_core::{ConversationEvent, Timestamp};
use memoir_lake::{Changes, RowStream, TableReader, Warehouse};
use tempfile::TempDir;
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
});

/// A folder that is deleted with it, and the warehouse in it.
struct Place {
    folder: TempDir,
    warehouse: Warehouse,
}

fn place() -> Place {
    let folder = TempDir::new().unwrap();
    let warehouse = warehouse_in(&folder.path().join("ware house ü"));
    Place { folder, warehouse }
}

fn warehouse_in(folder: &Path) -> Warehouse {
    Warehouse::new(folder.to_str().unwrap(), "main", "demo", RUNTIME.handle().clone()).unwrap()
}

/// A place with an empty table of events.
fn place_with_events() -> Place {
    let place = place();
    assert!(RUNTIME.block_on(place.warehouse.ensure_table(&CONVERSATION_EVENTS)).unwrap());
    place
}

fn event(id: &str, second: i64) -> ConversationEvent {
    ConversationEvent {
        event_id: id.to_owned(),
        ts: Timestamp::from_micros(1_767_225_600_000_000 + second * 1_000_000),
        conversation_id: "c1".to_owned(),
        user_id: "alex".to_owned(),
        role: "user".to_owned(),
        content: format!("secret words of {id}"),
    }
}

fn rows_of(events: &[ConversationEvent]) -> RowBuffer {
    let mut rows = RowBuffer::default();
    for event in events {
        event.write_row(&mut rows.row());
    }
    rows
}

fn mark(app_id: &str, version: i64) -> Transaction {
    Transaction { app_id: app_id.to_owned(), version }
}

async fn events_of(mut stream: RowStream) -> Vec<ConversationEvent> {
    let mut events = Vec::new();
    while let Some(rows) = stream.next().await.unwrap() {
        let mut reader = RowReader::new(&rows.bytes);
        while !reader.is_at_end() {
            events.push(ConversationEvent::from_row(&mut reader).unwrap().unwrap());
        }
    }
    events
}

async fn ids_of(stream: RowStream) -> Vec<String> {
    events_of(stream).await.into_iter().map(|event| event.event_id).collect()
}

/// The ids of all events of the table, in order.
async fn all_ids(warehouse: &Warehouse) -> Vec<String> {
    ids_of(warehouse.scan(&CONVERSATION_EVENTS, &["ts", "event_id"]).await.unwrap()).await
}

/// The ids that a version added; `None` where it changed rows in another way.
async fn added_ids(reader: &mut TableReader, version: u64, skip: u64) -> Option<Vec<String>> {
    match reader.changes(version, skip).await.unwrap() {
        Changes::Rows(rows) => Some(ids_of(rows).await),
        Changes::Nothing => Some(Vec::new()),
        Changes::ChangesData { version: changed } => {
            assert_eq!(changed, version);
            None
        }
    }
}

/// The table through the library that others use, too.
async fn delta(warehouse: &Warehouse, table: &str) -> deltalake::DeltaTable {
    let folder = warehouse.table_folder(table).unwrap();
    let url = url::Url::from_directory_path(folder).unwrap();
    deltalake::DeltaTableBuilder::from_url(url).unwrap().load().await.unwrap()
}

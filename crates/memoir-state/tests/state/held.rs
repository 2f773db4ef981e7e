//! What tables hold and the state does not know of: kept until it is used up, also over a repartition.

use memoir_core::table::RowBuffer;
use memoir_core::{Epoch, ShardId};
use memoir_state::{EpochBatch, HeldRequestRows, Manifest, Resources, StateHome};

use crate::support::Database;

fn rows(byte: u8) -> RowBuffer {
    RowBuffer { rows: 1, bytes: vec![byte; 3] }
}

fn held(number: u64, table: &str, byte: u8) -> HeldRequestRows {
    HeldRequestRows { number, table: table.to_owned(), rows: rows(byte) }
}

#[test]
fn held_requests_come_by_key_and_number_until_they_are_deleted() {
    let database = Database::new();
    let store = database.open();
    assert_eq!(store.holds().unwrap(), (false, false));
    let mut batch = EpochBatch::default();
    batch.put_held_request("ann", 300, "audit", &rows(3));
    batch.put_held_request("ann", 2, "extractions", &rows(2));
    batch.put_held_request("ann", 2, "audit", &rows(1));
    batch.put_held_request("an", 1, "audit", &rows(9));
    batch.put_held_row("archive", 7, 2);
    store.commit(batch).unwrap();
    drop(store);
    let store = database.open();
    assert_eq!(store.holds().unwrap(), (true, true));
    let expected = [held(2, "audit", 1), held(2, "extractions", 2), held(300, "audit", 3)];
    assert_eq!(store.held_requests("ann").unwrap(), expected);
    assert_eq!(store.held_requests("anna").unwrap(), []);
    assert_eq!((store.held_row("archive", 7).unwrap(), store.held_row("other", 7).unwrap()), (2, 0));

    let mut batch = EpochBatch::default();
    batch.delete_held_request("ann", 2, "audit");
    batch.put_held_row("archive", 7, 0);
    store.commit(batch).unwrap();
    assert_eq!(store.held_requests("ann").unwrap(), expected[1..]);
    assert_eq!(store.holds().unwrap(), (true, false));
    store.clear_held().unwrap();
    assert_eq!(store.holds().unwrap(), (false, false));
}

#[test]
fn a_trim_notes_how_far_it_went_and_a_lower_one_does_not_take_that_back() {
    let database = Database::new();
    let store = database.open();
    assert_eq!(store.trimmed("audit").unwrap(), Epoch(0));
    for (through, noted) in [(5, 5), (3, 5), (9, 9)] {
        store.trim_outbox("audit", Epoch(through)).unwrap();
        assert_eq!(store.trimmed("audit").unwrap(), Epoch(noted));
    }
    assert_eq!(store.trimmed("audi").unwrap(), Epoch(0));
    let mut batch = EpochBatch::default();
    batch.put_trimmed("audit", Epoch(2));
    store.commit(batch).unwrap();
    assert_eq!(store.trimmed("audit").unwrap(), Epoch(2));
}

#[test]
fn what_is_held_moves_with_its_key_and_an_interrupted_reconcile_forbids_moving() {
    let folder = Database::new();
    let resources = Resources::new(1 << 20, 1 << 20);
    let mut home = StateHome::open_or_create(folder.path(), Manifest::new("q", 1, 9)).unwrap();
    {
        let stores = home.open_shards(&resources).unwrap();
        let mut batch = EpochBatch::default();
        for key in ["ann", "bob", "cy"] {
            batch.put_held_request(key, 1, "audit", &rows(1));
            batch.put_held_back(key, 2, "audit", true);
        }
        batch.put_held_row("archive", 7, 1);
        batch.put_reconciling(true);
        stores[0].commit(batch).unwrap();
    }
    let refused = home.repartition(4, &resources).unwrap_err();
    assert!(refused.to_string().contains("memoir state reconcile"), "{refused}");
    {
        let stores = home.open_shards(&resources).unwrap();
        let mut batch = EpochBatch::default();
        batch.put_reconciling(false);
        stores[0].commit(batch).unwrap();
    }
    home.repartition(4, &resources).unwrap();
    let stores = home.open_shards(&resources).unwrap();
    for key in ["ann", "bob", "cy"] {
        for store in &stores {
            let is_its = store.shard() == ShardId::of_key(key, 4);
            assert_eq!(store.held_requests(key).unwrap().len(), usize::from(is_its));
            let back = store.held_back().unwrap();
            assert_eq!(back.contains(&(key.to_owned(), 2, "audit".to_owned())), is_its);
        }
    }
    assert!(stores.iter().all(|store| store.held_row("archive", 7).unwrap() == 1));
}

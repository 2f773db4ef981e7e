//! The folder of a query's state: its shards are there again, each with its own, and only for one process.

use memoir_core::source::{Offset, Position};
use memoir_core::{Epoch, ShardId};
use memoir_state::{EpochBatch, Manifest, Resources, ShardMeta, ShardStore, StateError, StateHome};

use crate::support::Database;

fn manifest(shards: u32) -> Manifest {
    Manifest::new("a/b", shards, 9)
}

fn resources() -> Resources {
    Resources::new(1 << 20, 1 << 20)
}

#[test]
fn each_shard_keeps_its_own_over_closing_and_opening() {
    let folder = Database::new();
    let home = StateHome::open_or_create(folder.path(), manifest(5)).unwrap();
    for store in home.open_shards(&resources()).unwrap() {
        let mut batch = EpochBatch::default();
        let number = u64::from(store.shard().0);
        batch.put_meta(&ShardMeta { epoch: Epoch(number + 1), ..ShardMeta::default() });
        batch.put_offset("source", "p", &Offset { position: Position::new(number, 0), notes: Vec::new() });
        store.commit(batch).unwrap();
    }
    drop(home);
    let home = StateHome::open(folder.path(), "a/b").unwrap();
    assert_eq!(home.manifest(), &manifest(5));
    let stores = home.open_shards(&resources()).unwrap();
    assert_eq!(stores.iter().map(ShardStore::shard).collect::<Vec<_>>(), (0..5).map(ShardId).collect::<Vec<_>>());
    for store in &stores {
        let number = u64::from(store.shard().0);
        assert_eq!(store.meta().unwrap().epoch, Epoch(number + 1));
        assert_eq!(store.offsets("source").unwrap()[0].1.position, Position::new(number, 0));
    }
}

#[test]
fn a_state_that_is_not_there_is_not_made_by_looking_at_it() {
    let folder = Database::new();
    assert!(matches!(StateHome::open(folder.path(), "a/b"), Err(StateError::NotThere { .. })));
    assert!(!StateHome::exists(folder.path(), "a/b"));
    assert!(ShardStore::open_read_only(&folder.path().join("none"), ShardId(0), &resources()).is_err());
}

#[test]
fn a_shard_can_be_looked_at_without_being_changed() {
    let database = Database::new();
    let store = database.open();
    let mut batch = EpochBatch::default();
    batch.put_meta(&ShardMeta { clock: "event_time".to_owned(), ..ShardMeta::default() });
    store.commit(batch).unwrap();
    drop(store);
    let store = ShardStore::open_read_only(database.path(), ShardId(3), &resources()).unwrap();
    assert_eq!(store.meta().unwrap().clock, "event_time");
    assert!(
        store
            .commit({
                let mut batch = EpochBatch::default();
                batch.put_meta(&ShardMeta::default());
                batch
            })
            .is_err()
    );
}

#[test]
fn a_folder_that_can_not_be_used_is_an_error_that_names_it() {
    let folder = Database::new();
    let file = folder.path().join("file");
    std::fs::write(&file, "no folder").unwrap();
    let error = StateHome::open_or_create(&file, manifest(1)).unwrap_err();
    assert!(error.to_string().contains("file"), "{error}");
    assert!(matches!(error, StateError::Folder { .. }));
}

//! When keys of different shards may come together, and what is kept of shards that are no more.

use memoir_core::source::{Offset, Position};
use memoir_core::{Epoch, ShardId};
use memoir_state::{EpochBatch, Manifest, Resources, ShardMeta, ShardStore, StateError, StateHome};

use crate::support::Database;

fn resources() -> Resources {
    Resources::new(1 << 20, 1 << 20)
}

/// A state of two shards that reads from "topic" and has read "history" before.
fn home(folder: &Database, change: impl Fn(&ShardStore, &mut EpochBatch)) -> StateHome {
    let home = StateHome::open_or_create(folder.path(), Manifest::new("q", 2, 9)).unwrap();
    for store in home.open_shards(&resources()).unwrap() {
        let mut batch = EpochBatch::default();
        batch.put_meta(&ShardMeta { epoch: Epoch(9), source: "topic".to_owned(), ..ShardMeta::default() });
        change(&store, &mut batch);
        store.commit(batch).unwrap();
    }
    home
}

fn offset(major: u64) -> Offset {
    Offset { position: Position::new(major, 0), notes: Vec::new() }
}

/// What a repartition says of shards that have read to `history` and `topic`.
fn repartitioned(history: [u64; 2], topic: [u64; 2]) -> Result<(), String> {
    let folder = Database::new();
    let mut home = home(&folder, |store, batch| {
        let at = store.shard().0 as usize;
        batch.put_offset("history", "p0", &offset(history[at]));
        batch.put_offset("topic", "p0", &offset(topic[at]));
    });
    home.repartition(3, &resources()).map_err(|error| {
        assert!(matches!(error, StateError::NotSettled { .. }), "{error}");
        error.to_string()
    })
}

#[test]
fn shards_that_have_not_read_equally_far_are_refused_with_the_source() {
    repartitioned([7, 7], [5, 5]).unwrap();
    let refused = repartitioned([7, 7], [5, 4]).unwrap_err();
    assert!(refused.contains("as far in topic as others; let `memoir run"), "{refused}");
    let refused = repartitioned([7, 8], [5, 5]).unwrap_err();
    assert!(refused.contains("as far in history as others, which the state read before"), "{refused}");
}

#[test]
fn a_partition_that_a_shard_has_not_begun_is_as_far_as_one_that_it_does_not_know() {
    let folder = Database::new();
    let mut home = home(&folder, |store, batch| {
        if store.shard() == ShardId(1) {
            batch.put_offset("history", "p0", &offset(0));
        }
    });
    home.repartition(3, &resources()).unwrap();
}

#[test]
fn how_far_tables_held_the_rows_of_a_shard_is_kept_while_there_is_no_such_shard() {
    let folder = Database::new();
    let mut home = home(&folder, |store, batch| {
        batch.put_trimmed("audit", Epoch(5 + u64::from(store.shard().0)));
    });
    home.repartition(1, &resources()).unwrap();
    let stores = home.open_shards(&resources()).unwrap();
    assert_eq!(stores[0].trimmed("audit").unwrap(), Epoch(5));
    assert_eq!(stores[0].trimmed_elsewhere().unwrap(), [(ShardId(1), "audit".to_owned(), Epoch(6))]);
    drop(stores);
    home.repartition(3, &resources()).unwrap();
    let stores = home.open_shards(&resources()).unwrap();
    let trimmed: Vec<_> = stores.iter().map(|store| store.trimmed("audit").unwrap()).collect();
    assert_eq!(trimmed, [Epoch(5), Epoch(6), Epoch(0)]);
    assert_eq!(stores[0].trimmed_elsewhere().unwrap(), []);
}

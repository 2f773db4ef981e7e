//! What is committed is read back the same after the database was closed; what was never committed is not there.

use std::collections::BTreeMap;

use memoir_core::source::{Offset, Position};
use memoir_core::{Epoch, Timestamp};
use memoir_state::{EpochBatch, Loaded, Origin, ShardMeta, StateError, keys};
use proptest::prelude::*;

use crate::support::{Ask, Database, Plain, Sample};

/// Keys that could be taken for one another if they were stored carelessly.
fn key() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!['a', 'b', '\0', '\u{1}', '\u{ff}', 'ü']), 1..4)
        .prop_map(String::from_iter)
}

fn offset() -> impl Strategy<Value = Offset> {
    (any::<u64>(), any::<u64>(), prop::collection::vec(any::<u8>(), 0..8))
        .prop_map(|(major, minor, notes)| Offset { position: Position::new(major, minor), notes })
}

fn time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::MAX),
        any::<i64>().prop_map(Timestamp::from_micros),
        (-5i64..5).prop_map(Timestamp::from_micros)
    ]
}

#[derive(Clone, Debug)]
enum Change {
    Count(u64),
    Push(String),
    Pop,
    Put(String, i64),
    Remove(String),
    Timer(Option<Timestamp>),
    Commit,
    Reopen,
    /// Throws away what was not committed, as a crash does.
    Crash,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        2 => any::<u64>().prop_map(Change::Count),
        4 => "[a-z]{0,40}".prop_map(Change::Push),
        1 => Just(Change::Pop),
        3 => (key(), any::<i64>()).prop_map(|(key, value)| Change::Put(key, value)),
        1 => key().prop_map(Change::Remove),
        2 => prop::option::of(time()).prop_map(Change::Timer),
        3 => Just(Change::Commit),
        1 => Just(Change::Reopen),
        1 => Just(Change::Crash),
    ]
}

/// What is in memory of a key, as an engine would have it.
#[derive(Default)]
struct Live {
    state: Sample,
    timer: Option<Timestamp>,
    stored_timer: Option<Timestamp>,
    next: u64,
}

const CAPACITY: u16 = 3;

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_states_of_many_keys_are_read_back_as_they_were_committed(changes in prop::collection::vec((key(), change()), 0..120)) {
        let database = Database::new();
        let mut store = database.open();
        let mut live: BTreeMap<String, Live> = BTreeMap::new();
        let mut committed: BTreeMap<String, (Plain, Option<Timestamp>)> = BTreeMap::new();
        let load = |store: &memoir_state::ShardStore, key: &str| {
            let Loaded { state, timer, .. } = store.reader().load::<Sample>(key).unwrap();
            let next = state.list.iter().next_back().map_or(0, |item| item.unwrap().0 + 1);
            Live { state, timer, stored_timer: timer, next }
        };
        for (key, change) in changes {
            let one = live.entry(key.clone()).or_insert_with(|| load(&store, &key));
            match change {
                Change::Count(n) => *one.state.count.edit() = n,
                Change::Push(item) => {
                    one.state.list.push(one.next, &item, CAPACITY);
                    one.next += 1;
                }
                Change::Pop => one.state.list.pop_front(),
                Change::Put(sub_key, value) => one.state.map.insert(&sub_key, &value),
                Change::Remove(sub_key) => drop(one.state.map.remove(&sub_key)),
                Change::Timer(timer) => one.timer = timer,
                Change::Commit | Change::Reopen => {
                    let mut batch = EpochBatch::default();
                    for (key, live) in &mut live {
                        batch.put_state(key, &mut live.state, live.stored_timer, live.timer);
                        live.stored_timer = live.timer;
                        committed.insert(key.clone(), (live.state.plain(), live.timer));
                    }
                    store.commit(batch).unwrap();
                    if matches!(change, Change::Reopen) {
                        live.clear();
                        drop(store);
                        store = database.open();
                    }
                }
                Change::Crash => {
                    live.clear();
                    drop(store);
                    store = database.open();
                }
            }
        }
        drop(store);
        let store = database.open();
        let mut reader = store.reader();
        for (key, (plain, timer)) in &committed {
            let loaded = reader.load::<Sample>(key).unwrap();
            prop_assert_eq!((&loaded.state.plain(), &loaded.timer), (plain, timer));
            prop_assert!(loaded.exists || (*plain == Plain::default() && timer.is_none()));
        }
        // No key is mixed up with another, and none is missing, in the order of the keys.
        let mut visited = Vec::new();
        store.visit_states::<Sample, StateError>(|key, loaded| {
            visited.push((key.to_owned(), (loaded.state.plain(), loaded.timer)));
            Ok(true)
        }).unwrap();
        let is_stored = |(_, (plain, timer)): &(String, (Plain, Option<Timestamp>))| *plain != Plain::default() || timer.is_some();
        let expected: Vec<_> = committed.clone().into_iter().filter(is_stored).collect();
        prop_assert_eq!(visited.into_iter().filter(is_stored).collect::<Vec<_>>(), expected);
        // The timer table and the keys' own due times say the same.
        let mut timers: Vec<_> = committed.into_iter().filter_map(|(key, (_, timer))| Some((timer?, key))).collect();
        timers.sort();
        prop_assert_eq!(store.timers(&(Timestamp::MIN, String::new()), Timestamp::MAX, usize::MAX).unwrap(), timers);
    }

    #[test]
    fn offsets_are_kept_by_source_and_partition(entries in prop::collection::vec((key(), key(), offset()), 0..20)) {
        let database = Database::new();
        let store = database.open();
        let mut model: BTreeMap<String, BTreeMap<String, Offset>> = BTreeMap::new();
        for entries in entries.chunks(3) {
            let mut batch = EpochBatch::default();
            for (source, partition, offset) in entries {
                batch.put_offset(source, partition, offset);
                model.entry(source.clone()).or_default().insert(partition.clone(), offset.clone());
            }
            store.commit(batch).unwrap();
        }
        drop(store);
        let store = database.open();
        for (source, offsets) in model {
            prop_assert_eq!(store.offsets(&source).unwrap(), offsets.into_iter().collect::<Vec<_>>());
        }
        prop_assert_eq!(store.offsets("no such source").unwrap(), []);
    }

    #[test]
    fn pending_requests_are_kept_until_they_are_answered(
        steps in prop::collection::vec((key(), 0u64..300, prop::option::of((prop::collection::vec("[a-z]{0,6}", 0..3), time()))), 0..30),
    ) {
        let database = Database::new();
        let store = database.open();
        let mut model: BTreeMap<(String, u64), Ask> = BTreeMap::new();
        for (key, number, ask) in steps {
            let mut batch = EpochBatch::default();
            match ask {
                Some((words, at)) => {
                    let ask = Ask { number, words, at };
                    batch.put_pending(&key, &ask);
                    model.insert((key, number), ask);
                }
                None => {
                    batch.delete_pending(&key, number);
                    model.remove(&(key, number));
                }
            }
            store.commit(batch).unwrap();
        }
        drop(store);
        let store = database.open();
        prop_assert_eq!(store.pending_numbers().unwrap(), model.keys().cloned().collect::<Vec<_>>());
        for ((key, number), ask) in model {
            prop_assert_eq!(store.pending::<Ask>(&key, number).unwrap(), ask);
        }
    }

    #[test]
    fn the_shards_own_record_is_read_back(
        epoch in any::<u64>(), source in key(), clock in key(), attached in prop::collection::vec(key(), 0..3),
        origins in prop::collection::vec((key(), prop::collection::vec((key(), offset()), 0..3)), 0..3),
    ) {
        let origins = origins.into_iter().map(|(source, offsets)| Origin { source, offsets }).collect();
        let meta = ShardMeta { epoch: Epoch(epoch), source, origins, clock, attached };
        let database = Database::new();
        let store = database.open();
        prop_assert_eq!(store.meta().unwrap(), ShardMeta::default());
        let mut batch = EpochBatch::default();
        batch.put_meta(&meta);
        store.commit(batch).unwrap();
        drop(store);
        prop_assert_eq!(database.open().meta().unwrap(), meta);
    }
}

#[test]
fn a_batch_that_was_not_committed_leaves_nothing() {
    let database = Database::new();
    drop(database.open());
    let mut batch = EpochBatch::default();
    batch.put_offset("source", "p", &Offset::default());
    assert!(batch.size_in_bytes() > 0);
    drop(batch);
    assert_eq!(database.entries(), 0);
}

#[test]
fn entries_of_another_format_are_refused_and_never_misread() {
    let database = Database::new();
    let store = database.open();
    let mut batch = EpochBatch::default();
    let (mut state, ask) = (Sample::default(), Ask { number: 1, words: Vec::new(), at: Timestamp::MAX });
    *state.count.edit() = 5;
    state.list.push(0, &"item".to_owned(), CAPACITY);
    state.map.insert("sub", &1);
    batch.put_state("key", &mut state, None, None);
    batch.put_offset("source", "p", &Offset::default());
    batch.put_pending("key", &ask);
    batch.put_meta(&ShardMeta::default());
    batch.put_rows("table", Epoch(1), &memoir_core::table::RowBuffer { rows: 1, bytes: vec![7] });
    store.commit(batch).unwrap();
    drop(store);

    let mut prefix = Vec::new();
    keys::state_prefix("key", &mut prefix);
    let entry = |cell: u8, sub: &[u8]| [&prefix[..], &[cell], sub].concat();
    type Read = fn(&memoir_state::ShardStore) -> Result<(), StateError>;
    let load: Read = |store| store.reader().load::<Sample>("key").map(drop);
    let reads: [(&str, Vec<u8>, Read); 7] = [
        ("meta", keys::meta(), |store| store.meta().map(drop)),
        ("offset", keys::offset("source", "p"), |store| store.offsets("source").map(drop)),
        ("pending", keys::pending("key", 1), |store| store.pending::<Ask>("key", 1).map(drop)),
        ("outbox", keys::outbox("table", Epoch(1)), |store| store.outbox("table", Epoch(0), Epoch(9), 99).map(drop)),
        ("value", entry(1, &[]), load),
        ("list", entry(2, &[0, 0]), load),
        ("map", entry(200, b"sub"), load),
    ];
    for (name, key, read) in reads {
        let good = database.get_raw(&key).unwrap_or_else(|| panic!("{name} is not stored under its key"));
        read(&database.open()).unwrap();
        for damaged in [[&[2], &good[1..]].concat(), Vec::new()] {
            database.put_raw(&key, &damaged);
            let error = read(&database.open()).expect_err(name);
            assert!(matches!(error, StateError::Entry { .. } | StateError::Cell { .. }), "{name}: {error}");
        }
        database.put_raw(&key, &good);
    }
}

#[test]
fn a_cell_that_this_program_does_not_know_is_refused() {
    let database = Database::new();
    drop(database.open());
    let mut key = Vec::new();
    keys::state_prefix("key", &mut key);
    key.push(99);
    database.put_raw(&key, &[1, 0]);
    assert!(matches!(database.open().reader().load::<Sample>("key"), Err(StateError::Entry { .. })));
}

#[test]
fn a_request_that_is_not_there_is_an_error() {
    let database = Database::new();
    assert!(matches!(database.open().pending::<Ask>("key", 1), Err(StateError::Entry { table: "pending", .. })));
}

#[test]
fn a_list_in_use_leaves_no_more_entries_than_it_has_items() {
    let database = Database::new();
    let store = database.open();
    let mut state = Sample::default();
    for seq in 0..100 {
        state.list.push(seq, &seq.to_string(), CAPACITY);
        let mut batch = EpochBatch::default();
        batch.put_state("key", &mut state, None, None);
        store.commit(batch).unwrap();
    }
    drop(store);
    assert_eq!(database.entries(), usize::from(CAPACITY));
}

#[test]
fn a_reader_sees_the_database_as_it_was_when_it_was_made() {
    let database = Database::new();
    let store = database.open();
    let mut reader = store.reader();
    let mut state = Sample::default();
    *state.count.edit() = 1;
    let mut batch = EpochBatch::default();
    batch.put_state("key", &mut state, None, None);
    store.commit(batch).unwrap();
    assert!(!reader.load::<Sample>("key").unwrap().exists);
    assert!(store.reader().load::<Sample>("key").unwrap().exists);
}

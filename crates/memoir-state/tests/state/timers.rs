//! The timer table: in the order of due times, read from any place, up to any time.

use std::collections::BTreeMap;

use memoir_core::Timestamp;
use memoir_state::{EpochBatch, ShardStore};
use proptest::prelude::*;

use crate::support::{Database, Sample};

fn due() -> impl Strategy<Value = Timestamp> {
    prop_oneof![4 => (-6i64..6).prop_map(Timestamp::from_micros), 1 => Just(Timestamp::MAX), 1 => Just(Timestamp::MIN)]
}

fn set(store: &ShardStore, key: &str, stored: Option<Timestamp>, timer: Option<Timestamp>) {
    let mut batch = EpochBatch::default();
    batch.put_state(key, &mut Sample::default(), stored, timer);
    store.commit(batch).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn timers_are_read_in_order_from_any_place_up_to_any_time(
        moves in prop::collection::vec(("[ab\u{0}ü]{1,3}", prop::option::of(due())), 0..40),
        reads in prop::collection::vec((due(), "[ab\u{0}]{0,2}", due(), 1usize..6), 1..10),
    ) {
        let database = Database::new();
        let store = database.open();
        let mut model: BTreeMap<String, Timestamp> = BTreeMap::new();
        for (key, timer) in moves {
            set(&store, &key, model.get(&key).copied(), timer);
            match timer {
                Some(due) => model.insert(key, due),
                None => model.remove(&key),
            };
        }
        drop(store);
        let store = database.open();
        let mut sorted: Vec<_> = model.into_iter().map(|(key, due)| (due, key)).collect();
        sorted.sort();
        for (from, key, until, limit) in reads {
            let from = (from, key);
            let expected: Vec<_> =
                sorted.iter().filter(|timer| **timer >= from && timer.0 <= until).take(limit).cloned().collect();
            prop_assert_eq!(store.timers(&from, until, limit).unwrap(), expected);
        }
    }
}

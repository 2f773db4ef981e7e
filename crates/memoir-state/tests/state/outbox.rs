//! The outbox: rows by table and epoch, until the table holds them.

use std::collections::BTreeMap;

use memoir_core::Epoch;
use memoir_core::table::RowBuffer;
use memoir_state::EpochBatch;
use proptest::prelude::*;

use crate::support::Database;

fn rows(size: usize, epoch: u64) -> RowBuffer {
    RowBuffer { rows: size as u64 + 1, bytes: vec![epoch as u8; size] }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn rows_come_in_the_order_of_their_epochs_until_they_are_trimmed(
        epochs in prop::collection::vec((prop::sample::select(vec!["audit", "audi", "audit\u{0}"]), prop::option::of(0usize..50)), 0..40),
        trims in prop::collection::vec((prop::sample::select(vec!["audit", "audi"]), 0u64..45), 0..4),
        (after, through, max_bytes) in (0u64..45, 0u64..45, 1usize..400),
    ) {
        let database = Database::new();
        let store = database.open();
        let mut model: BTreeMap<(&str, u64), RowBuffer> = BTreeMap::new();
        for (epoch, (table, size)) in (1u64..).zip(&epochs) {
            let mut batch = EpochBatch::default();
            if let Some(size) = size {
                batch.put_rows(table, Epoch(epoch), &rows(*size, epoch));
                model.insert((*table, epoch), rows(*size, epoch));
            }
            store.commit(batch).unwrap();
        }
        for (table, through) in trims {
            store.trim_outbox(table, Epoch(through)).unwrap();
            model.retain(|(of, epoch), _| *of != table || *epoch > through);
        }
        drop(store);
        let store = database.open();
        for table in ["audit", "audi", "audit\u{0}", "none"] {
            let of_table = model.iter().filter(|((of, _), _)| *of == table);
            let bytes: usize = of_table.clone().map(|(_, rows)| rows.bytes.len()).sum();
            prop_assert_eq!(store.outbox_bytes(table).unwrap(), bytes);
            let mut taken = 0;
            let expected: Vec<_> = of_table
                .filter(|((_, epoch), _)| *epoch > after && *epoch <= through)
                .take_while(|(_, rows)| {
                    let takes = taken < max_bytes;
                    taken += rows.bytes.len();
                    takes
                })
                .map(|((_, epoch), rows)| (Epoch(*epoch), rows.clone()))
                .collect();
            if after <= through {
                prop_assert_eq!(store.outbox(table, Epoch(after), Epoch(through), max_bytes).unwrap(), expected);
            }
        }
    }
}

#[test]
fn at_least_one_epoch_is_given_however_large_it_is() {
    let database = Database::new();
    let store = database.open();
    let mut batch = EpochBatch::default();
    batch.put_rows("audit", Epoch(1), &rows(5000, 1));
    batch.put_rows("audit", Epoch(2), &rows(10, 2));
    store.commit(batch).unwrap();
    let found = store.outbox("audit", Epoch(0), Epoch(2), 1).unwrap();
    assert_eq!(found, [(Epoch(1), rows(5000, 1))]);
    assert_eq!(store.outbox("audit", Epoch(2), Epoch(2), 1).unwrap(), []);
}

//! Laws of the cells: what was flushed, loaded again, is the same; and a list keeps the newest.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A store that does what a database would: later writes overrule earlier ones.
#[derive(Default)]
struct Store(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store {
    fn flush(&mut self, cell: &mut dyn Cell) {
        cell.flush(&mut |sub_key, value| match value {
            Some(value) => drop(self.0.insert(sub_key.to_vec(), value.to_vec())),
            None => drop(self.0.remove(sub_key)),
        });
    }

    fn load<C: Cell + Default>(&self) -> C {
        let mut cell = C::default();
        for (sub_key, value) in &self.0 {
            cell.load(sub_key, value).unwrap();
        }
        cell
    }
}

#[derive(Clone, Debug)]
enum Step {
    Push(String),
    ReplaceLast(String),
    PopFront,
    Flush,
    Reload,
    Capacity(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => "[a-z]{0,5}".prop_map(Step::Push),
        1 => "[a-z]{0,5}".prop_map(Step::ReplaceLast),
        1 => Just(Step::PopFront),
        2 => Just(Step::Flush),
        1 => Just(Step::Reload),
        1 => (1u16..6).prop_map(Step::Capacity),
    ]
}

proptest! {
    #[test]
    fn a_list_flushed_and_loaded_is_the_newest_items_of_a_plain_vector(steps in prop::collection::vec(step(), 0..80)) {
        let (mut store, mut list, mut model) = (Store::default(), ListState::<String>::default(), Vec::new());
        let (mut seq, mut capacity) = (0u64, 4u16);
        for step in steps {
            match step {
                Step::Push(item) => {
                    list.push(seq, &item, capacity);
                    model.push((seq, item));
                    seq += 1;
                }
                Step::ReplaceLast(item) => {
                    let Some(last) = model.last_mut() else { continue };
                    list.replace_last(last.0, &item, capacity);
                    last.1 = item;
                }
                Step::PopFront => {
                    list.pop_front();
                    if !model.is_empty() { model.remove(0); }
                    continue;
                }
                Step::Flush => { store.flush(&mut list); continue; }
                Step::Reload => { store.flush(&mut list); list = store.load(); continue; }
                Step::Capacity(new) => { capacity = new; continue; }
            }
            let surplus = model.len().saturating_sub(usize::from(capacity));
            model.drain(..surplus);
            let items: Vec<_> = list.iter().map(Result::unwrap).collect();
            prop_assert_eq!(&items, &model);
        }
        store.flush(&mut list);
        let items: Vec<_> = store.load::<ListState<String>>().iter().map(Result::unwrap).collect();
        prop_assert_eq!(items, model);
        prop_assert_eq!(store.0.len(), list.len());
    }

    #[test]
    fn a_map_flushed_and_loaded_is_the_same_map(steps in prop::collection::vec(("[ab]{1,2}", prop::option::of(0i64..4), any::<bool>()), 0..60)) {
        let (mut store, mut map, mut model) = (Store::default(), MapState::<i64>::default(), BTreeMap::new());
        for (key, value, flush) in steps {
            match value {
                Some(value) => { map.insert(&key, &value); model.insert(key, value); }
                None => prop_assert_eq!(map.remove(&key), model.remove(&key).is_some()),
            }
            if flush { store.flush(&mut map); }
        }
        store.flush(&mut map);
        let loaded: MapState<i64> = store.load();
        let entries: BTreeMap<_, _> = loaded.iter().map(|entry| entry.map(|(k, v)| (k.to_owned(), v)).unwrap()).collect();
        prop_assert_eq!(entries, model);
        prop_assert_eq!(loaded.heap_bytes(), map.heap_bytes());
    }
}

#[test]
fn a_value_is_written_only_when_it_changed() {
    let (mut store, mut value) = (Store::default(), ValueState::<(u32, String)>::default());
    store.flush(&mut value);
    assert!(store.0.is_empty());
    *value.edit() = (7, "seven".to_owned());
    store.flush(&mut value);
    assert_eq!(*store.load::<ValueState<(u32, String)>>(), (7, "seven".to_owned()));
    store.0.clear();
    store.flush(&mut value);
    assert!(store.0.is_empty());
}

#[test]
fn an_entry_of_another_format_is_refused_and_never_misread() {
    let mut value = ValueState::<u32>::default();
    assert_eq!(value.load(&[], &[2, 0]), Err(CellError::Format { found: 2 }));
    assert_eq!(value.load(&[], &[]), Err(CellError::Empty(0)));
    assert!(matches!(value.load(&[], &[FORMAT]), Err(CellError::Malformed { .. })));
    let mut list = ListState::<u32>::default();
    assert!(matches!(list.load(&[1], &[FORMAT; 12]), Err(CellError::SubKey { .. })));
    assert!(matches!(list.load(&[0, 1], &[FORMAT, 1]), Err(CellError::Malformed { .. })));
}

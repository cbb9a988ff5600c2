//! The key-value store against a map, and what its readers are told.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::invariants;
use crate::schedule::tests::random::cases;
use crate::state::{Command, Dump, Entry, Reply};
use crate::time::Time;

fn put(key: &str, value: &str, cas: Option<u64>) -> KvChange {
    KvChange::Put {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        flags: 0,
        cas,
    }
}

fn delete(key: &str, cas: Option<u64>) -> KvChange {
    let key = key.to_owned();
    KvChange::Delete { key, cas }
}

fn delete_tree(prefix: &str) -> KvChange {
    let prefix = prefix.to_owned();
    KvChange::DeleteTree { prefix }
}

fn apply(store: &mut Store, command: Command) -> Reply {
    let entry = Entry {
        index: store.index() + 1,
        at: Time(0),
        proposal: String::new(),
        command,
    };
    store.apply(entry).reply.unwrap()
}

fn change(store: &mut Store, change: KvChange) -> bool {
    let Reply::Kv { happened } = apply(store, Command::Kv { change }) else {
        panic!("another reply")
    };
    assert_eq!(invariants::check(store), Ok(()));
    happened
}

#[test]
fn a_checked_write_needs_the_index_it_read() {
    let mut store = Store::default();
    assert!(!change(&mut store, put("a", "1", Some(7))), "not there");
    assert!(change(&mut store, put("a", "1", Some(0))));
    assert!(!change(&mut store, put("a", "2", Some(0))), "there by now");
    let index = store.kv("a").unwrap().modify_index;
    assert!(!change(&mut store, put("a", "2", Some(index + 1))));
    assert!(change(&mut store, put("a", "2", Some(index))));
    let row = store.kv("a").unwrap();
    assert_eq!((row.create_index, &row.value[..]), (index, &b"2"[..]));
    assert!(!change(&mut store, delete("a", Some(index))));
    let index = row_index(&store, "a");
    assert!(change(&mut store, delete("a", Some(index))));
    assert!(change(&mut store, delete("a", Some(index))), "it's gone");
    assert_eq!(store.kv("a"), None);
}

fn row_index(store: &Store, key: &str) -> u64 {
    store.kv(key).unwrap().modify_index
}

#[test]
fn writing_what_is_there_wakes_nobody() {
    let mut store = Store::default();
    change(&mut store, put("a", "1", None));
    let before = store.kv_index_of("a");
    assert!(change(&mut store, put("a", "1", None)));
    assert!(change(&mut store, delete("none", None)));
    assert!(change(&mut store, delete_tree("none")));
    assert_eq!(store.kv_index_of("a"), before);
    assert_eq!(store.index_of(Topic::Kv), before);
}

#[test]
fn readers_of_other_keys_sleep_on() {
    let mut store = Store::default();
    change(&mut store, put("a/b", "1", None));
    let before = |store: &Store| {
        let missing = (store.kv_index_of("none"), store.kv_index_under("none/"));
        (missing, store.kv_index_under("b"))
    };
    let slept = before(&store);
    assert_eq!(slept, ((1, 1), 1));
    change(&mut store, put("a/c", "1", None));
    change(&mut store, delete("a/b", None));
    assert_eq!(before(&store), slept);
    assert_eq!(store.kv_index_of("a/b"), 3);
    assert_eq!(store.kv_index_under("a/b"), 3);
    assert_eq!(store.kv_index_under("a/"), 3);
}

#[test]
fn indexes_never_go_back_when_deletions_are_forgotten() {
    let mut store = Store::default();
    for key in ["old/gone", "old/kept"] {
        store.change_kv(put(key, "1", None), &at(1)).unwrap();
    }
    store.change_kv(delete("old/gone", None), &at(2)).unwrap();
    let read = |store: &Store| {
        let missing = store.kv_index_of("old/gone");
        (
            missing,
            store.kv_index_under("old/"),
            store.kv_index_of("old/kept"),
        )
    };
    assert_eq!(read(&store), (2, 2, 1));
    for index in 3..3 + TOMBSTONES_KEPT as u64 {
        store.change_kv(put("new", "1", None), &at(index)).unwrap();
        store
            .change_kv(put(&format!("new/{index}"), "1", None), &at(index))
            .unwrap();
        store
            .change_kv(delete(&format!("new/{index}"), None), &at(index))
            .unwrap();
    }
    assert_eq!(store.kv.tombstones.len(), TOMBSTONES_KEPT);
    assert!(!store.kv.tombstones.contains("old/gone"));
    assert_eq!(read(&store), (2, 2, 1));
    assert_eq!(Store::restore(store.dump()), store);
}

fn at(index: u64) -> Applying {
    Applying {
        index,
        at: Time(0),
        ids: crate::id::Ids::at(0, index),
        pending: Vec::new(),
    }
}

#[test]
fn a_restore_is_a_change_of_every_key() {
    let mut old = Store::default();
    change(&mut old, put("kept", "1", None));
    let dump = old.dump();
    for number in 0..9 {
        change(&mut old, put(&format!("{number}"), "1", None));
    }
    let mut young = Store::default();
    let longer = old.dump();
    for (store, dump) in [(&mut old, dump), (&mut young, longer)] {
        let before = store.index();
        let dump: Box<Dump> = Box::new(dump);
        let restore = Command::Restore {
            id: String::new(),
            staged: 0,
            dump,
        };
        apply(store, restore);
        assert_eq!(invariants::check(store), Ok(()));
        for index in [
            store.kv_index_of("kept"),
            store.kv_index_of("8"),
            store.kv_index_under("8"),
            store.kv_index_under(""),
        ] {
            assert!(index > before, "{index} after {before}");
        }
        let newest = store.kv_under("").map(|row| row.modify_index).max();
        change(store, put("kept", "new", None));
        assert!(Some(row_index(store, "kept")) > newest);
    }
    assert_eq!(old.kv("8"), None);
    assert!(young.kv("8").is_some());
}

/// Few keys, of which some are prefixes of others.
const KEYS: [&str; 7] = ["a", "a/", "a/b", "a/b/c", "ab", "b", "ü/x"];
const PREFIXES: [&str; 6] = ["", "a", "a/", "a/b", "b", "ü"];

#[derive(Clone, Debug)]
enum Step {
    Put(usize, u8, u8, Option<u8>),
    Delete(usize, Option<u8>),
    DeleteTree(usize),
    /// Snapshot and restart.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // 0: the right index; others: as many entries ago.
    let cas = || proptest::option::of(0..4_u8);
    let step = prop_oneof![
        6 => (0..KEYS.len(), 0..3_u8, 0..2_u8, cas())
            .prop_map(|(key, value, flags, cas)| Step::Put(key, value, flags, cas)),
        3 => (0..KEYS.len(), cas()).prop_map(|(key, cas)| Step::Delete(key, cas)),
        1 => (0..PREFIXES.len()).prop_map(Step::DeleteTree),
        1 => Just(Step::Restart),
    ];
    vec(step, 1..60)
}

/// What a key has: value, flags, when it was made and changed.
type Model = BTreeMap<&'static str, (Vec<u8>, u64, u64, u64)>;

fn asked(model: &Model, key: &str, cas: u8) -> u64 {
    let index = model.get(key).map_or(0, |row| row.3);
    index.saturating_sub(u64::from(cas))
}

/// Does a step to both; whether it happened must be the same.
fn play(store: &mut Store, model: &mut Model, step: &Step) {
    let index = store.index() + 1;
    match *step {
        Step::Put(key, value, flags, cas) => {
            let key = KEYS[key];
            let cas = cas.map(|cas| asked(model, key, cas));
            let (value, flags) = (vec![value; value.into()], u64::from(flags));
            let put = KvChange::Put {
                key: key.to_owned(),
                value: value.clone().into(),
                flags,
                cas,
            };
            let old = model.get(key).cloned();
            let fits = cas.is_none_or(|cas| old.as_ref().map_or(0, |row| row.3) == cas);
            assert_eq!(change(store, put), fits);
            let same = old
                .as_ref()
                .is_some_and(|row| (&row.0, row.1) == (&value, flags));
            if fits && !same {
                let created = old.map_or(index, |row| row.2);
                model.insert(key, (value, flags, created, index));
            }
        }
        Step::Delete(key, cas) => {
            let key = KEYS[key];
            let cas = cas.map(|cas| asked(model, key, cas));
            let old = model.get(key).map(|row| row.3);
            let fits = cas.is_none_or(|cas| old.is_none_or(|old| old == cas));
            assert_eq!(change(store, delete(key, cas)), fits);
            if fits {
                model.remove(key);
            }
        }
        Step::DeleteTree(prefix) => {
            assert!(change(store, delete_tree(PREFIXES[prefix])));
            model.retain(|key, _| !key.starts_with(PREFIXES[prefix]));
        }
        Step::Restart => *store = Store::restore(store.dump()),
    }
}

fn rows(store: &Store, prefix: &str) -> Vec<(String, Vec<u8>, u64, u64, u64)> {
    let rows = store.kv_under(prefix);
    rows.map(|row| {
        let (created, changed) = (row.create_index, row.modify_index);
        (
            row.key.clone(),
            row.value.to_vec(),
            row.flags,
            created,
            changed,
        )
    })
    .collect()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn it_is_a_map_whose_readers_hear_of_every_change(steps in steps()) {
        let (mut store, mut model) = (Store::default(), Model::new());
        for step in &steps {
            let before = (store.clone(), model.clone());
            play(&mut store, &mut model, step);
            let mut changed = BTreeSet::new();
            for key in KEYS {
                if before.1.get(key) != model.get(key) {
                    changed.insert(key);
                }
            }
            for key in KEYS {
                let (was, is) = (before.0.kv_index_of(key), store.kv_index_of(key));
                let expected = if changed.contains(key) { store.index() } else { was };
                prop_assert_eq!(is, expected, "{} after {:?}", key, step);
            }
            for prefix in PREFIXES {
                let expected: Vec<_> = model
                    .iter()
                    .filter(|(key, _)| key.starts_with(prefix))
                    .map(|(key, row)| ((*key).to_owned(), row.0.clone(), row.1, row.2, row.3))
                    .collect();
                prop_assert_eq!(rows(&store, prefix), expected);
                let touched = changed.iter().any(|key| key.starts_with(prefix));
                let was = before.0.kv_index_under(prefix);
                let expected = if touched { store.index() } else { was };
                prop_assert_eq!(store.kv_index_under(prefix), expected);
            }
        }
    }
}

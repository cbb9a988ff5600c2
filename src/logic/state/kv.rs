//! The key-value store: rows in key order, and what is remembered of deleted ones so that readers
//! who wait for a change hear of it.

use std::ops::Bound;
use std::sync::Arc;

use super::dump::KvDump;
use super::{Applying, Store, Topic};
use crate::model::{KvChange, KvPair};
use crate::table::Table;

/// Deleted keys that are remembered one by one. Once there are more, whoever waits under a prefix
/// or for a missing key wakes at every deletion.
const TOMBSTONES_KEPT: usize = 16_384;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kv {
    rows: Table<String, KvPair>,
    /// Keys that aren't there, with the entry that deleted them.
    tombstones: Table<String, u64>,
    tombstones_by_index: Table<(u64, String), ()>,
    /// The newest deletion that isn't remembered any more.
    forgotten_index: u64,
    /// When everything was last replaced.
    restored_index: u64,
}

fn under<'a, V>(
    table: &'a Table<String, V>,
    prefix: &'a str,
) -> impl Iterator<Item = (&'a String, &'a Arc<V>)> {
    table
        .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
        .take_while(move |(key, _)| key.starts_with(prefix))
}

impl Kv {
    /// Tells whether the row is new or different from before.
    fn put(&mut self, mut row: KvPair, index: u64) -> bool {
        if let Some(old) = self.rows.get(&row.key) {
            row.create_index = old.create_index;
            row.modify_index = old.modify_index;
            row.lock_index = old.lock_index;
            if **old == row {
                return false;
            }
        } else {
            row.create_index = index;
        }
        row.modify_index = index;
        self.exhume(&row.key);
        self.rows.insert(row.key.clone(), row);
        true
    }

    fn exhume(&mut self, key: &str) {
        if let Some(deleted) = self.tombstones.get(key).map(|deleted| **deleted) {
            self.tombstones.remove(key);
            self.tombstones_by_index.remove(&(deleted, key.to_owned()));
        }
    }

    /// Tells whether there was such a row.
    fn delete(&mut self, key: &str, index: u64) -> bool {
        let existed = self.rows.remove(key);
        if existed {
            self.bury(key.to_owned(), index);
        }
        existed
    }

    fn bury(&mut self, key: String, index: u64) {
        self.tombstones_by_index.insert((index, key.clone()), ());
        self.tombstones.insert(key, index);
        if self.tombstones.len() > TOMBSTONES_KEPT {
            let oldest = self.tombstones_by_index.iter().next();
            if let Some((index, key)) = oldest.map(|(oldest, _)| oldest.clone()) {
                self.exhume(&key);
                self.forgotten_index = self.forgotten_index.max(index);
            }
        }
    }

    /// Whether a row is as a client that changes it thinks; there is none at 0.
    fn is_at(&self, key: &str, index: u64) -> bool {
        self.rows.get(key).map_or(0, |row| row.modify_index) == index
    }

    pub(super) fn dump(&self) -> KvDump {
        let deleted = self.tombstones.iter();
        KvDump {
            rows: self.rows.values().cloned().collect(),
            tombstones: deleted.map(|(key, index)| (key.clone(), **index)).collect(),
            forgotten_index: self.forgotten_index,
            restored_index: self.restored_index,
        }
    }

    pub(super) fn restore(dump: KvDump) -> Self {
        let mut kv = Self {
            forgotten_index: dump.forgotten_index,
            restored_index: dump.restored_index,
            ..Self::default()
        };
        for row in dump.rows {
            kv.rows.insert_shared(row.key.clone(), row);
        }
        for (key, index) in dump.tombstones {
            kv.bury(key, index);
        }
        kv
    }

    /// What was here before is gone: whoever read it has to hear of it.
    pub(super) fn replaced(&mut self, index: u64) {
        self.restored_index = index;
    }
}

impl Store {
    /// Tells whether it happened, which a check may have prevented.
    pub(super) fn change_kv(&mut self, change: KvChange, now: &Applying) -> bool {
        let kv = &mut self.kv;
        let changed = match change {
            KvChange::Put {
                key,
                value,
                flags,
                cas,
            } => {
                if cas.is_some_and(|index| !kv.is_at(&key, index)) {
                    return false;
                }
                let row = KvPair {
                    key,
                    value,
                    flags,
                    ..KvPair::default()
                };
                kv.put(row, now.index)
            }
            KvChange::Delete { key, cas } => {
                // What isn't there is deleted, whatever it was before.
                let is_other = |index| kv.rows.contains(&key) && !kv.is_at(&key, index);
                if cas.is_some_and(is_other) {
                    return false;
                }
                kv.delete(&key, now.index)
            }
            KvChange::DeleteTree { prefix } => {
                let keys: Vec<String> = under(&kv.rows, &prefix)
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in &keys {
                    kv.delete(key, now.index);
                }
                !keys.is_empty()
            }
        };
        if changed {
            self.touch(Topic::Kv, now);
        }
        true
    }

    pub fn kv(&self, key: &str) -> Option<&Arc<KvPair>> {
        self.kv.rows.get(key)
    }

    /// The rows whose keys begin so, in key order.
    pub fn kv_under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a Arc<KvPair>> {
        under(&self.kv.rows, prefix).map(|(_, row)| row)
    }

    /// When a key last changed: its row's own index, or when it was deleted. Never goes back, and
    /// is at least 1.
    pub fn kv_index_of(&self, key: &str) -> u64 {
        let kv = &self.kv;
        let written = kv.rows.get(key).map(|row| row.modify_index);
        let deleted = || kv.tombstones.get(key).map(|deleted| **deleted);
        let changed = written.or_else(deleted).unwrap_or(kv.forgotten_index);
        changed.max(kv.restored_index).max(1)
    }

    /// When any key that begins so last changed. Never goes back, and is at least 1.
    pub fn kv_index_under(&self, prefix: &str) -> u64 {
        if prefix.is_empty() {
            return self.index_of(Topic::Kv);
        }
        let kv = &self.kv;
        let written = under(&kv.rows, prefix).map(|(_, row)| row.modify_index);
        let deleted = under(&kv.tombstones, prefix).map(|(_, deleted)| **deleted);
        let changed = written.chain(deleted).max().unwrap_or(0);
        changed
            .max(kv.forgotten_index)
            .max(kv.restored_index)
            .max(1)
    }

    /// What is wrong with the key-value store, if something is.
    pub(crate) fn kv_contradiction(&self) -> Option<String> {
        let (kv, newest) = (&self.kv, self.index_of(Topic::Kv));
        let misfiled = kv.rows.iter().find_map(|(key, row)| {
            let is_wrong = row.key != *key || row.key.is_empty();
            let is_young = row.create_index > row.modify_index || row.modify_index > newest;
            (is_wrong || is_young).then(|| format!("{key:?} has {row:?} after {newest}"))
        });
        let undead = kv.tombstones.iter().find_map(|(key, deleted)| {
            let is_wrong = kv.rows.contains(key) || **deleted > newest;
            is_wrong.then(|| format!("{key:?} was deleted at {deleted}, and is there"))
        });
        let count = kv.tombstones.len();
        let many = (count > TOMBSTONES_KEPT).then(|| format!("{count} deleted keys are kept"));
        misfiled.or(undead).or(many)
    }
}

#[cfg(test)]
mod tests;

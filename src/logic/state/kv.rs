//! The key-value store: rows in key order, and what is remembered of deleted ones so that readers
//! who wait for a change hear of it.

use std::ops::Bound;
use std::sync::Arc;

use super::delays::Delays;
use super::dump::KvDump;
use super::{Applying, Refusal, Store, Topic};
use crate::model::{KvChange, KvPair};
use crate::table::Table;
use crate::time::Time;

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
    /// Keys by the session that holds them.
    locks: Table<(String, String), ()>,
    /// Until when nobody may lock a key whose holder was lost.
    delays: Delays,
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
            row.lock_index = old.lock_index;
            row.session.clone_from(&old.session);
        }
        self.put_locked(row, index)
    }

    /// The same, and whose the key is.
    fn put_locked(&mut self, mut row: KvPair, index: u64) -> bool {
        if let Some(old) = self.rows.get(&row.key).cloned() {
            row.create_index = old.create_index;
            row.modify_index = old.modify_index;
            if *old == row {
                return false;
            }
            self.unlock(&old);
        } else {
            row.create_index = index;
        }
        row.modify_index = index;
        self.exhume(&row.key);
        if !row.session.is_empty() {
            self.locks
                .insert((row.session.clone(), row.key.clone()), ());
        }
        self.rows.insert(row.key.clone(), row);
        true
    }

    fn unlock(&mut self, row: &KvPair) {
        if !row.session.is_empty() {
            self.locks.remove(&(row.session.clone(), row.key.clone()));
        }
    }

    fn exhume(&mut self, key: &str) {
        if let Some(deleted) = self.tombstones.get(key).map(|deleted| **deleted) {
            self.tombstones.remove(key);
            self.tombstones_by_index.remove(&(deleted, key.to_owned()));
        }
    }

    /// Tells whether there was such a row.
    pub(super) fn delete(&mut self, key: &str, index: u64) -> bool {
        if let Some(row) = self.rows.get(key).cloned() {
            self.unlock(&row);
        }
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

    /// Locks a key; tells whether it could.
    fn acquire(&mut self, mut row: KvPair, now: &Applying) -> Option<bool> {
        let held = self.rows.get(&row.key);
        let lock_index = held.map_or(0, |held| held.lock_index);
        match held {
            Some(held) if held.session == row.session => row.lock_index = lock_index,
            Some(held) if !held.session.is_empty() => return None,
            Some(_) | None => {
                if self.delays.holds(&row.key, now.at) {
                    return None;
                }
                self.delays.end(&row.key);
                row.lock_index = lock_index + 1;
            }
        }
        Some(self.put_locked(row, now.index))
    }

    /// Unlocks a key; nothing if this session doesn't hold it.
    fn release(&mut self, mut row: KvPair, index: u64) -> Option<bool> {
        let held = self.rows.get(&row.key)?;
        if row.session.is_empty() || held.session != row.session {
            return None;
        }
        row.lock_index = held.lock_index;
        row.session.clear();
        Some(self.put_locked(row, index))
    }

    /// The keys that a session holds.
    pub(super) fn held_by(&self, session: &str) -> Vec<String> {
        super::of(&self.locks, session).cloned().collect()
    }

    /// Takes a key from its holder as it is.
    pub(super) fn let_go(&mut self, key: &str, index: u64) {
        if let Some(row) = self.rows.get(key) {
            let mut row = (**row).clone();
            row.session.clear();
            self.put_locked(row, index);
        }
    }

    /// Nobody gets the key until then.
    pub(super) fn delay(&mut self, key: String, until: Time) {
        self.delays.set(key, until);
    }

    /// Forgets delays that are over.
    pub(super) fn collect_delays(&mut self, now: Time) {
        self.delays.collect(now);
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
            delays: self
                .delays
                .rows()
                .map(|(key, until)| (key.clone(), **until))
                .collect(),
        }
    }

    pub(super) fn restore(dump: KvDump) -> Self {
        let mut kv = Self {
            forgotten_index: dump.forgotten_index,
            restored_index: dump.restored_index,
            delays: dump.delays.into_iter().collect(),
            ..Self::default()
        };
        for row in dump.rows {
            if !row.session.is_empty() {
                kv.locks.insert((row.session.clone(), row.key.clone()), ());
            }
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

fn locked(key: String, value: bytes::Bytes, flags: u64, session: String) -> KvPair {
    KvPair {
        key,
        value,
        flags,
        session,
        ..KvPair::default()
    }
}

impl Store {
    /// Tells whether it happened, which a check or another holder may have prevented.
    pub(super) fn change_kv(&mut self, change: KvChange, now: &Applying) -> Result<bool, Refusal> {
        if let KvChange::Acquire { session, .. } = &change
            && !self.sessions.contains(session)
        {
            return Err(Refusal::NoSuchSession(session.clone()));
        }
        let kv = &mut self.kv;
        let changed = match change {
            KvChange::Put {
                key,
                value,
                flags,
                cas,
            } => {
                if cas.is_some_and(|index| !kv.is_at(&key, index)) {
                    return Ok(false);
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
                    return Ok(false);
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
            KvChange::Acquire {
                key,
                value,
                flags,
                session,
            } => {
                let Some(changed) = kv.acquire(locked(key, value, flags, session), now) else {
                    return Ok(false);
                };
                changed
            }
            KvChange::Release {
                key,
                value,
                flags,
                session,
            } => {
                let row = locked(key, value, flags, session);
                let Some(changed) = kv.release(row, now.index) else {
                    return Ok(false);
                };
                changed
            }
        };
        if changed {
            self.touch(Topic::Kv, now);
        }
        Ok(true)
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

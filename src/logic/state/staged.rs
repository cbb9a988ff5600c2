//! A state that is restored is too large for one entry of the log: it comes in parts, which wait
//! here for the last one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::dump::KvDump;
use super::{Applying, Dump, Refusal, Reply, Store};
use crate::table::Table;
use crate::time::Time;

/// How large rows are where they are written.
pub trait Measure {
    fn bytes<T: Serialize>(row: &T) -> usize;
}

/// The parts of one restore that have come so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Staged {
    id: String,
    /// When the last one came.
    at: Time,
    parts: Table<usize, Dump>,
}

/// The same in a dump.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StagedDump {
    pub id: String,
    pub at: Time,
    pub parts: Vec<Arc<Dump>>,
}

impl Staged {
    pub(super) fn dump(&self) -> StagedDump {
        StagedDump {
            id: self.id.clone(),
            at: self.at,
            parts: self.parts.values().cloned().collect(),
        }
    }

    pub(super) fn restore(dump: StagedDump) -> Self {
        let mut parts = Table::default();
        for (number, part) in dump.parts.into_iter().enumerate() {
            parts.insert_shared(number, part);
        }
        Self {
            id: dump.id,
            at: dump.at,
            parts,
        }
    }
}

impl Store {
    /// Keeps a part. Those of another restore are forgotten.
    pub(super) fn stage(&mut self, id: String, part: Dump, now: &Applying) {
        if self.staged.id != id {
            self.staged = Staged::default();
        }
        self.staged.id = id;
        self.staged.at = now.at;
        self.staged.parts.insert(self.staged.parts.len(), part);
    }

    /// Puts the parts and the last one in place of everything.
    pub(super) fn restore_staged(
        &mut self,
        id: &str,
        count: usize,
        mut last: Dump,
        now: &Applying,
    ) -> Result<Reply, Refusal> {
        if count > 0 && (self.staged.id != id || self.staged.parts.len() != count) {
            return Err(Refusal::RestoreInterrupted);
        }
        let parts = std::mem::take(&mut self.staged.parts);
        for part in parts.values().take(count) {
            last.take_rows_of((**part).clone());
        }
        self.take_over(last, now);
        Ok(Reply::Done)
    }

    /// Forgets a restore that was given up.
    pub(super) fn collect_staged(&mut self, before: Time) {
        if self.staged.at < before {
            self.staged = Staged::default();
        }
    }
}

impl Dump {
    fn take_rows_of(&mut self, other: Self) {
        self.jobs.extend(other.jobs);
        self.versions.extend(other.versions);
        self.nodes.extend(other.nodes);
        self.node_room_index.extend(other.node_room_index);
        self.allocs.extend(other.allocs);
        self.node_alloc_index.extend(other.node_alloc_index);
        self.evals.extend(other.evals);
        self.deployments.extend(other.deployments);
        self.catalog_nodes.extend(other.catalog_nodes);
        self.services.extend(other.services);
        self.checks.extend(other.checks);
        self.kv.rows.extend(other.kv.rows);
        self.kv.tombstones.extend(other.kv.tombstones);
        self.kv.delays.extend(other.kv.delays);
        self.sessions.extend(other.sessions);
        self.events.extend(other.events);
    }

    /// The same in parts whose rows have at most `room` bytes, as long as no row has more. The last
    /// part has what isn't rows. Proposals are left out: a cluster has its own.
    pub fn in_parts<M: Measure>(self, room: usize) -> Vec<Self> {
        let mut parts = Parts {
            done: Vec::new(),
            open: Self::default(),
            used: 0,
            room,
        };
        parts.add::<M, _>(self.jobs, |dump| &mut dump.jobs);
        parts.add::<M, _>(self.versions, |dump| &mut dump.versions);
        parts.add::<M, _>(self.nodes, |dump| &mut dump.nodes);
        parts.add::<M, _>(self.node_room_index, |dump| &mut dump.node_room_index);
        parts.add::<M, _>(self.allocs, |dump| &mut dump.allocs);
        parts.add::<M, _>(self.node_alloc_index, |dump| &mut dump.node_alloc_index);
        parts.add::<M, _>(self.evals, |dump| &mut dump.evals);
        parts.add::<M, _>(self.deployments, |dump| &mut dump.deployments);
        parts.add::<M, _>(self.catalog_nodes, |dump| &mut dump.catalog_nodes);
        parts.add::<M, _>(self.services, |dump| &mut dump.services);
        parts.add::<M, _>(self.checks, |dump| &mut dump.checks);
        parts.add::<M, _>(self.kv.rows, |dump| &mut dump.kv.rows);
        parts.add::<M, _>(self.kv.tombstones, |dump| &mut dump.kv.tombstones);
        parts.add::<M, _>(self.kv.delays, |dump| &mut dump.kv.delays);
        parts.add::<M, _>(self.sessions, |dump| &mut dump.sessions);
        parts.add::<M, _>(self.events, |dump| &mut dump.events);
        let rows = parts.open;
        parts.done.push(Self {
            index: self.index,
            seed: self.seed,
            indexes: self.indexes,
            capacity_index: self.capacity_index,
            kv: KvDump {
                forgotten_index: self.kv.forgotten_index,
                restored_index: self.kv.restored_index,
                ..rows.kv
            },
            ..rows
        });
        parts.done
    }
}

struct Parts {
    done: Vec<Dump>,
    open: Dump,
    /// Bytes of the open part's rows.
    used: usize,
    room: usize,
}

impl Parts {
    fn add<M: Measure, T: Serialize>(
        &mut self,
        rows: Vec<T>,
        of: impl Fn(&mut Dump) -> &mut Vec<T>,
    ) {
        for row in rows {
            let bytes = M::bytes(&row);
            if self.used > 0 && self.used + bytes > self.room {
                self.done.push(std::mem::take(&mut self.open));
                self.used = 0;
            }
            self.used += bytes;
            of(&mut self.open).push(row);
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use crate::duration::SECOND;
    use crate::model::{KvChange, KvPair};
    use crate::schedule::tests::cluster::{Cluster, service};
    use crate::state::Command;

    struct Json;

    impl Measure for Json {
        fn bytes<T: Serialize>(row: &T) -> usize {
            serde_json::to_vec(row).unwrap().len()
        }
    }

    /// A cluster with a job that runs, and keys.
    fn busy() -> Cluster {
        let mut cluster = Cluster::of(2);
        cluster.run(&service("web", 3));
        for number in 0..40_u8 {
            let change = KvChange::Put {
                key: format!("key/{number}"),
                value: vec![number; 100].into(),
                flags: 0,
                cas: None,
            };
            cluster.apply(Command::Kv { change }).reply.unwrap();
        }
        let key = "key/7".to_owned();
        let change = KvChange::Delete { key, cas: None };
        cluster.apply(Command::Kv { change }).reply.unwrap();
        cluster
    }

    fn stage(id: &str, part: Dump) -> Command {
        Command::StageRestore {
            id: id.to_owned(),
            part: Box::new(part),
        }
    }

    fn restore(id: &str, staged: usize, dump: Dump) -> Command {
        Command::Restore {
            id: id.to_owned(),
            staged,
            dump: Box::new(dump),
        }
    }

    #[test]
    fn parts_come_to_the_same_as_the_whole() {
        let mut saved = busy().store.dump();
        let delay = |number: u8| (format!("lost/{number:03}"), Time(i64::MAX));
        saved.kv.delays.extend((0..200).map(delay));
        let mut whole = Cluster::of(1);
        whole.apply(restore("", 0, saved.clone()));
        for room in [1, 1_000, 5_000, 1 << 20] {
            let mut parts = saved.clone().in_parts::<Json>(room);
            assert_eq!(parts.len() > 1, room < 1 << 20);
            for part in &parts {
                let rows = part.kv.rows.iter().map(Json::bytes);
                let delays = part.kv.delays.iter().map(Json::bytes);
                let count = part.kv.rows.len() + part.kv.delays.len();
                let bytes: usize = rows.chain(delays).sum();
                assert!(bytes <= room || count == 1, "{bytes} of {room}");
            }
            let last = parts.pop().unwrap();
            let mut cluster = Cluster::of(1);
            let count = parts.len();
            for part in parts {
                cluster.apply(stage("r1", part));
                let kept = cluster.store.dump();
                assert_eq!(Store::restore(kept), cluster.store, "parts are kept");
            }
            let restored = cluster.apply(restore("r1", count, last));
            assert_eq!(restored.reply, Ok(Reply::Done));
            let rows = |store: &Store| {
                let mut dump = store.dump();
                dump.kv.rows.sort_by(|a: &Arc<KvPair>, b| a.key.cmp(&b.key));
                (
                    dump.jobs,
                    dump.allocs,
                    dump.nodes,
                    dump.kv.rows,
                    dump.kv.delays,
                    dump.checks,
                )
            };
            assert_eq!(rows(&cluster.store), rows(&whole.store));
            assert_eq!(cluster.store.staged, Staged::default());
        }
    }

    #[test]
    fn a_restore_that_lacks_a_part_changes_nothing() {
        let mut parts = busy().store.dump().in_parts::<Json>(1_000);
        let last = parts.pop().unwrap();
        let count = parts.len();
        let mut cluster = Cluster::of(1);
        for part in parts.clone() {
            cluster.apply(stage("r1", part));
        }
        cluster.apply(stage("r2", Dump::default()));
        for (id, count) in [("r1", count), ("r2", 2), ("r3", 1)] {
            let refused = cluster.apply(restore(id, count, last.clone())).reply;
            assert_eq!(refused, Err(Refusal::RestoreInterrupted), "{id}");
            assert_eq!(cluster.store.jobs().count(), 0);
        }
        assert!(cluster.apply(restore("r2", 1, last)).reply.is_ok());
    }

    #[test]
    fn parts_that_nobody_comes_back_for_are_forgotten() {
        let mut cluster = Cluster::of(1);
        cluster.apply(stage("r1", Dump::default()));
        let collect = |before| Command::CollectGarbage {
            evals_before: before,
            jobs_before: before,
            nodes_before: before,
        };
        let staged = cluster.store.staged.clone();
        cluster.apply(collect(staged.at));
        assert_eq!(cluster.store.staged, staged);
        cluster.apply(collect(Time(staged.at.0 + SECOND)));
        assert_eq!(cluster.store.staged, Staged::default());
    }
}

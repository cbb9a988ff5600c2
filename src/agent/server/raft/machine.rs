//! The replicated state machine: hands agreed entries to the `StateStore`, makes and takes
//! snapshots of it.

use std::cell::RefCell;
use std::io::{self, Cursor};
use std::rc::Rc;

use actix::Addr;
use logic::state::{Dump, Store};
use openraft::storage::RaftStateMachine;
use openraft::{
    EntryPayload, ErrorSubject, ErrorVerb, OptionalSend, RaftSnapshotBuilder, Snapshot,
};
use ports::World;

use super::log_store::{LogStore, failed};
use super::types::{
    Answers, Batch, LogEntry, LogId, Membership, SnapshotMeta, StorageError, TypeConfig,
};
use crate::planted::{self, Planted};
use crate::server::beside::beside;
use crate::server::state_store::{Apply, Replace, StateStore};
use crate::state::State;
use crate::wire;

#[derive(Clone)]
pub(crate) struct Machine {
    world: World,
    log: LogStore,
    store: Addr<StateStore>,
    state: State,
    /// Outlives the log it came from: a log that failed is opened anew under the same state.
    position: Rc<RefCell<Position>>,
}

#[derive(Clone, Default)]
struct Position {
    applied: Option<LogId>,
    membership: Membership,
}

impl Machine {
    /// The state machine as the newest snapshot has it.
    pub(crate) fn recover(
        world: World,
        log: LogStore,
        store: Addr<StateStore>,
        state: State,
    ) -> io::Result<Self> {
        let machine = Self {
            world,
            log,
            store,
            state,
            position: Rc::default(),
        };
        if let Some((meta, data)) = machine.log.snapshot()? {
            let store = read(&data).map_err(io::Error::other)?;
            machine.take(&meta, store);
        }
        Ok(machine)
    }

    /// The same state over a log that was opened anew.
    pub(crate) fn over(&self, log: LogStore) -> Self {
        Self {
            log,
            ..self.clone()
        }
    }

    fn take(&self, meta: &SnapshotMeta, store: Store) {
        let mut position = self.position.borrow_mut();
        position.applied = meta.last_log_id;
        if !planted::is(Planted::SnapshotWithoutMembership) {
            position.membership = meta.last_membership.clone();
        }
        self.store.do_send(Replace(Box::new(store)));
    }

    async fn snapshot(&self) -> io::Result<Snapshot<TypeConfig>> {
        let position = self.position.borrow().clone();
        // Entries are applied one after the other: the state is that of the position.
        let state = self.state.now();
        let encoded = beside(&self.world, move || wire::encode(&state.dump())).await?;
        let data = encoded.map_err(io::Error::other)?;
        let id = position
            .applied
            .map_or_else(String::new, |applied| applied.to_string());
        let meta = SnapshotMeta {
            last_log_id: position.applied,
            last_membership: position.membership,
            snapshot_id: id,
        };
        self.log.save_snapshot(&meta, data.clone()).await?;
        tracing::info!(index = self.state.now().index(), "snapshot taken");
        Ok(Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(data)),
        })
    }
}

fn read(data: &[u8]) -> Result<Store, wire::Error> {
    let dump: Dump = wire::decode_own(data)?;
    Ok(Store::restore(dump))
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        self.snapshot()
            .await
            .map_err(|error| failed(ErrorSubject::Snapshot(None), ErrorVerb::Write, &error))
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Membership), StorageError> {
        let position = self.position.borrow();
        Ok((position.applied, position.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answers>, StorageError>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let (mut batches, mut membership, mut last) = (Vec::new(), None, None);
        for entry in entries {
            last = Some(entry.log_id);
            let batch = match entry.payload {
                EntryPayload::Normal(batch) => batch,
                EntryPayload::Blank => Batch::default(),
                EntryPayload::Membership(config) => {
                    membership = Some(Membership::new(Some(entry.log_id), config));
                    Batch::default()
                }
            };
            batches.push(batch);
        }
        let answers = self.store.send(Apply(batches)).await.map_err(|error| {
            let error = io::Error::other(error.to_string());
            failed(ErrorSubject::StateMachine, ErrorVerb::Write, &error)
        })?;
        let mut position = self.position.borrow_mut();
        position.applied = last.or(position.applied);
        if let Some(membership) = membership {
            position.membership = membership;
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let data = snapshot.into_inner();
        let wrong = |error: io::Error| {
            failed(
                ErrorSubject::Snapshot(Some(meta.signature())),
                ErrorVerb::Write,
                &error,
            )
        };
        let reading = beside(&self.world, move || (read(&data), data));
        let (store, data) = reading.await.map_err(wrong)?;
        let store = store.map_err(|error| wrong(io::Error::other(error)))?;
        tracing::info!(index = store.index(), "took the leader's snapshot");
        self.log.save_snapshot(meta, data).await.map_err(wrong)?;
        self.take(meta, store);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let found = self.log.snapshot();
        let found =
            found.map_err(|error| failed(ErrorSubject::Snapshot(None), ErrorVerb::Read, &error))?;
        Ok(found.map(|(meta, data)| Snapshot {
            meta,
            snapshot: Box::new(Cursor::new(data)),
        }))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use actix::{Actor, Context, Handler};
    use logic::model::KvPair;
    use logic::state::KvDump;

    use super::*;
    use crate::api::tests::world::TestWorld;
    use crate::published::publish;
    use crate::server::eval_broker::Enqueue;

    struct Nobody;

    impl Actor for Nobody {
        type Context = Context<Self>;
    }

    impl Handler<Enqueue> for Nobody {
        type Result = ();

        fn handle(&mut self, _: Enqueue, _: &mut Self::Context) {}
    }

    /// A server's state machine over its log, and what readers see.
    fn machine(world: &World, log: &LogStore) -> (Machine, State) {
        let (newest, reader) = publish(std::sync::Arc::new(Store::default()));
        let store = StateStore::new(newest, Nobody.start().recipient()).start();
        let state = State::new(reader);
        let machine = Machine::recover(world.clone(), log.clone(), store, state.clone());
        (machine.unwrap(), state)
    }

    /// A state that has no place in one message.
    fn large() -> Store {
        let row = |number: u8| KvPair {
            key: format!("key/{number}"),
            value: vec![number; 512 << 10].into(),
            create_index: 1,
            modify_index: 1,
            ..KvPair::default()
        };
        let rows = (0..130).map(|number| row(number).into());
        Store::restore(Dump {
            index: 1,
            indexes: [(logic::state::Topic::Kv, 1)].into(),
            kv: KvDump {
                rows: rows.collect(),
                ..KvDump::default()
            },
            ..Dump::default()
        })
    }

    #[actix::test]
    async fn a_state_larger_than_a_message_is_sent_installed_and_recovered() {
        let world = TestWorld::new().world;
        let open = || LogStore::open(&world, true).unwrap();
        let data = wire::encode(&large().dump()).unwrap();
        assert!(data.len() > wire::FRAME_BYTES_MAX);
        let meta = SnapshotMeta::default();
        let log = open();
        log.save_snapshot(&meta, data).await.unwrap();
        let (mut leader, state) = machine(&world, &log);
        let there = |store: &Store| store.kv_under("").count() > 0;
        let within = std::time::Duration::from_secs(60);
        assert!(*state.once(within, there).await == large());
        let snapshot = leader.build_snapshot().await.unwrap();
        let (mut follower, state) = machine(&world, &open());
        let installed = follower.install_snapshot(&meta, snapshot.snapshot).await;
        installed.unwrap();
        assert!(*state.once(within, there).await == large());
    }
}

//! The durable log, the vote and the newest snapshot, in one redb database on the disk port.
//!
//! Nothing here returns before what it wrote survives a power cut.

use std::cell::RefCell;
use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::rc::Rc;
use std::sync::Arc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{
    CommittedLeaderId, EntryPayload, ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader,
};
use ports::World;
use redb::{Database, ReadableDatabase, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::format;
use super::on_disk::OnDisk;
use super::position::Position;
use super::types::{LogEntry, LogId, SnapshotMeta, StorageError, TypeConfig, Vote};
use crate::error::StartError;
use crate::planted::{self, Planted};
use crate::server::beside::beside;
use crate::wire;

const PATH: &str = "server/raft.redb";
pub(super) const LOG: TableDefinition<u64, &[u8]> = TableDefinition::new("log");
pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const VOTE: &str = "vote";
const PURGED: &str = "purged";
const COMMITTED: &str = "committed";
const SNAPSHOT: &str = "snapshot";
const SNAPSHOT_DATA: &str = "snapshot-data";

/// redb's default would be a gigabyte; the log is read only at start and by servers that lag.
const CACHE_BYTES: usize = 1 << 20;
/// Entries that are sent together have at most so many bytes, unless one alone has more.
const SENT_BYTES_MAX: u64 = 256 << 10;

pub(super) type Failed = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub(crate) struct LogStore(Rc<Shared>);

struct Shared {
    world: World,
    /// Gone once the log is closed.
    database: RefCell<Option<Arc<Database>>>,
    in_memory: bool,
    position: RefCell<Position>,
    /// Wakes who waits for a snapshot to be on disk.
    snapshot_saved: Notify,
}

impl LogStore {
    /// Opens the log; with `in_memory`, one that ends with the process.
    pub(crate) fn open(world: &World, in_memory: bool) -> Result<Self, StartError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let opened = if in_memory {
            builder.create_with_backend(redb::backends::InMemoryBackend::new())
        } else {
            let file = world.disk.open(PATH)?;
            builder.create_with_backend(OnDisk(file))
        };
        let database = opened.map_err(|error| StartError::Log(error.to_string()))?;
        let position = recover(&database).map_err(|error| StartError::Log(error.to_string()))?;
        Ok(Self(Rc::new(Shared {
            world: world.clone(),
            database: RefCell::new(Some(Arc::new(database))),
            in_memory,
            position: RefCell::new(position),
            snapshot_saved: Notify::new(),
        })))
    }

    /// The last entry of the log, or the last one that was purged.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.0.position.borrow().last
    }

    /// Bytes of log entries since the last snapshot.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.position.borrow().bytes
    }

    /// Lets go of the file; whoever still holds this log gets errors.
    pub(crate) fn close(&self) {
        self.0.database.take();
    }

    fn database(&self) -> io::Result<Arc<Database>> {
        let database = self.0.database.borrow().clone();
        database.ok_or_else(|| io::Error::other("the log is closed"))
    }

    /// Changes the database, in one transaction.
    async fn write(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<(), Failed> + Send + 'static,
    ) -> io::Result<()> {
        let database = self.database()?;
        let write = move || -> Result<(), Failed> {
            let transaction = database.begin_write()?;
            change(&transaction)?;
            transaction.commit()?;
            Ok(())
        };
        let written = if self.0.in_memory {
            write()
        } else {
            beside(&self.0.world, write).await?
        };
        written.map_err(io::Error::other)
    }

    async fn put<T: Serialize>(&self, key: &'static str, value: &T) -> io::Result<()> {
        let bytes = wire::encode(value).map_err(io::Error::other)?;
        self.write(move |transaction| {
            transaction
                .open_table(META)?
                .insert(key, bytes.as_slice())?;
            Ok(())
        })
        .await
    }

    /// Replaces the snapshot by a newer one. The log before it goes once openraft has said so.
    pub(crate) async fn save_snapshot(&self, meta: &SnapshotMeta, data: Vec<u8>) -> io::Result<()> {
        let (upto, purge) = {
            let position = self.0.position.borrow();
            if meta.last_log_id < position.snapshot {
                return Ok(());
            }
            let due = |purge: &LogId| Some(*purge) <= meta.last_log_id;
            (meta.last_log_id, position.purge_next.filter(due))
        };
        let meta = wire::encode(meta).map_err(io::Error::other)?;
        self.write(move |transaction| {
            {
                let mut table = transaction.open_table(META)?;
                table.insert(SNAPSHOT, meta.as_slice())?;
                table.insert(SNAPSHOT_DATA, data.as_slice())?;
            }
            purge.map_or(Ok(()), |purge| purge_in(transaction, purge))
        })
        .await?;
        let mut position = self.0.position.borrow_mut();
        position.bytes = 0;
        position.snapshot = upto;
        if purge.is_some() && position.purge_next == purge {
            position.purge_next = None;
        }
        drop(position);
        self.0.snapshot_saved.notify_waiters();
        Ok(())
    }

    /// Entries that follow a snapshot don't get to the disk before it: a log with a hole in it
    /// couldn't be opened again.
    async fn without_hole(&self) {
        while self.0.position.borrow().purge_next.is_some() {
            self.0.snapshot_saved.notified().await;
        }
    }

    pub(crate) fn snapshot(&self) -> io::Result<Option<(SnapshotMeta, Vec<u8>)>> {
        let database = self.database()?;
        let read = || -> Result<_, Failed> {
            let table = database.begin_read()?.open_table(META)?;
            let (Some(meta), Some(data)) = (table.get(SNAPSHOT)?, table.get(SNAPSHOT_DATA)?) else {
                return Ok(None);
            };
            Ok(Some((wire::decode(meta.value())?, data.value().to_vec())))
        };
        read().map_err(io::Error::other)
    }

    /// The entries of a range; the first of them at least, and no more than so many bytes.
    fn entries(&self, from: u64, to: u64, bytes_max: u64) -> io::Result<Vec<LogEntry>> {
        if let Some(kept) = self.0.position.borrow().kept(from..to, bytes_max) {
            return Ok(kept);
        }
        let database = self.database()?;
        let read = || -> Result<_, Failed> {
            let table = database.begin_read()?.open_table(LOG)?;
            let (mut entries, mut bytes) = (Vec::new(), 0);
            for row in table.range(from..to)? {
                let (_, entry) = row?;
                bytes += entry.value().len() as u64;
                if bytes > bytes_max && !entries.is_empty() {
                    break;
                }
                entries.push(wire::decode_own(entry.value())?);
            }
            Ok(entries)
        };
        read().map_err(io::Error::other)
    }
}

fn purge_in(transaction: &WriteTransaction, upto: LogId) -> Result<(), Failed> {
    let purged = wire::encode(&Some(upto))?;
    transaction
        .open_table(META)?
        .insert(PURGED, purged.as_slice())?;
    transaction
        .open_table(LOG)?
        .retain_in(..=upto.index, |_, _| false)?;
    Ok(())
}

/// Refuses a log that no server can have written: what it would vote for or apply isn't what the
/// others agreed on.
fn follows(last: Option<LogId>, next: LogId) -> Result<(), Failed> {
    let Some(last) = last else { return Ok(()) };
    if next.index == last.index + 1 && next.leader_id >= last.leader_id {
        return Ok(());
    }
    Err(format!(
        "entry {next} follows {last}: the log is damaged; move the data directory away and start \
         the agent anew: it joins the others as another server and takes everything from them"
    )
    .into())
}

fn recover(database: &Database) -> Result<Position, Failed> {
    let transaction = database.begin_write()?;
    transaction.open_table(LOG)?;
    transaction.open_table(META)?;
    format::check(&transaction)?;
    transaction.commit()?;

    let transaction = database.begin_read()?;
    let purged: Option<LogId> = read_meta(database, PURGED)?.flatten();
    let committed: Option<LogId> = read_meta(database, COMMITTED)?.flatten();
    let snapshot: Option<SnapshotMeta> = read_meta(database, SNAPSHOT)?;
    let log = transaction.open_table(LOG)?;
    let mut last = purged;
    for row in log.range::<u64>(..)? {
        let (log_id, _) = wire::decode_first::<LogId>(row?.1.value())?;
        follows(last, log_id)?;
        last = Some(log_id);
    }
    Ok(Position {
        last,
        purged,
        committed,
        committed_saved: committed,
        snapshot: snapshot.and_then(|meta| meta.last_log_id),
        ..Position::default()
    })
}

fn read_meta<T: DeserializeOwned>(database: &Database, key: &str) -> Result<Option<T>, Failed> {
    let table = database.begin_read()?.open_table(META)?;
    let value = table.get(key)?;
    Ok(value.map(|bytes| wire::decode(bytes.value())).transpose()?)
}

pub(super) fn failed(
    subject: ErrorSubject<u64>,
    verb: ErrorVerb,
    error: &io::Error,
) -> StorageError {
    StorageError::from_io_error(subject, verb, io::Error::other(error.to_string()))
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<LogEntry>, StorageError> {
        use std::ops::Bound;
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        self.entries(from, to, u64::MAX)
            .map_err(|error| failed(ErrorSubject::Logs, ErrorVerb::Read, &error))
    }

    /// What is sent at once, so that it arrives before the next heartbeat is due.
    async fn limited_get_log_entries(
        &mut self,
        from: u64,
        to: u64,
    ) -> Result<Vec<LogEntry>, StorageError> {
        let read = self.entries(from, to, SENT_BYTES_MAX);
        let entries = read.map_err(|e| failed(ErrorSubject::Logs, ErrorVerb::Read, &e))?;
        if entries.is_empty() {
            return Ok(vec![taken_back(from)]);
        }
        Ok(entries)
    }
}

/// Stands for entries that another leader's have taken the place of. openraft goes on sending them
/// for a while after a leader has become a follower, and can't be told that they are gone.
fn taken_back(index: u64) -> LogEntry {
    LogEntry {
        log_id: LogId::new(CommittedLeaderId::new(u64::MAX, u64::MAX), index),
        payload: EntryPayload::Blank,
    }
}

/// Whether these entries aren't there any more.
pub(super) fn are_taken_back(entries: &[LogEntry]) -> bool {
    entries
        .iter()
        .any(|entry| entry.log_id.leader_id.term == u64::MAX)
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let position = self.0.position.borrow();
        Ok(LogState {
            last_purged_log_id: position.purged,
            last_log_id: position.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        if planted::is(Planted::VoteNotPersisted) {
            return Ok(());
        }
        self.put(VOTE, vote)
            .await
            .map_err(|error| failed(ErrorSubject::Vote, ErrorVerb::Write, &error))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let read = || read_meta(&*self.database()?, VOTE).map_err(io::Error::other);
        let vote: Option<Vote> =
            read().map_err(|error| failed(ErrorSubject::Vote, ErrorVerb::Read, &error))?;
        // A leader that was restarted asks for votes again: taking the term up where it left off,
        // it wouldn't know what of it had been committed, and could answer reads from before.
        Ok(vote.map(|vote| Vote {
            committed: false,
            ..vote
        }))
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // Goes to disk with the next entries: it only saves work at the next start.
        self.0.position.borrow_mut().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.0.position.borrow().committed)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        self.without_hole().await;
        let written = self.append_durably(entries).await;
        callback.log_io_completed(written);
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        if !planted::is(Planted::LostTruncation) {
            self.write(move |transaction| {
                let mut log = transaction.open_table(LOG)?;
                log.retain_in(since.index.., |_, _| false)?;
                Ok(())
            })
            .await
            .map_err(|error| failed(ErrorSubject::Logs, ErrorVerb::Delete, &error))?;
        }
        self.0.position.borrow_mut().forget(since.index..);
        let before = since.index.checked_sub(1);
        let last = match before {
            Some(before) => self
                .entries(before, since.index, u64::MAX)
                .map_err(|error| failed(ErrorSubject::Logs, ErrorVerb::Read, &error))?
                .pop()
                .map(|entry| entry.log_id),
            None => None,
        };
        let mut position = self.0.position.borrow_mut();
        position.last = last.or(position.purged);
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        // openraft purges what a snapshot replaces while the snapshot is still on its way.
        let early = self.0.position.borrow().snapshot < Some(upto);
        if early {
            self.0.position.borrow_mut().purge_next = Some(upto);
        } else {
            self.write(move |transaction| purge_in(transaction, upto))
                .await
                .map_err(|error| failed(ErrorSubject::Logs, ErrorVerb::Delete, &error))?;
        }
        let mut position = self.0.position.borrow_mut();
        position.forget(..=upto.index);
        position.purged = Some(upto);
        if position.last < Some(upto) {
            position.last = Some(upto);
        }
        Ok(())
    }
}

impl LogStore {
    async fn append_durably(&self, entries: Vec<LogEntry>) -> io::Result<()> {
        let mut rows = Vec::with_capacity(entries.len());
        let mut sizes = Vec::with_capacity(entries.len());
        for entry in &entries {
            let row = wire::encode(entry).map_err(io::Error::other)?;
            sizes.push(row.len() as u64);
            rows.push((entry.log_id.index, row));
        }
        let committed = {
            let position = self.0.position.borrow();
            (position.committed != position.committed_saved).then_some(position.committed)
        };
        let committed_row = committed
            .map(|committed| wire::encode(&committed))
            .transpose()
            .map_err(io::Error::other)?;
        self.write(move |transaction| {
            let mut log = transaction.open_table(LOG)?;
            for (index, row) in &rows {
                log.insert(*index, row.as_slice())?;
            }
            if let Some(row) = committed_row {
                transaction
                    .open_table(META)?
                    .insert(COMMITTED, row.as_slice())?;
            }
            Ok(())
        })
        .await?;
        let mut position = self.0.position.borrow_mut();
        position.bytes += sizes.iter().sum::<u64>();
        position.keep(entries, &sizes);
        if let Some(committed) = committed {
            position.committed_saved = committed;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

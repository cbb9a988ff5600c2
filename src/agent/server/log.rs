//! The durable log and its snapshots, in one redb database on the disk port.

use std::sync::Arc;

use logic::state::{Dump, Entry, Store};
use ports::{File, World};
use redb::{Database, ReadableDatabase, StorageBackend, TableDefinition};

use crate::error::StartError;
use crate::wire;

const PATH: &str = "server/raft.redb";
const ENTRIES: TableDefinition<u64, &[u8]> = TableDefinition::new("entries");
const SNAPSHOT: TableDefinition<&str, &[u8]> = TableDefinition::new("snapshot");
const NEWEST: &str = "newest";

/// redb's default would be a gigabyte; the log is read only at start.
const CACHE_BYTES: usize = 1 << 20;

/// Entries after a snapshot before the next one is taken.
const SNAPSHOT_EVERY: u64 = 8_192;

/// The log on disk. An entry is in it before anybody learns that it happened.
pub(super) struct Log {
    database: Database,
    last_index: u64,
    snapshot_index: u64,
}

impl Log {
    /// Opens the log and rebuilds the state from it.
    pub(super) fn open(world: &World, in_memory: bool) -> Result<(Self, Store), StartError> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let opened = if in_memory {
            builder.create_with_backend(redb::backends::InMemoryBackend::new())
        } else {
            let file = world.disk.open(PATH)?;
            builder.create_with_backend(OnDisk(file))
        };
        let database = opened.map_err(failed)?;
        let (store, snapshot_index) = recover(&database)?;
        Ok((
            Self {
                database,
                last_index: store.index(),
                snapshot_index,
            },
            store,
        ))
    }

    pub(super) fn last_index(&self) -> u64 {
        self.last_index
    }

    /// Appends entries; returns when they survive a power cut.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), StartError> {
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut table = transaction.open_table(ENTRIES).map_err(failed)?;
            for entry in entries {
                let bytes = wire::encode(entry).map_err(failed)?;
                table
                    .insert(entry.index, bytes.as_slice())
                    .map_err(failed)?;
                self.last_index = entry.index;
            }
        }
        transaction.commit().map_err(failed)
    }

    /// Whether enough has been appended since the last snapshot to take another.
    pub(super) fn wants_snapshot(&self) -> bool {
        self.last_index >= self.snapshot_index + SNAPSHOT_EVERY
    }

    /// Replaces all entries up to `store`'s index by a snapshot of it.
    pub(super) fn snapshot(&mut self, store: &Store) -> Result<(), StartError> {
        let bytes = wire::encode(&store.dump()).map_err(failed)?;
        let transaction = self.database.begin_write().map_err(failed)?;
        {
            let mut table = transaction.open_table(SNAPSHOT).map_err(failed)?;
            table.insert(NEWEST, bytes.as_slice()).map_err(failed)?;
            let mut entries = transaction.open_table(ENTRIES).map_err(failed)?;
            entries
                .retain(|index, _| index > store.index())
                .map_err(failed)?;
        }
        transaction.commit().map_err(failed)?;
        self.snapshot_index = store.index();
        Ok(())
    }
}

fn recover(database: &Database) -> Result<(Store, u64), StartError> {
    let transaction = database.begin_write().map_err(failed)?;
    transaction.open_table(ENTRIES).map_err(failed)?;
    transaction.open_table(SNAPSHOT).map_err(failed)?;
    transaction.commit().map_err(failed)?;

    let transaction = database.begin_read().map_err(failed)?;
    let snapshots = transaction.open_table(SNAPSHOT).map_err(failed)?;
    let mut store = match snapshots.get(NEWEST).map_err(failed)? {
        Some(bytes) => {
            let dump: Dump = wire::decode(bytes.value()).map_err(failed)?;
            Store::restore(dump)
        }
        None => Store::default(),
    };
    let snapshot_index = store.index();
    let entries = transaction.open_table(ENTRIES).map_err(failed)?;
    for row in entries.range(snapshot_index + 1..).map_err(failed)? {
        let (_, bytes) = row.map_err(failed)?;
        let entry: Entry = wire::decode(bytes.value()).map_err(failed)?;
        store.apply(entry);
    }
    Ok((store, snapshot_index))
}

fn failed(error: impl std::fmt::Display) -> StartError {
    StartError::Log(error.to_string())
}

/// A file of the disk port as redb wants it.
#[derive(Debug)]
struct OnDisk(Arc<dyn File>);

impl StorageBackend for OnDisk {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.write_at(offset, data)
    }
}

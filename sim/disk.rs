//! Disks that keep what was synced and decide by seed what else survives a power cut.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ports::errors::DiskError;
use ports::{Asked, Disk, File, Random};

use crate::world::{SimHost, lock};

/// What a disk writes at once; a write torn by a power cut is torn between two of these.
const SECTOR: usize = 512;

/// The slowest a small write gets, in microseconds.
const MAX_LATENCY_MICROS: u64 = 3_000;

/// How many times as long everything takes on a slow disk.
const SLOWER: u64 = 100;

#[derive(Debug, Default)]
pub(crate) struct DiskState {
    files: BTreeMap<String, StoredFile>,
    pub(crate) full: bool,
    pub(crate) slow: bool,
}

#[derive(Debug, Default)]
struct StoredFile {
    durable: Vec<u8>,
    /// What a running machine reads: `durable` with `pending` applied.
    current: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write {
            offset,
            bytes: part,
        } => {
            let end = offset + part.len();
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            if let Some(place) = bytes.get_mut(*offset..end) {
                place.copy_from_slice(part);
            }
        }
        Change::SetLen(len) => bytes.resize(*len, 0),
    }
}

impl StoredFile {
    fn change(&mut self, change: Change) {
        apply(&mut self.current, &change);
        self.pending.push(change);
    }

    fn sync(&mut self) {
        for change in self.pending.drain(..) {
            apply(&mut self.durable, &change);
        }
    }

    /// Each change since the last sync survives or not; a write may survive in part.
    fn lose_unsynced(&mut self, random: &Random) {
        for change in std::mem::take(&mut self.pending) {
            match (random.below(3), change) {
                (0, _) => {}
                (1, Change::Write { offset, bytes }) => {
                    let sectors = bytes.len().div_ceil(SECTOR) as u64;
                    let kept = usize::try_from(random.below(sectors + 1)).unwrap_or(0);
                    let kept = bytes.len().min(kept * SECTOR);
                    let part = bytes.get(..kept).unwrap_or_default().to_vec();
                    if !part.is_empty() {
                        let torn = Change::Write {
                            offset,
                            bytes: part,
                        };
                        apply(&mut self.durable, &torn);
                    }
                }
                (_, change) => apply(&mut self.durable, &change),
            }
        }
        self.current.clone_from(&self.durable);
    }
}

impl DiskState {
    pub(crate) fn lose_unsynced(&mut self, random: &Random) {
        for file in self.files.values_mut() {
            file.lose_unsynced(random);
        }
    }

    /// How long the next use takes.
    pub(crate) fn latency(&self, random: &Random) -> Duration {
        let micros = random.below(MAX_LATENCY_MICROS);
        Duration::from_micros(if self.slow { micros * SLOWER } else { micros })
    }

    pub(crate) fn bytes_used(&self) -> u64 {
        self.files
            .values()
            .map(|file| file.current.len() as u64)
            .sum()
    }

    fn names_in(&self, folder: &str) -> Vec<String> {
        let prefix = if folder.is_empty() {
            String::new()
        } else {
            format!("{folder}/")
        };
        let names: BTreeSet<&str> = self
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix)?.split('/').next())
            .collect();
        names.into_iter().map(str::to_owned).collect()
    }

    fn remove(&mut self, path: &str) {
        let inside = format!("{path}/");
        self.files
            .retain(|name, _| name != path && !name.starts_with(&inside));
    }
}

pub(crate) struct SimDisk {
    host: SimHost,
    random: Random,
}

impl SimDisk {
    pub(crate) fn new(host: SimHost, random: Random) -> Self {
        Self { host, random }
    }

    async fn pause(&self) {
        let latency = self.host.disk_latency(&self.random);
        tokio::time::sleep(latency).await;
    }
}

fn normal(path: &str) -> Result<String, DiskError> {
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if path.starts_with('/') || parts.contains(&"..") {
        return Err(DiskError::Failed {
            path: path.to_owned(),
            reason: "not a path inside the data directory".to_owned(),
        });
    }
    Ok(parts.join("/"))
}

impl Disk for SimDisk {
    fn prepare(&self) -> Result<(), DiskError> {
        if lock(&self.host.shared().disk).full {
            return Err(DiskError::Full {
                path: ".".to_owned(),
            });
        }
        Ok(())
    }

    fn open(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        let path = normal(path)?;
        lock(&self.host.shared().disk)
            .files
            .entry(path.clone())
            .or_default();
        Ok(Arc::new(SimFile {
            host: self.host.clone(),
            path,
        }))
    }

    fn read(&self, path: &str) -> Asked<'_, Result<Vec<u8>, DiskError>> {
        let path = normal(path);
        Box::pin(async move {
            let path = path?;
            self.pause().await;
            lock(&self.host.shared().disk)
                .files
                .get(&path)
                .map(|file| file.current.clone())
                .ok_or(DiskError::Missing { path })
        })
    }

    fn write(&self, path: &str, bytes: Vec<u8>) -> Asked<'_, Result<(), DiskError>> {
        let path = normal(path);
        Box::pin(async move {
            let path = path?;
            self.pause().await;
            {
                let mut disk = lock(&self.host.shared().disk);
                if disk.full {
                    return Err(DiskError::Full { path });
                }
                let file = StoredFile {
                    durable: bytes.clone(),
                    current: bytes,
                    pending: Vec::new(),
                };
                disk.files.insert(path, file);
            }
            // A crash may come between the disk's having it and the agent's knowing it.
            self.pause().await;
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> Asked<'_, Result<(), DiskError>> {
        let path = normal(path);
        Box::pin(async move {
            let path = path?;
            self.pause().await;
            lock(&self.host.shared().disk).remove(&path);
            Ok(())
        })
    }

    fn list(&self, path: &str) -> Asked<'_, Result<Vec<String>, DiskError>> {
        let path = normal(path);
        Box::pin(async move {
            let path = path?;
            self.pause().await;
            Ok(lock(&self.host.shared().disk).names_in(&path))
        })
    }
}

struct SimFile {
    host: SimHost,
    path: String,
}

impl std::fmt::Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SimFile").field(&self.path).finish()
    }
}

fn size(number: u64) -> IoResult<usize> {
    usize::try_from(number).map_err(|_| IoError::from(ErrorKind::FileTooLarge))
}

impl SimFile {
    fn with<T>(&self, work: impl FnOnce(&mut StoredFile) -> IoResult<T>) -> IoResult<T> {
        let mut disk = lock(&self.host.shared().disk);
        let file = disk.files.get_mut(&self.path);
        work(file.ok_or_else(|| IoError::from(ErrorKind::NotFound))?)
    }

    fn change(&self, change: Change) -> IoResult<()> {
        if lock(&self.host.shared().disk).full {
            return Err(IoError::from(ErrorKind::StorageFull));
        }
        self.with(|file| {
            file.change(change);
            Ok(())
        })
    }
}

fn range(offset: u64, len: usize) -> IoResult<Range<usize>> {
    let start = size(offset)?;
    Ok(start..start.saturating_add(len))
}

impl File for SimFile {
    fn len(&self) -> IoResult<u64> {
        self.with(|file| Ok(file.current.len() as u64))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> IoResult<()> {
        let range = range(offset, out.len())?;
        self.with(|file| {
            let part = file.current.get(range);
            out.copy_from_slice(part.ok_or_else(|| IoError::from(ErrorKind::UnexpectedEof))?);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> IoResult<()> {
        self.change(Change::Write {
            offset: size(offset)?,
            bytes: bytes.to_vec(),
        })
    }

    fn set_len(&self, len: u64) -> IoResult<()> {
        self.change(Change::SetLen(size(len)?))
    }

    fn sync(&self) -> IoResult<()> {
        self.with(|file| {
            file.sync();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after_crash(seed: u64) -> Vec<u8> {
        let mut file = StoredFile::default();
        file.change(Change::Write {
            offset: 0,
            bytes: vec![1; 2 * SECTOR],
        });
        file.sync();
        file.change(Change::Write {
            offset: 0,
            bytes: vec![2; 2 * SECTOR],
        });
        file.change(Change::SetLen(3 * SECTOR));
        file.lose_unsynced(&Random::seeded(seed));
        assert_eq!(file.current, file.durable);
        file.current
    }

    #[test]
    fn a_crash_keeps_loses_or_tears_what_was_not_synced() {
        let outcomes: BTreeSet<Vec<u8>> = (0..100).map(after_crash).collect();
        let lost = [vec![1; 2 * SECTOR]].concat();
        let kept = [vec![2; 2 * SECTOR], vec![0; SECTOR]].concat();
        let torn = [vec![2; SECTOR], vec![1; SECTOR]].concat();
        for outcome in [lost, kept, torn] {
            assert!(outcomes.contains(&outcome), "{outcome:?}");
        }
    }

    #[test]
    fn the_same_seed_loses_the_same() {
        for seed in 0..20 {
            assert_eq!(after_crash(seed), after_crash(seed));
        }
    }
}

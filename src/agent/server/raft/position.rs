//! How far the log goes, and its newest entries in memory.

use std::collections::BTreeMap;
use std::ops::{Range, RangeBounds};

use super::types::{LogEntry, LogId};

/// The newest entries are kept in memory too: they are read back to be applied and sent.
const RECENT_MAX: usize = 2_048;
const RECENT_BYTES_MAX: u64 = 8 << 20;

pub(super) struct Recent {
    entry: LogEntry,
    bytes: u64,
}

#[derive(Default)]
pub(super) struct Position {
    pub(super) last: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) committed: Option<LogId>,
    /// What of it is on disk.
    pub(super) committed_saved: Option<LogId>,
    pub(super) recent: BTreeMap<u64, Recent>,
    /// What the recent ones take, encoded.
    pub(super) recent_bytes: u64,
    /// Of the log, since the last snapshot.
    pub(super) bytes: u64,
    /// How far the snapshot on disk goes.
    pub(super) snapshot: Option<LogId>,
    /// What openraft wants purged on account of a snapshot that isn't on disk yet.
    pub(super) purge_next: Option<LogId>,
}

impl Position {
    /// Keeps the newest entries in memory, by number and by size.
    pub(super) fn keep(&mut self, entries: Vec<LogEntry>, sizes: &[u64]) {
        for (entry, bytes) in entries.into_iter().zip(sizes) {
            self.last = Some(entry.log_id);
            self.recent_bytes += bytes;
            let (index, bytes) = (entry.log_id.index, *bytes);
            let before = self.recent.insert(index, Recent { entry, bytes });
            debug_assert!(before.is_none(), "conflicting entries are truncated first");
        }
        while self.recent.len() > RECENT_MAX
            || self.recent_bytes > RECENT_BYTES_MAX && self.recent.len() > 1
        {
            let Some((_, gone)) = self.recent.pop_first() else {
                return;
            };
            self.recent_bytes -= gone.bytes;
        }
    }

    pub(super) fn forget(&mut self, range: impl RangeBounds<u64>) {
        let indexes: Vec<u64> = self.recent.range(range).map(|(index, _)| *index).collect();
        let gone = indexes.iter().filter_map(|index| self.recent.remove(index));
        self.recent_bytes -= gone.map(|recent| recent.bytes).sum::<u64>();
    }

    /// The first entries of a range, up to so many bytes and one at least, if they are in memory.
    pub(super) fn kept(&self, range: Range<u64>, bytes_max: u64) -> Option<Vec<LogEntry>> {
        let first = self.recent.keys().next()?;
        let kept = (*first <= range.start).then(|| self.recent.range(range))?;
        let mut bytes = 0;
        let fits = |recent: &&Recent| {
            let is_first = bytes == 0;
            bytes += recent.bytes;
            is_first || bytes <= bytes_max
        };
        let kept = kept.map(|(_, recent)| recent).take_while(fits);
        Some(kept.map(|recent| recent.entry.clone()).collect())
    }
}

//! What is on disk at each moment, as a server that starts again would find it.

use openraft::storage::RaftLogStorage;
use openraft::{CommittedLeaderId, EntryPayload};

use super::*;
use crate::edge::loopback;

fn id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, 1), index)
}

fn entries(range: std::ops::RangeInclusive<u64>) -> Vec<LogEntry> {
    let blank = |index| LogEntry {
        log_id: id(index),
        payload: EntryPayload::Blank,
    };
    range.map(blank).collect()
}

fn snapshot(upto: u64) -> SnapshotMeta {
    SnapshotMeta {
        last_log_id: Some(id(upto)),
        ..SnapshotMeta::default()
    }
}

/// Indexes of the entries on disk, and how far the log was purged.
fn on_disk(store: &LogStore) -> (Vec<u64>, Option<u64>) {
    let database = store.database().expect("it is open");
    let purged = recover(&database).expect("it can be read").purged;
    let log = database.begin_read().expect("it can be read");
    let log = log.open_table(LOG).expect("there is a log");
    let rows = log.range::<u64>(..).expect("it can be read");
    let indexes = rows.map(|row| row.expect("it can be read").0.value());
    (indexes.collect(), purged.map(|purged| purged.index))
}

fn store() -> LogStore {
    LogStore::open(&loopback::world(1), true).expect("memory is there")
}

#[tokio::test]
async fn what_a_snapshot_replaces_stays_until_the_snapshot_is_on_disk() {
    let mut store = store();
    store.append_durably(entries(1..=5)).await.expect("room");
    store.purge(id(9)).await.expect("room");
    assert_eq!(store.last(), Some(id(9)));
    assert_eq!(on_disk(&store), (vec![1, 2, 3, 4, 5], None));

    let hole = store.without_hole();
    tokio::pin!(hole);
    assert!(futures_pending(hole.as_mut()).await, "10 must not follow 5");
    store
        .save_snapshot(&snapshot(9), vec![1])
        .await
        .expect("room");
    hole.await;
    assert_eq!(on_disk(&store), (Vec::new(), Some(9)));
    store.append_durably(entries(10..=11)).await.expect("room");
    assert_eq!(on_disk(&store), (vec![10, 11], Some(9)));
}

/// Whether a future has nothing to say yet.
async fn futures_pending(future: std::pin::Pin<&mut impl Future>) -> bool {
    let mut future = future;
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(future.as_mut().poll(context).is_pending())
    })
    .await
}

#[tokio::test]
async fn what_a_snapshot_on_disk_replaces_goes_at_once() {
    let mut store = store();
    store.append_durably(entries(1..=5)).await.expect("room");
    store
        .save_snapshot(&snapshot(4), vec![1])
        .await
        .expect("room");
    store.purge(id(3)).await.expect("room");
    assert_eq!(on_disk(&store), (vec![4, 5], Some(3)));
}

#[tokio::test]
async fn an_older_snapshot_doesnt_replace_a_newer_one() {
    let store = store();
    for (upto, data) in [(4, 1), (3, 2), (5, 3), (4, 4)] {
        let saved = store.save_snapshot(&snapshot(upto), vec![data]).await;
        saved.expect("room");
    }
    let (meta, data) = store.snapshot().expect("room").expect("there is one");
    assert_eq!((meta.last_log_id, data), (Some(id(5)), vec![3]));
}

#[tokio::test]
async fn entries_of_a_leader_that_leads_no_more_are_not_sent() {
    let mut store = store();
    store.append_durably(entries(1..=5)).await.expect("room");
    store.truncate(id(4)).await.expect("room");
    for (from, there) in [(3, true), (4, false), (5, false)] {
        let read = store.limited_get_log_entries(from, 6).await;
        let read = read.expect("it can be read");
        assert!(!read.is_empty(), "openraft would panic");
        assert_eq!(are_taken_back(&read), !there, "from {from}");
    }
}

#[tokio::test]
async fn large_entries_dont_stay_in_memory() {
    let store = store();
    let large = |index| LogEntry {
        log_id: id(index),
        payload: EntryPayload::Normal(crate::server::raft::types::Batch {
            proposals: vec![crate::server::Proposal {
                id: "x".repeat(3 << 20),
                command: logic::state::Command::Found { seed: 1 },
            }],
            ..Default::default()
        }),
    };
    for index in 1..=7 {
        let appended = store.append_durably(vec![large(index)]).await;
        appended.expect("room");
    }
    let kept = store.0.position.borrow().recent.len();
    assert!((1..3).contains(&kept), "{kept} are kept");
    let read = |bytes_max| store.entries(1, 8, bytes_max).expect("it can be read");
    assert_eq!(read(u64::MAX).len(), 7, "the others are read from disk");
    assert_eq!(read(7 << 20).len(), 2, "as many as are sent at once");
    assert_eq!(read(1).len(), 1);
    let read = |bytes_max| store.entries(6, 8, bytes_max).expect("it can be read");
    assert_eq!(read(u64::MAX).len(), 2, "these are in memory");
    assert_eq!(read(1).len(), 1);
}

/// A log that ends like this one, and is opened again.
async fn reopened(ids: &[(u64, u64)]) -> Result<Option<u64>, String> {
    let store = store();
    let of = |(term, index): &(u64, u64)| LogEntry {
        log_id: LogId::new(CommittedLeaderId::new(*term, 1), *index),
        payload: EntryPayload::Blank,
    };
    let appended = store.append_durably(ids.iter().map(of).collect()).await;
    appended.expect("room");
    let database = store.database().expect("it is open");
    let position = recover(&database).map_err(|error| error.to_string())?;
    Ok(position.last.map(|last| last.index))
}

#[tokio::test]
async fn a_log_that_nobody_wrote_is_refused() {
    assert_eq!(reopened(&[(1, 4), (1, 5), (3, 6)]).await, Ok(Some(6)));
    for mixed in [[(1, 4), (2, 5), (1, 6)], [(1, 4), (1, 5), (1, 7)]] {
        let why = reopened(&mixed).await.expect_err("it is damaged");
        assert!(why.contains("the log is damaged"), "{why}");
    }
}

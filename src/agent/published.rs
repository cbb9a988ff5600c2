//! A value with one writer and many readers, like `tokio::sync::watch`, but readers wake in the
//! order in which they began to wait: tokio's picks at random, which no seed could repeat.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::Notify;

/// The writer is gone: there will be no other value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing is published any more")]
pub struct Closed;

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    version: AtomicU64,
    closed: AtomicBool,
    news: Notify,
}

/// The writer's end.
#[derive(Debug)]
pub struct Publisher<T>(Arc<Shared<T>>);

/// A reader's end; remembers what it has seen.
#[derive(Debug)]
pub struct Subscriber<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Clone for Subscriber<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            seen: self.seen,
        }
    }
}

/// A publisher with its first value, and a subscriber that has seen it.
pub fn publish<T>(first: T) -> (Publisher<T>, Subscriber<T>) {
    let shared = Arc::new(Shared {
        value: RwLock::new(first),
        version: AtomicU64::new(0),
        closed: AtomicBool::new(false),
        news: Notify::new(),
    });
    (
        Publisher(Arc::clone(&shared)),
        Subscriber { shared, seen: 0 },
    )
}

impl<T> Publisher<T> {
    /// Publishes a new value, whoever reads it.
    pub fn send_replace(&self, value: T) {
        *self.0.value.write().unwrap_or_else(PoisonError::into_inner) = value;
        self.0.version.fetch_add(1, Ordering::Release);
        self.0.news.notify_waiters();
    }

    /// The same, if the value is another: otherwise nobody is woken.
    pub fn send_if_other(&self, value: T)
    where
        T: PartialEq,
    {
        let same = {
            let published = self.0.value.read();
            *published.unwrap_or_else(PoisonError::into_inner) == value
        };
        if !same {
            self.send_replace(value);
        }
    }
}

impl<T> Drop for Publisher<T> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.news.notify_waiters();
    }
}

impl<T> Subscriber<T> {
    /// The newest value; it can't be replaced while it is borrowed.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.shared
            .value
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest value, which counts as seen from now on.
    pub fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        self.seen = self.shared.version.load(Ordering::Acquire);
        self.borrow()
    }

    /// The newest value counts as seen from now on.
    pub fn catch_up(&mut self) {
        self.seen = self.shared.version.load(Ordering::Acquire);
    }

    /// Returns when there is a value that hasn't been seen, and counts it as seen.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        loop {
            let mut news = std::pin::pin!(self.shared.news.notified());
            // Waits from here on: what is published between the look and the wait isn't missed.
            news.as_mut().enable();
            let version = self.shared.version.load(Ordering::Acquire);
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.closed.load(Ordering::Acquire) {
                return Err(Closed);
            }
            news.await;
        }
    }
}

impl<T: Clone> Subscriber<T> {
    /// The first value, from the newest on, for which `wanted` holds.
    pub async fn wait_for(&mut self, wanted: impl Fn(&T) -> bool) -> Result<T, Closed> {
        loop {
            {
                let value = self.borrow_and_update();
                if wanted(&value) {
                    return Ok(value.clone());
                }
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_see_the_newest_value_and_the_end() {
        let (publisher, mut reader) = publish(1);
        assert_eq!(*reader.borrow(), 1);
        publisher.send_replace(2);
        publisher.send_replace(3);
        assert_eq!(reader.changed().await, Ok(()));
        assert_eq!(*reader.borrow_and_update(), 3);
        let mut other = reader.clone();
        let waiting = tokio::spawn(async move { other.wait_for(|value| *value == 5).await });
        publisher.send_replace(4);
        publisher.send_replace(5);
        assert_eq!(waiting.await.expect("no panic"), Ok(5));
        drop(publisher);
        assert_eq!(reader.changed().await, Ok(()));
        assert_eq!(reader.changed().await, Err(Closed));
    }

    #[tokio::test]
    async fn what_is_as_it_was_is_no_news() {
        let (publisher, mut reader) = publish(1);
        publisher.send_if_other(1);
        assert_eq!(reader.shared.version.load(Ordering::Acquire), 0);
        publisher.send_if_other(2);
        assert_eq!(reader.changed().await, Ok(()));
        assert_eq!(*reader.borrow(), 2);
    }

    #[tokio::test]
    async fn readers_wake_in_the_order_they_began_to_wait() {
        let local = tokio::task::LocalSet::new();
        let woken = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        local
            .run_until(async {
                let (publisher, reader) = publish(0);
                let readers: Vec<_> = (0..20)
                    .map(|number| {
                        let (mut reader, woken) = (reader.clone(), woken.clone());
                        tokio::task::spawn_local(async move {
                            reader.changed().await.expect("published");
                            woken.borrow_mut().push(number);
                        })
                    })
                    .collect();
                tokio::task::yield_now().await;
                publisher.send_replace(1);
                for reader in readers {
                    reader.await.expect("no panic");
                }
            })
            .await;
        assert_eq!(*woken.borrow(), (0..20).collect::<Vec<_>>());
    }
}

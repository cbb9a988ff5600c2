//! Connections to servers between two requests: few, and none that idled for long.

use std::collections::BTreeMap;
use std::time::Duration;

const PER_SERVER_MAX: usize = 8;
/// Well before the server closes them.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// By server; the connection used last is last.
pub(super) struct Pool<C> {
    idle: BTreeMap<String, Vec<(Duration, C)>>,
}

impl<C> Pool<C> {
    pub(super) fn new() -> Self {
        Self {
            idle: BTreeMap::new(),
        }
    }

    /// The connection to a server that was used last, so that others can age.
    pub(super) fn take(&mut self, server: &str, now: Duration) -> Option<C> {
        self.age(now);
        self.idle.get_mut(server)?.pop().map(|(_, stream)| stream)
    }

    pub(super) fn give_back(&mut self, server: &str, stream: C, now: Duration) {
        self.age(now);
        let idle = self.idle.entry(server.to_owned()).or_default();
        if idle.len() == PER_SERVER_MAX {
            idle.remove(0);
        }
        idle.push((now, stream));
    }

    /// Closes the idle connections to a server.
    pub(super) fn close(&mut self, server: &str) {
        self.idle.remove(server);
    }

    pub(super) fn keep_only(&mut self, servers: &[String]) {
        self.idle.retain(|server, _| servers.contains(server));
    }

    fn age(&mut self, now: Duration) {
        self.idle.retain(|_, idle| {
            idle.retain(|(since, _)| now.saturating_sub(*since) <= IDLE_MAX);
            !idle.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_connection_used_last_is_used_next_and_few_are_kept() {
        let mut pool = Pool::new();
        for number in 0..20 {
            pool.give_back("a", number, at(0));
        }
        let kept: Vec<i32> = std::iter::from_fn(|| pool.take("a", at(1))).collect();
        assert_eq!(kept, (12..20).rev().collect::<Vec<_>>());
    }

    #[test]
    fn connections_that_idle_for_long_are_closed_whoever_is_asked() {
        let mut pool = Pool::new();
        pool.give_back("a", 1, at(0));
        pool.give_back("a", 2, at(50));
        pool.give_back("b", 3, at(61));
        assert_eq!(pool.idle["a"].len(), 1);
        assert_eq!(pool.take("a", at(61)), Some(2));
        assert_eq!(pool.take("b", at(122)), None);
        assert!(pool.idle.is_empty());
    }
}

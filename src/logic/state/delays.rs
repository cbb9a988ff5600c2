//! Keys whose holder was lost, and until when nobody may lock them: it may not know yet.

use std::sync::Arc;

use crate::table::Table;
use crate::time::Time;

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Delays {
    until: Table<String, Time>,
    /// The same, those that are over first.
    by_end: Table<(Time, String), ()>,
}

impl Delays {
    /// Nobody gets the key until then.
    pub(super) fn set(&mut self, key: String, until: Time) {
        self.end(&key);
        self.by_end.insert((until, key.clone()), ());
        self.until.insert(key, until);
    }

    pub(super) fn holds(&self, key: &str, now: Time) -> bool {
        self.until.get(key).is_some_and(|until| **until > now)
    }

    pub(super) fn end(&mut self, key: &str) {
        if let Some(until) = self.until.get(key).map(|until| **until) {
            self.until.remove(key);
            self.by_end.remove(&(until, key.to_owned()));
        }
    }

    /// Forgets those that are over; looks at no others.
    pub(super) fn collect(&mut self, now: Time) {
        loop {
            let first = self.by_end.iter().next();
            let over = first.filter(|((until, _), _)| *until <= now);
            let Some(key) = over.map(|((_, key), _)| key.clone()) else {
                return;
            };
            self.end(&key);
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = (&String, &Arc<Time>)> {
        self.until.iter()
    }
}

impl FromIterator<(String, Time)> for Delays {
    fn from_iter<I: IntoIterator<Item = (String, Time)>>(rows: I) -> Self {
        let mut delays = Self::default();
        for (key, until) in rows {
            delays.set(key, until);
        }
        delays
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_forgotten_and_the_rest_holds() {
        let mut delays: Delays = [("a", 10), ("b", 20), ("c", 30)]
            .map(|(key, until)| (key.to_owned(), Time(until)))
            .into_iter()
            .collect();
        delays.set("a".to_owned(), Time(25));
        assert!(delays.holds("a", Time(24)) && !delays.holds("a", Time(25)));
        delays.collect(Time(20));
        let left = |delays: &Delays| -> Vec<String> {
            assert_eq!(delays.until.len(), delays.by_end.len());
            delays.rows().map(|(key, _)| key.clone()).collect()
        };
        assert_eq!(left(&delays), ["a", "c"]);
        delays.end("c");
        assert_eq!(left(&delays), ["a"]);
        delays.collect(Time(25));
        assert_eq!(delays, Delays::default());
    }
}

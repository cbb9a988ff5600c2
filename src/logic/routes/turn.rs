//! Whose turn it is: a count that all who share a route go on with.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Turn(AtomicU64);

impl Turn {
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

impl Clone for Turn {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

/// A route is the same route whoever comes next.
impl PartialEq for Turn {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

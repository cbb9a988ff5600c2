//! Randomness: one seeded generator a process, or a simulated host's boot.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};

/// A shared generator. In the simulator it is seeded from the run's seed, so that a run repeats.
#[derive(Clone)]
pub struct Random(Arc<Mutex<SmallRng>>);

impl Random {
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    pub fn next_u64(&self) -> u64 {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next_u64()
    }

    /// A number from `0` to `below` - 1; 0 if `below` is 0.
    pub fn below(&self, below: u64) -> u64 {
        if below == 0 {
            return 0;
        }
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .random_range(0..below)
    }

    /// A random (version 4) UUID in text form.
    pub fn uuid(&self) -> String {
        logic::id::uuid(self.next_u64(), self.next_u64())
    }
}

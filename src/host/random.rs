//! A generator seeded by the operating system.

use std::io::Read;

use ports::Random;

pub(crate) fn from_os() -> Random {
    let mut seed = [0; 8];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut seed));
    if let Err(error) = read {
        tracing::warn!(%error, "can't read /dev/urandom: ids of this run may repeat");
        seed = fallback_seed();
    }
    Random::seeded(u64::from_le_bytes(seed))
}

/// Different in every process, though not hard to guess.
fn fallback_seed() -> [u8; 8] {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new()
        .hash_one(std::process::id())
        .to_le_bytes()
}

//! Ids: UUIDs made from bits the caller brings.

/// A version 4 UUID with these bits (six of them are fixed by the format).
pub fn uuid(high: u64, low: u64) -> String {
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | (0b10 << 62);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// Ids that follow from a cluster's seed and a log index, so that every server derives the same.
#[derive(Clone, Debug)]
pub struct Ids {
    state: u64,
}

impl Ids {
    pub fn at(seed: u64, index: u64) -> Self {
        // Scattered, as a state plus a step is the next state: neighbours would share their ids.
        let scattered = Self { state: index }.next_u64();
        Self {
            state: seed ^ scattered,
        }
    }

    pub fn next_uuid(&mut self) -> String {
        uuid(self.next_u64(), self.next_u64())
    }

    /// `SplitMix64`: every state is followed by another, so ids at one index never repeat.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The first eight characters of an id: how command lines show it.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_version_and_variant() {
        assert_eq!(uuid(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(
            uuid(u64::MAX, u64::MAX),
            "ffffffff-ffff-4fff-bfff-ffffffffffff"
        );
    }

    #[test]
    fn neighbouring_indexes_share_no_ids() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in [0, 1, 7, 1 << 32] {
            for index in 0..100 {
                let mut ids = Ids::at(seed, index);
                assert!((0..20).all(|_| seen.insert(ids.next_uuid())));
            }
        }
    }

    #[test]
    fn ids_follow_from_seed_and_index() {
        let ids = |seed, index| {
            let mut ids = Ids::at(seed, index);
            [ids.next_uuid(), ids.next_uuid()]
        };
        assert_eq!(ids(1, 2), ids(1, 2));
        assert_ne!(ids(1, 2), ids(1, 3));
        assert_ne!(ids(1, 2), ids(2, 2));
        assert_ne!(ids(1, 2)[0], ids(1, 2)[1]);
    }
}

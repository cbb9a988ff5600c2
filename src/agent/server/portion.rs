//! How much of the log is written at once.

/// What proposals that share an entry of the log have at most. What is larger by itself goes alone.
pub(super) const BYTES_MAX: usize = 1 << 20;

/// How many of the first go together: at least one.
pub(super) fn of(sizes: impl Iterator<Item = usize>) -> usize {
    let mut sum = 0;
    let fits = |size: &usize| {
        sum += size;
        sum <= BYTES_MAX
    };
    sizes.take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_goes_alone_and_after_the_others() {
        let half = BYTES_MAX / 2;
        for (sizes, together) in [
            (vec![1], 1),
            (vec![1, 1, 1], 3),
            (vec![half, half, 1], 2),
            (vec![half, half + 1, 1], 1),
            (vec![BYTES_MAX + 1, 1], 1),
            (vec![1, BYTES_MAX + 1], 1),
        ] {
            assert_eq!(of(sizes.iter().copied()), together, "{sizes:?}");
        }
    }
}

//! How what comes in is shared out among a route's targets.

use super::Target;

/// How finely weights are told apart.
const PARTS: f64 = 10_000.0;

/// Indices of the targets that take part, each with the end of its share.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shares(Vec<(usize, u64)>);

impl Shares {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "weights are between 0 and 1"
    )]
    pub(super) fn new(targets: &[Target], takes_part: impl Fn(&Target) -> bool) -> Self {
        let equal = targets.iter().all(|target| target.fixed_weight.is_none());
        let mut shares = Vec::new();
        let mut end = 0;
        for (index, target) in targets.iter().enumerate() {
            let share = if equal {
                1
            } else {
                (target.weight * PARTS).round() as u64
            };
            if takes_part(target) && share > 0 {
                end += share;
                shares.push((index, end));
            }
        }
        Self(shares)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn pick<'t>(&self, targets: &'t [Target], n: u64) -> Option<&'t Target> {
        let (_, total) = self.0.last()?;
        let share = n % total;
        let at = self.0.partition_point(|(_, end)| *end <= share);
        let (index, _) = self.0.get(at)?;
        targets.get(*index)
    }

    /// The target for the `n`th of many: shares as in [`Self::pick`], spread out evenly.
    pub(super) fn pick_spread<'t>(&self, targets: &'t [Target], n: u64) -> Option<&'t Target> {
        let (_, total) = self.0.last()?;
        if *total == self.0.len() as u64 {
            return self.pick(targets, n);
        }
        // About total / golden ratio: steps of that size fill a circle evenly.
        let mut step = (total * 618 / 1000).max(1);
        while common_divisor(step, *total) != 1 {
            step += 1;
        }
        self.pick(targets, (n % total) * step)
    }

    /// The targets that take part, but for `first`, beginning with the one after it.
    pub(super) fn others<'t>(
        &self,
        targets: &'t [Target],
        first: &Target,
    ) -> impl Iterator<Item = &'t Target> {
        let at = self
            .0
            .iter()
            .position(|(index, _)| std::ptr::eq(&raw const targets[*index], first))
            .unwrap_or(0);
        (1..self.0.len()).map(move |step| {
            let (index, _) = self.0[(at + step) % self.0.len()];
            &targets[index]
        })
    }
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

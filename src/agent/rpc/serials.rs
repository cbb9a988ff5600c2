//! Serials for what an agent says of itself, so that servers can tell what comes late.

use logic::time::Time;

/// Greater each time, also than those of earlier runs of the agent: they are instants, unless
/// the clock doesn't go on.
#[derive(Debug, Default)]
pub(crate) struct Serials {
    last: u64,
}

impl Serials {
    pub(crate) fn next(&mut self, now: Time) -> u64 {
        self.last = u64::try_from(now.0).unwrap_or(0).max(self.last + 1);
        self.last
    }

    /// The servers have heard this one, though not in this run of the agent: its clock went back.
    pub(crate) fn after(&mut self, known: u64) {
        tracing::info!("this machine's clock went back: what it says is numbered on");
        self.last = self.last.max(known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_go_up_whatever_the_clock_does() {
        let mut serials = Serials::default();
        let said = [5, 5, 3, 9].map(|now| serials.next(Time(now)));
        assert_eq!(said, [5, 6, 7, 9]);
        serials.after(20);
        assert_eq!(serials.next(Time(12)), 21);
    }
}

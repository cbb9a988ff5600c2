//! Deliberate mistakes that only the simulator switches on, to show that it would notice them.
//!
//! Nothing outside of a simulation plants anything: [`is`] is then always false.

use std::cell::Cell;

/// A mistake, at the one place that asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    /// A log entry is acknowledged before it is synced to disk.
    SkippedFsync,
    /// A vote is given without being written down.
    VoteNotPersisted,
    /// A new leader judges nodes by leases it never saw, without giving them time to report.
    LeaseWithoutGrace,
    /// A plan is committed without being checked against the newest state.
    StalePlanApplied,
    /// A request that is sent again after a lost answer is applied again.
    DoubleApplyAfterForwarding,
    /// A server that can't reach the others calls for an election all the same.
    NoPreVote,
    /// A leader answers from its own state without asking whether it still leads.
    ReadWithoutQuorum,
    /// Entries that conflict with the leader's stay in a follower's log.
    LostTruncation,
    /// A snapshot is written without the cluster's membership.
    SnapshotWithoutMembership,
    /// A client that starts again doesn't take up the tasks it finds.
    RestartForgetsTasks,
    /// A task is killed before its instance is withdrawn.
    WithdrawAfterKill,
    /// The instances of a node that is down stay passing.
    DownNodeKeepsPassing,
    /// A new leader ends sessions by leases it never saw.
    SessionsWithoutGrace,
    /// An allocation is reported healthy as soon as it is there.
    HealthyUnseen,
    /// What others registered in a Consul is taken for this agent's own.
    OthersServicesRemoved,
}

impl Planted {
    pub const ALL: [Self; 15] = [
        Self::SkippedFsync,
        Self::VoteNotPersisted,
        Self::LeaseWithoutGrace,
        Self::StalePlanApplied,
        Self::DoubleApplyAfterForwarding,
        Self::NoPreVote,
        Self::ReadWithoutQuorum,
        Self::LostTruncation,
        Self::SnapshotWithoutMembership,
        Self::RestartForgetsTasks,
        Self::WithdrawAfterKill,
        Self::DownNodeKeepsPassing,
        Self::SessionsWithoutGrace,
        Self::HealthyUnseen,
        Self::OthersServicesRemoved,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::SkippedFsync => "skipped-fsync",
            Self::VoteNotPersisted => "vote-not-persisted",
            Self::LeaseWithoutGrace => "lease-without-grace",
            Self::StalePlanApplied => "stale-plan-applied",
            Self::DoubleApplyAfterForwarding => "double-apply-after-forwarding",
            Self::NoPreVote => "no-pre-vote",
            Self::ReadWithoutQuorum => "read-without-quorum",
            Self::LostTruncation => "lost-truncation",
            Self::SnapshotWithoutMembership => "snapshot-without-membership",
            Self::RestartForgetsTasks => "restart-forgets-tasks",
            Self::WithdrawAfterKill => "withdraw-after-kill",
            Self::DownNodeKeepsPassing => "down-node-keeps-passing",
            Self::SessionsWithoutGrace => "sessions-without-grace",
            Self::HealthyUnseen => "healthy-unseen",
            Self::OthersServicesRemoved => "others-services-removed",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|planted| planted.name() == name)
    }
}

thread_local! {
    // A simulation runs on one thread, and others go on beside it.
    static PLANTED: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Plants a mistake into everything that runs on this thread from now on, or takes it out.
pub fn plant(planted: Option<Planted>) {
    PLANTED.set(planted);
}

/// Whether this mistake is to be made.
pub fn is(planted: Planted) -> bool {
    PLANTED.get() == Some(planted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_planted_until_somebody_does() {
        assert!(Planted::ALL.into_iter().all(|planted| !is(planted)));
        plant(Some(Planted::NoPreVote));
        assert!(is(Planted::NoPreVote) && !is(Planted::SkippedFsync));
        plant(None);
        assert!(!is(Planted::NoPreVote));
    }

    #[test]
    fn each_has_a_name_of_its_own() {
        for planted in Planted::ALL {
            assert_eq!(Planted::named(planted.name()), Some(planted));
        }
    }
}

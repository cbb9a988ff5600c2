//! Deliberate mistakes that the simulator must find. Never on outside of its `planted` command.

use std::cell::Cell;

/// A mistake somebody could make in this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Planted {
    SkippedFsync,
    VoteNotPersisted,
    LeaseWithoutGrace,
    StalePlanApplied,
    DoubleApplyAfterForwarding,
    NoPreVote,
    ReadWithoutQuorum,
    LostTruncation,
    SnapshotWithoutMembership,
    RestartForgetsTasks,
    WithdrawAfterKill,
    DownNodeKeepsPassing,
}

thread_local! {
    static NOW: Cell<Option<Planted>> = const { Cell::new(None) };
}

/// Plants a mistake on this thread, or takes it away.
pub fn plant(mistake: Option<Planted>) {
    NOW.with(|now| now.set(mistake));
}

pub fn is(mistake: Planted) -> bool {
    NOW.with(Cell::get) == Some(mistake)
}

//! `Collector`: now and then proposes to forget what ended long ago.

use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler};
use logic::state::Command;
use ports::World;

use super::consensus::{Consensus, Leadership, ProposeAsLeader};
use crate::state::State;

const EVERY: Duration = Duration::from_secs(300);
/// Ended evaluations and allocations are kept this long, stopped jobs and lost nodes longer.
const EVALS_KEPT: Duration = Duration::from_secs(3_600);
const JOBS_KEPT: Duration = Duration::from_secs(4 * 3_600);
const NODES_KEPT: Duration = Duration::from_secs(24 * 3_600);

pub(super) struct Collector {
    world: World,
    state: State,
    consensus: Addr<Consensus>,
    leads: bool,
}

impl Collector {
    pub(super) fn new(world: World, state: State, consensus: Addr<Consensus>) -> Self {
        Self {
            world,
            state,
            consensus,
            leads: false,
        }
    }

    fn collect(&self) {
        if !self.leads {
            return;
        }
        // An idle cluster's log doesn't grow.
        let state = self.state.now();
        if state.evals().next().is_none() && state.nodes().next().is_none() {
            return;
        }
        let now = self.world.clock.now();
        self.consensus
            .do_send(ProposeAsLeader(Command::CollectGarbage {
                evals_before: now.minus(EVALS_KEPT),
                jobs_before: now.minus(JOBS_KEPT),
                nodes_before: now.minus(NODES_KEPT),
            }));
    }
}

impl Actor for Collector {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(EVERY, |collector, _| collector.collect());
    }
}

impl Handler<Leadership> for Collector {
    type Result = ();

    fn handle(&mut self, leadership: Leadership, _: &mut Self::Context) {
        self.leads = leadership == Leadership::Leads;
    }
}

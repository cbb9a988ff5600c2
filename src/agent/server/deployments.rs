//! `Deployments`: on the leader, minds the times by which rollouts have to make progress. All else
//! about them follows in the log itself, from what nodes and users say.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use logic::model::DeploymentChange;
use logic::state::{Command, Rollout};
use ports::World;

use super::consensus::{Consensus, Leadership, ProposeAsLeader};
use crate::state::State;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(500);

pub(super) struct Deployments {
    world: World,
    state: State,
    consensus: Addr<Consensus>,
    /// Only the leader minds them.
    leads: bool,
    /// One is being told that its time is over.
    proposing: bool,
}

impl Deployments {
    pub(super) fn new(world: World, state: State, consensus: Addr<Consensus>) -> Self {
        Self {
            world,
            state,
            consensus,
            leads: false,
            proposing: false,
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if !self.leads || self.proposing {
            return;
        }
        let state = self.state.now();
        let Some((due, id)) = state.progress_due() else {
            return;
        };
        if due > self.world.clock.now() {
            return;
        }
        tracing::warn!(deployment = id, "no progress by its deadline");
        self.proposing = true;
        let propose = ProposeAsLeader(Command::Rollout(Rollout::Change {
            deployment_id: id.to_owned(),
            change: DeploymentChange::Overdue { required_by: due },
        }));
        let proposing = self.consensus.send(propose).into_actor(self);
        // If it came to nothing, the next look finds it overdue again.
        ctx.spawn(proposing.map(|_, deployments, _| deployments.proposing = false));
    }
}

impl Actor for Deployments {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, Self::look);
    }
}

impl Handler<Leadership> for Deployments {
    type Result = ();

    fn handle(&mut self, leadership: Leadership, _: &mut Self::Context) {
        self.leads = leadership == Leadership::Leads;
    }
}

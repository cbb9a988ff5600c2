//! `Drainer`: on the leader, empties the nodes that are to be emptied, one step after the other.
//! `logic::drain` says which step is next.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use logic::drain::{Steps, steps};
use logic::model::TRIGGER_NODE_DRAIN;
use logic::state::Command;
use ports::World;

use super::consensus::{Consensus, Leadership, ProposeAsLeader};
use crate::state::State;

/// How often nodes are looked at.
const TICK: Duration = Duration::from_millis(500);

pub(super) struct Drainer {
    world: World,
    state: State,
    consensus: Addr<Consensus>,
    leads: bool,
    /// A step is being agreed on: the next one follows from what comes of it.
    proposing: bool,
}

impl Drainer {
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
        if !state.nodes().any(|node| node.drain) {
            return;
        }
        let Steps { migrate, drained } = steps(&state, self.world.clock.now());
        let command = if let Some(node_id) = drained.into_iter().next() {
            tracing::info!(node_id, "a node is empty");
            Command::SetNodeDrain {
                node_id,
                drain: None,
                eligible: false,
                complete: true,
            }
        } else if migrate.is_empty() {
            return;
        } else {
            tracing::info!(allocs = ?migrate, "allocations leave their nodes");
            Command::MigrateAllocs {
                alloc_ids: migrate,
                trigger: TRIGGER_NODE_DRAIN.to_owned(),
            }
        };
        self.proposing = true;
        let proposing = self
            .consensus
            .send(ProposeAsLeader(command))
            .into_actor(self);
        // If it came to nothing, the next look finds the same step.
        ctx.spawn(proposing.map(|_, drainer, _| drainer.proposing = false));
    }
}

impl Actor for Drainer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, Self::look);
    }
}

impl Handler<Leadership> for Drainer {
    type Result = ();

    fn handle(&mut self, leadership: Leadership, _: &mut Self::Context) {
        self.leads = leadership == Leadership::Leads;
    }
}

//! `Drainer`: on the leader, empties the nodes that are to be emptied, one step after the other.
//! `logic::drain` says which step is next.

use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, WrapFuture};
use logic::drain::{Steps, is_idle, steps};
use logic::model::{TRIGGER_ALLOC_STOP, TRIGGER_NODE_DRAIN};
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
        if is_idle(&state) {
            return;
        }
        let Steps {
            migrate,
            moved,
            stopped,
            drained,
        } = steps(&state, self.world.clock.now());
        let command = if let Some(node_id) = drained.into_iter().next() {
            tracing::info!(node_id, "a node is empty");
            Command::SetNodeDrain {
                node_id,
                drain: None,
                eligible: false,
                complete: true,
            }
        } else if !migrate.is_empty() {
            tracing::info!(allocs = ?migrate, "allocations leave their nodes");
            Command::MigrateAllocs {
                alloc_ids: migrate,
                trigger: TRIGGER_NODE_DRAIN.to_owned(),
            }
        } else if let Some((alloc_ids, trigger)) =
            [(moved, TRIGGER_NODE_DRAIN), (stopped, TRIGGER_ALLOC_STOP)]
                .into_iter()
                .find(|(ids, _)| !ids.is_empty())
        {
            tracing::info!(allocs = ?alloc_ids, "others are well in their place: they stop");
            let trigger = trigger.to_owned();
            Command::MigrateAllocs { alloc_ids, trigger }
        } else {
            return;
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

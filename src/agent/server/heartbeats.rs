//! `Heartbeats`: every node holds a lease that it renews; one whose lease runs out is down.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::{Actor, Addr, AsyncContext, Context, Handler, Message, MessageResult};
use logic::model::{NODE_DOWN, NODE_READY};
use logic::state::Command;
use ports::World;

use super::consensus::{Consensus, Leadership, ProposeAsLeader};
use crate::planted::{self, Planted};
use crate::state::State;

/// How often leases are looked at.
const TICK: Duration = Duration::from_millis(250);

/// A node is alive. Answered with its lease, or `None` if it has to register (again).
#[derive(Debug, Message)]
#[rtype(result = "Option<Duration>")]
pub struct Heartbeat {
    pub node_id: String,
}

pub struct Heartbeats {
    world: World,
    state: State,
    consensus: Addr<Consensus>,
    ttl: Duration,
    /// Only the leader keeps leases.
    leads: bool,
    /// When each node's lease ends, on the monotonic clock.
    leases: BTreeMap<String, Duration>,
}

impl Heartbeats {
    pub(super) fn new(
        world: World,
        state: State,
        consensus: Addr<Consensus>,
        ttl: Duration,
    ) -> Self {
        Self {
            world,
            state,
            consensus,
            ttl,
            leads: false,
            leases: BTreeMap::new(),
        }
    }

    fn look(&mut self) {
        if !self.leads {
            return;
        }
        let now = self.world.clock.monotonic();
        let state = self.state.now();
        for node in state.nodes().filter(|node| node.status == NODE_READY) {
            // A node this server hasn't heard of yet gets a whole lease from now on.
            let end = *self.leases.entry(node.id.clone()).or_insert(now + self.ttl);
            if end <= now {
                self.leases.remove(&node.id);
                tracing::warn!(
                    node = node.name,
                    "node missed its heartbeats and counts as down"
                );
                self.consensus
                    .do_send(ProposeAsLeader(Command::SetNodeStatus {
                        node_id: node.id.clone(),
                        status: NODE_DOWN.to_owned(),
                        description: format!("no heartbeat for {} ms", self.ttl.as_millis()),
                    }));
            }
        }
    }
}

impl Actor for Heartbeats {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, |heartbeats, _| heartbeats.look());
    }
}

impl Handler<Heartbeat> for Heartbeats {
    type Result = MessageResult<Heartbeat>;

    fn handle(&mut self, Heartbeat { node_id }: Heartbeat, _: &mut Self::Context) -> Self::Result {
        let state = self.state.now();
        let known = state
            .node(&node_id)
            .is_some_and(|node| node.status == NODE_READY);
        MessageResult(known.then(|| {
            self.leases
                .insert(node_id, self.world.clock.monotonic() + self.ttl);
            self.ttl
        }))
    }
}

impl Handler<Leadership> for Heartbeats {
    type Result = ();

    fn handle(&mut self, leadership: Leadership, _: &mut Self::Context) {
        self.leads = leadership == Leadership::Leads;
        self.leases.clear();
        if planted::is(Planted::LeaseWithoutGrace) {
            let over = self.world.clock.monotonic();
            let nodes = self.state.now();
            let ids = nodes.nodes().map(|node| (node.id.clone(), over));
            self.leases.extend(ids);
        }
    }
}

//! `Heartbeats`: every node holds a lease that it renews; one whose lease runs out is down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::Request;
use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture,
};
use logic::membership::{Known, MemberStatus, Members};
use logic::model::{CHECK_PASSING, CatalogNode, NODE_DOWN, NODE_READY, SERF_HEALTH};
use logic::state::{Command, Store};
use ports::World;

use super::consensus::{Consensus, Leadership, ProposeAsLeader};
use super::raft::types::number_of;
use super::standing::Standing;
use crate::gossip::Gossip;
use crate::planted::{self, Planted};
use crate::published::Subscriber;
use crate::state::State;

/// How often leases are looked at.
const TICK: Duration = Duration::from_millis(250);
/// For how long a server that has lost all the others at once takes it for its own fault.
const ALONE_MAX: Duration = Duration::from_secs(30);

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
    standing: Subscriber<Arc<Standing>>,
    ttl: Duration,
    /// Only the leader keeps leases.
    leads: bool,
    /// When each node's lease ends, on the monotonic clock.
    leases: BTreeMap<String, Duration>,
    gossip: Gossip,
    /// What of gossip the catalog has been told.
    told: Option<Arc<Members>>,
    last_look: Duration,
    /// Since when all the others are gone.
    alone_since: Option<Duration>,
}

impl Heartbeats {
    pub(super) fn new(
        world: World,
        state: State,
        consensus: Addr<Consensus>,
        standing: Subscriber<Arc<Standing>>,
        ttl: Duration,
        gossip: Gossip,
    ) -> Self {
        Self {
            last_look: world.clock.monotonic(),
            alone_since: None,
            gossip,
            told: None,
            world,
            state,
            consensus,
            standing,
            ttl,
            leads: false,
            leases: BTreeMap::new(),
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        if !self.leads {
            return;
        }
        if planted::is(Planted::DownNodeKeepsPassing) {
            return;
        }
        let now = self.world.clock.monotonic();
        self.forgive(now);
        let members = Arc::clone(&self.gossip.members().borrow());
        if self.is_cut_off(&members, now) {
            let end = now + self.ttl;
            self.leases.values_mut().for_each(|lease| *lease = end);
            return;
        }
        self.tell(&members, ctx);
        let state = self.state.now();
        for node in state.nodes().filter(|node| node.status == NODE_READY) {
            // A node this server hasn't heard of yet gets a whole lease from now on.
            let end = *self.leases.entry(node.id.clone()).or_insert(now + self.ttl);
            let witnessed = members
                .get(&node.id)
                .is_some_and(|known| known.status == MemberStatus::Failed);
            let end = if witnessed {
                end.saturating_sub(self.ttl / 5)
            } else {
                end
            };
            if end <= now {
                self.leases.remove(&node.id);
                tracing::warn!(
                    node = node.name,
                    witnessed,
                    "node missed its heartbeats and counts as down"
                );
                self.consensus
                    .do_send(ProposeAsLeader(Command::SetNodeStatus {
                        node_id: node.id.clone(),
                        status: NODE_DOWN.to_owned(),
                        description: "it missed its heartbeats".to_owned(),
                    }));
            }
        }
    }

    /// Whether it is rather this server that the others can't reach: it judges nobody then, and
    /// once it is back, everybody has a whole lease.
    fn is_cut_off(&mut self, members: &Members, now: Duration) -> bool {
        let standing = self.standing.borrow();
        if !standing.surely_leads() {
            return true;
        }
        let mut others = members
            .iter()
            .filter(|known| known.status != MemberStatus::Left)
            .filter(|known| number_of(&known.member.id) != standing.number);
        // Most often the first one is there.
        let failed = |known: &Known| known.status == MemberStatus::Failed;
        let two = others.next().is_some_and(failed) && others.next().is_some_and(failed);
        if !two || !others.all(failed) {
            self.alone_since = None;
            return false;
        }
        let since = *self.alone_since.get_or_insert(now);
        now.saturating_sub(since) < ALONE_MAX
    }

    /// When this server itself stood still, the nodes couldn't renew their leases.
    fn forgive(&mut self, now: Duration) {
        let late = now.saturating_sub(self.last_look + TICK);
        self.last_look = now;
        if late > TICK {
            tracing::warn!(
                ms = late.as_millis(),
                "this server stood still: leases are longer"
            );
            self.leases.values_mut().for_each(|end| *end += late);
        }
    }

    /// Tells the catalog whom the other agents can't reach any more, and whom they can again.
    fn tell(&mut self, members: &Arc<Members>, ctx: &mut Context<Self>) {
        if self
            .told
            .as_ref()
            .is_some_and(|told| Arc::ptr_eq(told, members))
        {
            return;
        }
        let (none, state) = (Members::default(), self.state.now());
        let told = self.told.take();
        for known in members.iter() {
            let id = &known.member.id;
            let before = told
                .as_deref()
                .unwrap_or(&none)
                .get(id)
                .map(|known| known.status);
            let reachable = known.status == MemberStatus::Alive;
            if known.status == MemberStatus::Left {
                if before != Some(MemberStatus::Left) {
                    self.forget_left(&state, known, ctx);
                }
                continue;
            }
            if before.is_some_and(|before| (before == MemberStatus::Alive) == reachable) {
                continue;
            }
            let passing = state
                .checks_on(&known.member.name)
                .any(|check| check.check_id == SERF_HEALTH && check.status == CHECK_PASSING);
            if passing != reachable {
                let telling = self.consensus.send(ProposeAsLeader(Command::SetReachable {
                    node: known.member.name.clone(),
                    reachable,
                }));
                self.expect(telling, ctx);
            }
        }
        self.told = Some(Arc::clone(members));
    }

    /// If it fails, everybody is compared with the catalog anew with the next look.
    fn expect(&self, telling: Request<Consensus, ProposeAsLeader>, ctx: &mut Context<Self>) {
        ctx.spawn(telling.into_actor(self).map(|told, heartbeats, _| {
            if !matches!(told, Ok(Ok(_))) {
                heartbeats.told = None;
            }
        }));
    }

    /// A goodbye isn't a failure: what runs there goes on. A node that only has an agent is gone.
    fn forget_left(&self, state: &Store, known: &Known, ctx: &mut Context<Self>) {
        let Known { member, .. } = known;
        let is_its_own = |row: &&Arc<CatalogNode>| row.node == member.name && row.id == member.id;
        let there = state.catalog_nodes().any(|row| is_its_own(&row));
        if there && state.node(&member.id).is_none() {
            let node = member.name.clone();
            let telling = self
                .consensus
                .send(ProposeAsLeader(Command::ForgetLeftNode { node }));
            self.expect(telling, ctx);
        }
    }
}

impl Actor for Heartbeats {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, Self::look);
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
        self.told = None;
        self.last_look = self.world.clock.monotonic();
        if planted::is(Planted::LeaseWithoutGrace) {
            let over = self.world.clock.monotonic();
            let nodes = self.state.now();
            let ids = nodes.nodes().map(|node| (node.id.clone(), over));
            self.leases.extend(ids);
        }
    }
}

//! `Sessions`: the leader's clocks of sessions with a time to live; one that nobody renewed ends.
//!
//! The clocks are the leader's alone: a new leader gives every session a whole lease, so that none
//! ends earlier than its holder was promised.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture};
use logic::model::Session;
use logic::state::Command;
use ports::World;

use super::Server;
use super::consensus::{Consensus, Leadership, ProposeAsLeader};
use super::standing::Standing;
use crate::planted::{self, Planted};
use crate::published::Subscriber;
use crate::rpc::{Request, Response};
use crate::state::State;

const TICK: Duration = Duration::from_millis(250);
/// A session ends after so many times its time to live: its holder may renew late.
const LEASE_TTLS: u32 = 2;
/// How long the leader may take over a renewal that is passed on.
const RELAY_WITHIN: Duration = Duration::from_secs(3);

/// A holder is still there. Answered with whether there is such a session.
#[derive(Debug, Message)]
#[rtype(result = "bool")]
pub struct Renew {
    pub id: String,
}

/// When a session ends unless it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lease {
    Until(Duration),
    /// It is being ended: too late to renew it.
    Over,
}

pub struct Sessions {
    world: World,
    state: State,
    consensus: Addr<Consensus>,
    standing: Subscriber<Arc<Standing>>,
    leads: bool,
    /// By session, on the monotonic clock.
    leases: BTreeMap<String, Lease>,
    last_look: Duration,
}

fn lease(session: &Session) -> Duration {
    logic::duration::to_std(session.ttl) * LEASE_TTLS
}

impl Sessions {
    pub(super) fn new(
        world: World,
        state: State,
        consensus: Addr<Consensus>,
        standing: Subscriber<Arc<Standing>>,
    ) -> Self {
        Self {
            last_look: world.clock.monotonic(),
            world,
            state,
            consensus,
            standing,
            leads: false,
            leases: BTreeMap::new(),
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let now = self.world.clock.monotonic();
        let late = now.saturating_sub(self.last_look + TICK);
        self.last_look = now;
        if !self.leads {
            return;
        }
        let state = self.state.now();
        self.leases.retain(|id, _| state.session(id).is_some());
        // While this server stood still or nobody could reach it, nobody could renew anything.
        let forgive = late > TICK || !self.standing.borrow().surely_leads();
        for session in state.sessions().filter(|session| session.ttl > 0) {
            let whole = Lease::Until(now + lease(session));
            let held = self.leases.entry(session.id.clone()).or_insert(whole);
            match *held {
                Lease::Until(_) if forgive => *held = whole,
                Lease::Until(end) if end <= now => {
                    *held = Lease::Over;
                    self.end(session.id.clone(), ctx);
                }
                Lease::Until(_) | Lease::Over => {}
            }
        }
    }

    fn end(&self, id: String, ctx: &mut Context<Self>) {
        tracing::info!(session = id, "session was not renewed in time and ends");
        let command = Command::ExpireSession { id: id.clone() };
        let ending = self.consensus.send(ProposeAsLeader(command));
        ctx.spawn(ending.into_actor(self).map(move |ended, sessions, _| {
            let failed = !matches!(ended, Ok(Ok(_)));
            // Led anew since, it has a whole lease, which is none of this attempt's business.
            if failed && let Some(held @ Lease::Over) = sessions.leases.get_mut(&id) {
                // Perhaps it has ended all the same: it isn't renewed, but ended again.
                *held = Lease::Until(sessions.world.clock.monotonic());
            }
        }));
    }
}

impl Actor for Sessions {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(TICK, Self::look);
    }
}

impl Handler<Renew> for Sessions {
    type Result = bool;

    fn handle(&mut self, Renew { id }: Renew, _: &mut Self::Context) -> bool {
        let state = self.state.now();
        let Some(session) = state.session(&id) else {
            return false;
        };
        if session.ttl == 0 {
            return true;
        }
        let now = self.world.clock.monotonic();
        let held = self.leases.get(&id).copied();
        match held {
            Some(Lease::Over) => return false,
            Some(Lease::Until(end)) if end <= now => return false,
            Some(Lease::Until(_)) | None => {}
        }
        self.leases.insert(id, Lease::Until(now + lease(session)));
        true
    }
}

impl Handler<Leadership> for Sessions {
    type Result = ();

    fn handle(&mut self, leadership: Leadership, _: &mut Self::Context) {
        self.leads = leadership == Leadership::Leads;
        self.leases.clear();
        self.last_look = self.world.clock.monotonic();
        if planted::is(Planted::SessionsWithoutGrace) {
            let (state, over) = (self.state.now(), self.last_look);
            let leases = state.sessions().filter(|session| session.ttl > 0);
            self.leases = leases
                .map(|session| (session.id.clone(), Lease::Until(over)))
                .collect();
        }
    }
}

impl Server {
    /// Lengthens a session's lease; tells whether there is such a session.
    pub async fn renew_session(&self, id: String) -> Result<bool, String> {
        if self.standing.borrow().surely_leads() {
            // What was acknowledged as ended must not be renewed, nor what began be missed.
            self.linearize().await?;
            return self
                .sessions
                .send(Renew { id })
                .await
                .map_err(|error| error.to_string());
        }
        let Some(leader) = self.elsewhere() else {
            return Err("no server leads a majority".to_owned());
        };
        let request = Request::RenewSession(id);
        match self.rpc.ask_at(&leader, &request, RELAY_WITHIN).await {
            Ok(Response::Renewed(there)) => Ok(there),
            Ok(Response::NoLeader(why) | Response::Refused(why)) => Err(why),
            Ok(other) => Err(format!("the leader answers {other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

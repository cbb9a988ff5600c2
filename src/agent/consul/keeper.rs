//! `Keeper`: keeps the Consul beside this agent told of what runs here, and hears what it says of
//! the checks it runs. Whatever is lost there comes back, what isn't wanted any more goes, and
//! nothing of others is touched; while it is away nothing here waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, ResponseFuture, SpawnHandle,
    WrapFuture,
};
use logic::beside::{FoundCheck, Registration};
use logic::lifecycle::services::Offer;
use ports::World;
use tokio::sync::oneshot;

use super::client::Consul;
use super::round::{self, Outcome, Round};
use crate::published::{Publisher, Subscriber, publish};

/// How often the Consul is asked what checks say, and what it has at all.
const LISTEN_EVERY: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Pause after a failure; doubles each time.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);
/// Before what was refused is tried again.
const REFUSED_FOR: Duration = Duration::from_secs(30);

/// All that tasks offer here.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Keep {
    pub(crate) offers: Vec<Offer>,
    /// What the checks said last, by id.
    pub(crate) known: BTreeMap<String, String>,
    /// The client has taken up what an earlier run of the agent left running.
    pub(crate) complete: bool,
}

/// Answered when the Consul has what is wanted now, or can't be reached.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Settle;

/// The agent ends: it is offered no more, its tasks are. Answered like [`Settle`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Retire;

/// What the Consul said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// It answers.
    pub answers: bool,
    /// Status and output of the checks registered there, by id.
    pub checks: BTreeMap<String, FoundCheck>,
    /// What it says of itself, for a node's attributes.
    pub attributes: BTreeMap<String, String>,
}

pub struct Keeper {
    world: World,
    consul: Consul,
    mark: Arc<str>,
    /// What the agent offers itself.
    own: Vec<Registration>,
    offers: Vec<Offer>,
    complete: bool,
    wanted: Arc<BTreeMap<String, Registration>>,
    taken: BTreeMap<String, Registration>,
    /// What wasn't wanted since the last round began.
    gone: BTreeSet<String>,
    known: BTreeMap<String, String>,
    /// What the Consul doesn't take, and when it is tried again.
    refused: BTreeMap<String, (Registration, Duration)>,
    /// Refusals that were told.
    complaints: BTreeMap<String, String>,
    heard: Publisher<Arc<Heard>>,
    last: Heard,
    busy: bool,
    /// Something changed while a round was under way.
    again: bool,
    /// Look at everything in the next round.
    whole: bool,
    looked: Duration,
    failures: u32,
    /// That it is away was told.
    told: bool,
    timer: Option<SpawnHandle>,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Keeper {
    pub(crate) fn new(
        world: World,
        consul: Consul,
        mark: &str,
        own: Vec<Registration>,
    ) -> (Self, Subscriber<Arc<Heard>>) {
        let (heard, reader) = publish(Arc::default());
        let mut keeper = Self {
            world,
            consul,
            mark: mark.into(),
            own,
            offers: Vec::new(),
            complete: false,
            wanted: Arc::default(),
            taken: BTreeMap::new(),
            gone: BTreeSet::new(),
            known: BTreeMap::new(),
            refused: BTreeMap::new(),
            complaints: BTreeMap::new(),
            heard,
            last: Heard::default(),
            busy: false,
            again: false,
            whole: true,
            looked: Duration::ZERO,
            failures: 0,
            told: false,
            timer: None,
            waiting: Vec::new(),
        };
        keeper.want();
        (keeper, reader)
    }

    /// Works out anew what should be registered.
    fn want(&mut self) {
        let offered = self.offers.iter();
        let offered = offered.map(|offer| Registration::of(offer, &self.mark));
        let all = self.own.iter().cloned().chain(offered);
        let wanted: BTreeMap<_, _> = all.map(|one| (one.id.clone(), one)).collect();
        self.refused
            .retain(|id, (refused, _)| wanted.get(id) == Some(refused));
        let gone = self.wanted.keys().filter(|id| !wanted.contains_key(*id));
        self.gone.extend(gone.cloned());
        self.wanted = Arc::new(wanted);
        let wanted = Arc::clone(&self.wanted);
        let checks: BTreeSet<&String> = wanted.values().flat_map(|one| one.checks.keys()).collect();
        self.known.retain(|id, _| checks.contains(id));
        self.whole = true;
        self.forget_old_words();
    }

    /// What was said of a task's checks doesn't hold for its next run.
    fn forget_old_words(&mut self) {
        let (gone, before) = (&self.gone, self.last.checks.len());
        let old = |check: &FoundCheck| gone.contains(&check.service_id);
        self.last.checks.retain(|_, check| !old(check));
        if self.last.checks.len() != before {
            self.heard.send_if_other(Arc::new(self.last.clone()));
        }
    }

    /// Begins a round, or has one follow the one that is under way.
    fn round(&mut self, ctx: &mut Context<Self>) {
        if self.busy {
            self.again = true;
            return;
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.busy = true;
        self.again = false;
        let now = self.world.clock.monotonic();
        self.refused.retain(|_, (_, until)| *until > now);
        let round = Round {
            consul: self.consul.clone(),
            wanted: Arc::clone(&self.wanted),
            taken: self.taken.clone(),
            gone: self.gone.clone(),
            mark: Arc::clone(&self.mark),
            complete: self.complete,
            known: self.known.clone(),
            refused: self.refused.keys().cloned().collect(),
            whole: self.whole || now.saturating_sub(self.looked) >= LOOK_EVERY,
            introduce: !self.last.answers,
        };
        self.whole = false;
        let gone = std::mem::take(&mut self.gone);
        let waiting = std::mem::take(&mut self.waiting);
        let going = round::run(round);
        ctx.spawn(going.into_actor(self).map(move |outcome, keeper, ctx| {
            for waiter in waiting {
                // Who waited may have given up.
                waiter.send(()).ok();
            }
            keeper.busy = false;
            keeper.went(outcome, gone);
            if keeper.again {
                keeper.round(ctx);
            } else {
                let wait = keeper.next_wait();
                keeper.timer = Some(ctx.run_later(wait, Self::round));
            }
        }));
    }

    fn went(&mut self, outcome: Outcome, gone: BTreeSet<String>) {
        self.taken = outcome.taken;
        if let Some(why) = outcome.away {
            self.gone.extend(gone);
            self.whole = true;
            self.failures = self.failures.saturating_add(1);
            if !std::mem::replace(&mut self.told, true) {
                let consul = &self.consul.address;
                tracing::warn!(
                    consul,
                    why,
                    "the Consul is away: it is told of changes later"
                );
            }
            self.last.answers = false;
            self.heard.send_if_other(Arc::new(self.last.clone()));
            return;
        }
        self.failures = 0;
        let now = self.world.clock.monotonic();
        if outcome.whole {
            self.looked = now;
        }
        if std::mem::take(&mut self.told) {
            tracing::info!(consul = self.consul.address, "the Consul answers again");
        }
        let (refused, held) = (&outcome.refused, &self.refused);
        self.complaints
            .retain(|id, _| refused.contains_key(id) || held.contains_key(id) || !outcome.whole);
        for (id, why) in outcome.refused {
            self.refuse(id, why, now);
        }
        let old: BTreeSet<String> = self.gone.union(&gone).cloned().collect();
        let mut checks = outcome.checks;
        checks.retain(|_, check| !old.contains(&check.service_id));
        self.hear(checks, outcome.attributes);
    }

    fn refuse(&mut self, id: String, why: String, now: Duration) {
        if self.complaints.get(&id) != Some(&why) {
            tracing::warn!(id, why, "the Consul refuses a change");
            self.complaints.insert(id.clone(), why);
        }
        if let Some(wanted) = self.wanted.get(&id) {
            let until = now + REFUSED_FOR;
            self.refused.insert(id, (wanted.clone(), until));
        }
    }

    fn hear(
        &mut self,
        checks: BTreeMap<String, FoundCheck>,
        attributes: Option<BTreeMap<String, String>>,
    ) {
        let ours: BTreeSet<&String> = self
            .wanted
            .values()
            .flat_map(|one| one.checks.keys())
            .collect();
        let checks: BTreeMap<_, _> = checks
            .into_iter()
            .filter(|(id, _)| ours.contains(id))
            .collect();
        for (id, check) in &checks {
            self.known.insert(id.clone(), check.status.clone());
        }
        let heard = Heard {
            answers: true,
            checks,
            attributes: attributes.unwrap_or_else(|| std::mem::take(&mut self.last.attributes)),
        };
        self.last = heard;
        self.heard.send_if_other(Arc::new(self.last.clone()));
    }

    fn next_wait(&self) -> Duration {
        if self.failures == 0 {
            return LISTEN_EVERY;
        }
        let doubled = RETRY_AFTER * 2_u32.saturating_pow(self.failures.min(6) - 1);
        let wait = doubled.min(RETRY_AFTER_MAX);
        // Agents that lost the same Consul don't come back to it all at once.
        let jitter = self.world.random.next_u64() % 250;
        wait + Duration::from_millis(jitter)
    }

    fn settled(&mut self, ctx: &mut Context<Self>) -> ResponseFuture<()> {
        let (done, settled) = oneshot::channel();
        self.waiting.push(done);
        self.round(ctx);
        Box::pin(async move {
            settled.await.ok();
        })
    }
}

impl Actor for Keeper {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1_024);
        self.round(ctx);
    }
}

impl Handler<Keep> for Keeper {
    type Result = ();

    fn handle(&mut self, keep: Keep, ctx: &mut Self::Context) {
        self.complete |= keep.complete;
        self.offers = keep.offers;
        self.want();
        for (id, status) in keep.known {
            self.known.entry(id).or_insert(status);
        }
        self.round(ctx);
    }
}

impl Handler<Settle> for Keeper {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Settle, ctx: &mut Self::Context) -> Self::Result {
        self.settled(ctx)
    }
}

impl Handler<Retire> for Keeper {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Retire, ctx: &mut Self::Context) -> Self::Result {
        self.own.clear();
        self.want();
        self.settled(ctx)
    }
}

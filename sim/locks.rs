//! Holders of one lock, by sessions: each takes it, holds it for a while, and lets it go or just
//! vanishes. A holder believes that it holds the lock until its session's time to live has passed
//! since it sent the last renewal that was answered; no two may believe so at once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::invariants::ONE_HOLDER;
use crate::user::User;

const KEY: &str = "/v1/kv/the/lock";
const TTL: Duration = Duration::from_secs(10);
const RENEW_EVERY_MILLIS: u64 = 3_000;
const HOLDS_MILLIS: u64 = 8_000;
const TRIES_AGAIN_MILLIS: u64 = 1_500;
/// A holder that vanished keeps others waiting for two times to live, and for the delay.
const FREE_WITHIN: Duration = Duration::from_secs(90);

#[derive(Default)]
struct Shared {
    /// Until when each holder believes that it holds the lock.
    beliefs: RefCell<BTreeMap<usize, Duration>>,
    /// The lock's index when it was taken last.
    taken: Cell<u64>,
    times: Cell<u64>,
    over: Cell<bool>,
}

/// Holders at work, until [`Locks::finish`].
pub(crate) struct Locks {
    user: User,
    shared: Rc<Shared>,
    holders: Vec<JoinHandle<Result<()>>>,
}

impl Locks {
    pub(crate) fn start(user: &User, holders: usize) -> Self {
        let shared = Rc::<Shared>::default();
        let holders = (0..holders).map(|number| {
            let holder = Holder {
                user: user.clone(),
                shared: shared.clone(),
                number,
            };
            tokio::task::spawn_local(holder.go_on())
        });
        Self {
            user: user.clone(),
            holders: holders.collect(),
            shared,
        }
    }

    /// Ends the holding; whoever comes then gets the lock. Returns how often it was taken.
    pub(crate) async fn finish(self) -> Result<u64> {
        self.shared.over.set(true);
        for holder in self.holders {
            holder.await.context("a holder panicked")??;
        }
        let last = Holder {
            user: self.user.clone(),
            shared: self.shared.clone(),
            number: usize::MAX,
        };
        let what = "the lock is free in the end";
        let taking = self.user.eventually_quietly(what, FREE_WITHIN, || async {
            let held = last.take().await?.context("somebody holds it")?;
            last.let_go(&held.session).await;
            Ok(())
        });
        taking.await?;
        let times = self.shared.times.get();
        self.user.say(&format!("the lock was taken {times} times"));
        Ok(times)
    }
}

struct Held {
    session: String,
}

struct Holder {
    user: User,
    shared: Rc<Shared>,
    number: usize,
}

impl Holder {
    async fn go_on(self) -> Result<()> {
        while !self.shared.over.get() {
            // Not being answered is no answer.
            if let Some(held) = self.take().await.or_else(only_broken)? {
                self.hold(held).await;
            }
            let pause = 1 + self.user.random.below(TRIES_AGAIN_MILLIS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        Ok(())
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let up = self.user.servers_up();
        let picked = up.get(self.user.pick(up.len())).cloned();
        let address = format!("{}:8500", picked.unwrap_or_else(|| "server-1".to_owned()));
        let answer = self
            .user
            .http(&address, method, path, &address, body)
            .await?;
        match answer.status {
            200 => Ok(serde_json::from_str(&answer.body).unwrap_or_default()),
            404 => Ok(Value::Null),
            status => bail!("{status} {}", answer.body),
        }
    }

    /// Half of the sessions depend on their node's health, and on the delay if that fails; the
    /// others end only when nobody renews them.
    fn wanted(&self) -> Value {
        let clients = self.user.size.client_names();
        let node = clients.get(self.number % clients.len().max(1));
        let mut wanted = json!({ "Node": node, "TTL": "10s" });
        if self.number.is_multiple_of(2) {
            wanted["LockDelay"] = json!("0s");
            wanted["NodeChecks"] = json!([]);
        }
        wanted
    }

    /// Tries once.
    async fn take(&self) -> Result<Option<Held>> {
        let wanted = self.wanted();
        let began = self.user.now();
        let created = self.ask("PUT", "/v1/session/create", Some(&wanted)).await?;
        let session = created["ID"].as_str().context("no session")?.to_owned();
        let path = format!("{KEY}?acquire={session}");
        let value = json!(self.number);
        if self.ask("PUT", &path, Some(&value)).await? != json!(true) {
            self.destroy(&session).await;
            return Ok(None);
        }
        self.believe(began + TTL)?;
        let rows = self.ask("GET", KEY, None).await;
        if let Ok(rows) = rows
            && rows[0]["Session"] == json!(session)
        {
            let index = rows[0]["LockIndex"].as_u64().unwrap_or(0);
            let before = self.shared.taken.replace(index);
            if index <= before {
                let detail = format!("it was taken as number {before}, and then as {index}");
                return Err(ONE_HOLDER.broken(detail));
            }
        }
        Ok(Some(Held { session }))
    }

    fn believe(&self, until: Duration) -> Result<()> {
        let now = self.user.now();
        let mut beliefs = self.shared.beliefs.borrow_mut();
        let other = beliefs
            .iter()
            .find(|(number, until)| **number != self.number && **until > now);
        if let Some((other, other_until)) = other.filter(|_| until > now) {
            let detail = format!(
                "at {now:?} holder {} got it, and {other} holds it until {other_until:?}",
                self.number
            );
            return Err(ONE_HOLDER.broken(detail));
        }
        beliefs.insert(self.number, until);
        self.shared.times.set(self.shared.times.get() + 1);
        Ok(())
    }

    /// Holds the lock for a while, by renewing its session.
    async fn hold(&self, Held { session }: Held) {
        let end = self.user.now() + Duration::from_millis(self.user.random.below(HOLDS_MILLIS));
        while self.user.now() < end && !self.shared.over.get() {
            let pause = 1 + self.user.random.below(RENEW_EVERY_MILLIS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let sent = self.user.now();
            let renewed = self
                .ask("PUT", &format!("/v1/session/renew/{session}"), None)
                .await;
            match renewed {
                Ok(Value::Null) => break,
                Ok(_) => {
                    let mut beliefs = self.shared.beliefs.borrow_mut();
                    // One that has stopped believing doesn't begin again.
                    if let Some(until) = beliefs.get_mut(&self.number)
                        && *until > self.user.now()
                    {
                        *until = sent + TTL;
                    }
                }
                Err(_) => {}
            }
        }
        match self.user.random.below(3) {
            // It vanishes: its belief ends by itself.
            0 => {}
            1 => self.let_go(&session).await,
            _ => {
                self.shared.beliefs.borrow_mut().remove(&self.number);
                self.destroy(&session).await;
            }
        }
    }

    async fn let_go(&self, session: &str) {
        self.shared.beliefs.borrow_mut().remove(&self.number);
        let path = format!("{KEY}?release={session}");
        let released = self.ask("PUT", &path, Some(&json!(null))).await;
        if let Err(error) = released {
            self.user
                .say(&format!("the lock wasn't released: {error:#}"));
        }
        self.destroy(session).await;
    }

    async fn destroy(&self, session: &str) {
        let path = format!("/v1/session/destroy/{session}");
        // One that can't be destroyed ends by itself.
        self.ask("PUT", &path, None).await.ok();
    }
}

/// Lets only what must not be through.
fn only_broken(error: anyhow::Error) -> Result<Option<Held>> {
    if error.is::<logic::invariants::Broken>() {
        return Err(error);
    }
    Ok(None)
}

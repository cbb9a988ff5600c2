//! A lock among the keys, or one of a semaphore's places: the same keys, flags and values as
//! Consul's own programs use, so that both keep each other out.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;

use super::holders::{Attempt, Holders};
use crate::cli::api::KvPair;
use crate::cli::exit::Failure;
use crate::cli::http::{Client, RequestError, Watched, decode, escaped};
use crate::cli::kv::path;

/// What marks a key as a lock's.
const LOCK: u64 = 0x2ddc_cbc0_58a5_0c18;
/// What marks keys as a semaphore's.
const SEMAPHORE: u64 = 0xe0f6_9a2b_aa41_4de0;
/// Pause where nobody holds the key that still can't be had: its last holder was lost, and may not
/// know it yet.
const DELAYED: Duration = Duration::from_secs(1);
/// How often a place is given back where others change it at the same time.
const RELEASES: usize = 10;

pub(super) struct Held {
    pub(super) client: Client,
    /// Of the lock; of a semaphore, where its keys are.
    prefix: String,
    places: u64,
    session: String,
}

impl Held {
    pub(super) fn new(client: Client, prefix: &str, places: u64, session: &str) -> Self {
        Self {
            client,
            prefix: prefix.to_owned(),
            places,
            session: session.to_owned(),
        }
    }

    fn is_lock(&self) -> bool {
        self.places == 1
    }

    fn key(&self) -> String {
        format!("{}/.lock", self.prefix)
    }

    /// Where a contender for a place says that it lives.
    fn contender(&self) -> String {
        format!("{}/{}", self.prefix, self.session)
    }

    /// Waits until it is had.
    pub(super) async fn acquire(&self) -> Result<(), Failure> {
        if self.is_lock() {
            return self.acquire_lock().await;
        }
        let asked = format!("acquire={}&flags={SEMAPHORE}", escaped(&self.session));
        let path = format!("{}?{asked}", path(&self.contender()));
        if !self.client.change(Method::PUT, &path, Vec::new()).await? {
            return Err(Failure::new("failed to make contender entry"));
        }
        self.acquire_place().await
    }

    async fn acquire_lock(&self) -> Result<(), Failure> {
        let mut index = 0;
        loop {
            let seen = self.client.watch(&path(&self.key()), index).await?;
            let there = pairs(&seen)?.into_iter().next();
            index = seen.index;
            if let Some(pair) = &there {
                if pair.flags != LOCK {
                    return Err(not_ours(&self.key(), "a lock"));
                }
                if pair.session == self.session {
                    return Ok(());
                }
                if !pair.session.is_empty() {
                    continue;
                }
            }
            let asked = format!("acquire={}&flags={LOCK}", escaped(&self.session));
            let path = format!("{}?{asked}", path(&self.key()));
            if self.client.change(Method::PUT, &path, Vec::new()).await? {
                return Ok(());
            }
            index = 0;
            tokio::time::sleep(DELAYED).await;
        }
    }

    async fn acquire_place(&self) -> Result<(), Failure> {
        let mut index = 0;
        loop {
            let all = format!("{}?recurse", path(&format!("{}/", self.prefix)));
            let seen = self.client.watch(&all, index).await?;
            index = seen.index;
            let all = pairs(&seen)?;
            let key = self.key();
            let written = all.iter().find(|pair| pair.key == key);
            if written.is_some_and(|pair| pair.flags != SEMAPHORE) {
                return Err(not_ours(&key, "a semaphore"));
            }
            let lives = |session: &str| {
                let mut others = all.iter().filter(|pair| pair.key != key);
                others.any(|pair| pair.session == session)
            };
            let holders = written.map(holders).transpose()?;
            match Holders::take(holders, self.places, &self.session, lives) {
                Attempt::Wait => {}
                Attempt::Conflict(why) => return Err(Failure::new(why)),
                Attempt::Take(holders) => {
                    let at = written.map_or(0, |pair| pair.modify_index);
                    if self.write(&holders, at).await? {
                        return Ok(());
                    }
                    // Somebody was faster.
                    index = 0;
                }
            }
        }
    }

    /// Waits until it is lost, and tells why. An agent that doesn't answer may fail a few times.
    pub(super) async fn lost(&self, retries: u32) -> String {
        let (mut index, mut failed) = (0, 0);
        loop {
            match self.client.watch(&path(&self.key()), index).await {
                Ok(seen) => {
                    (index, failed) = (seen.index, 0);
                    if !self.has_it(&seen) {
                        return "it is held by somebody else, or nobody".to_owned();
                    }
                }
                Err(error) => {
                    (index, failed) = (0, failed + 1);
                    if failed > retries {
                        return error.to_string();
                    }
                    tokio::time::sleep(DELAYED).await;
                }
            }
        }
    }

    fn has_it(&self, seen: &Watched) -> bool {
        let pair = pairs(seen).unwrap_or_default().into_iter().next();
        pair.is_some_and(|pair| {
            if self.is_lock() {
                pair.session == self.session
            } else {
                holders(&pair).is_ok_and(|holders| holders.has(&self.session))
            }
        })
    }

    /// Lets go, if it was had, and takes the key away if nobody else wants it. What fails here
    /// comes with the session's end.
    pub(super) async fn release(&self) {
        let released = if self.is_lock() {
            self.release_lock().await
        } else {
            self.release_place().await
        };
        released.ok();
    }

    async fn release_lock(&self) -> Result<(), Failure> {
        let asked = format!("release={}&flags={LOCK}", escaped(&self.session));
        let lock = path(&self.key());
        let seen = self.client.watch(&lock, 0).await?;
        if !self.has_it(&seen) {
            return Ok(());
        }
        let release = format!("{lock}?{asked}");
        self.client
            .change(Method::PUT, &release, Vec::new())
            .await?;
        let seen = self.client.watch(&lock, 0).await?;
        if let Some(pair) = pairs(&seen)?.into_iter().next()
            && pair.session.is_empty()
        {
            self.delete(pair.modify_index).await?;
        }
        Ok(())
    }

    async fn release_place(&self) -> Result<(), Failure> {
        for _ in 0..RELEASES {
            let seen = self.client.watch(&path(&self.key()), 0).await?;
            let Some(pair) = pairs(&seen)?.into_iter().next() else {
                break;
            };
            let holders = holders(&pair)?;
            if !holders.has(&self.session) {
                break;
            }
            let left = holders.without(&self.session);
            let done = if left.is_empty() {
                self.delete(pair.modify_index).await?
            } else {
                self.write(&left, pair.modify_index).await?
            };
            if done {
                break;
            }
        }
        let contender = path(&self.contender());
        self.client
            .change(Method::DELETE, &contender, Vec::new())
            .await?;
        Ok(())
    }

    async fn delete(&self, index: u64) -> Result<bool, RequestError> {
        let path = format!("{}?cas={index}", path(&self.key()));
        self.client.change(Method::DELETE, &path, Vec::new()).await
    }

    async fn write(&self, holders: &Holders, index: u64) -> Result<bool, Failure> {
        let value = serde_json::to_vec(holders).map_err(|why| Failure::new(why.to_string()))?;
        let path = format!("{}?cas={index}&flags={SEMAPHORE}", path(&self.key()));
        Ok(self.client.change(Method::PUT, &path, value).await?)
    }
}

fn pairs(seen: &Watched) -> Result<Vec<KvPair>, Failure> {
    let Some(body) = &seen.body else {
        return Ok(Vec::new());
    };
    decode(body).map_err(|error| Failure::new(format!("the agent answers no keys: {error}")))
}

fn holders(pair: &KvPair) -> Result<Holders, Failure> {
    let value = STANDARD.decode(&pair.value).unwrap_or_default();
    Holders::read(&value).map_err(|why| Failure::new(format!("{}: {why}", pair.key)))
}

fn not_ours(key: &str, what: &str) -> Failure {
    Failure::new(format!("the key {key} is there, and isn't {what}'s"))
        .hint("use another PREFIX, or delete the key if nobody needs it")
}

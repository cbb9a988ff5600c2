//! Users who write all the time, and remember what they were promised.
//!
//! Each user has jobs and keys of its own and changes them one after the other through whatever
//! server the seed picks. A write that was acknowledged has to be what anybody reads from then on.
//! One that failed may or may not happen, now or later: what it wrote to is left alone from then
//! on, and may end either way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::invariants::ACKNOWLEDGED_READABLE;
use crate::user::User;

/// How long a user thinks between two writes, at most.
const THINKS_MILLIS: u64 = 400;
/// How often a subject is written to before its user goes on to another.
const WRITES_EACH: u64 = 6;
/// How long the last reads may take.
const READ_WITHIN: Duration = Duration::from_secs(60);

/// What is written to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Job(String),
    Key(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Job(name) => write!(f, "job {name}"),
            Self::Key(name) => write!(f, "key {name}"),
        }
    }
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    Nothing,
    /// The number of the write.
    Written(u64),
    /// A job as written, but stopped.
    Stopped,
}

#[derive(Clone, Debug)]
struct Promise {
    acknowledged: Content,
    /// What a write that failed wanted.
    perhaps: Option<Content>,
    /// The job's `JobModifyIndex` or the key's `ModifyIndex`, where it is known: the next write may
    /// be made only if nobody else has written meanwhile. Nobody else does, so one that is refused
    /// was applied twice.
    index: Option<u64>,
}

/// What came of a write.
enum Written {
    /// The job's new `JobModifyIndex`, if the answer has one.
    Acknowledged(Option<u64>),
    Conflict(String),
}

impl Promise {
    fn allows(&self, content: Content) -> bool {
        self.acknowledged == content || self.perhaps == Some(content)
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u64,
    pub(crate) failed: u64,
    /// The longest an acknowledged write took.
    pub(crate) slowest: Duration,
}

#[derive(Default)]
struct Shared {
    promises: RefCell<BTreeMap<Subject, Promise>>,
    tally: Cell<Tally>,
    over: Cell<bool>,
}

/// Users at work, until [`Load::finish`].
pub(crate) struct Load {
    user: User,
    shared: Rc<Shared>,
    users: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    pub(crate) fn start(user: &User, users: usize) -> Self {
        let shared = Rc::<Shared>::default();
        let users = (1..=users).map(|number| {
            let writer = Writer {
                user: user.clone(),
                shared: shared.clone(),
                name: format!("load-{number}"),
            };
            tokio::task::spawn_local(writer.write_on())
        });
        Self {
            user: user.clone(),
            users: users.collect(),
            shared,
        }
    }

    /// Ends the writing, and reads everything that was promised from every server.
    pub(crate) async fn finish(self) -> Result<Tally> {
        self.shared.over.set(true);
        for user in self.users {
            user.await.context("a user panicked")??;
        }
        let promises = self.shared.promises.borrow().clone();
        for server in self.user.servers_up() {
            for (subject, promise) in &promises {
                let what = format!("{server} knows {subject}");
                let found = self
                    .user
                    .eventually_quietly(&what, READ_WITHIN, || read(&self.user, &server, subject))
                    .await?;
                judge(subject, promise, found.content, &server)?;
            }
        }
        let tally = self.shared.tally.get();
        self.user.say(&format!("the load is over: {tally:?}"));
        Ok(tally)
    }
}

fn judge(subject: &Subject, promise: &Promise, content: Content, server: &str) -> Result<()> {
    if promise.allows(content) {
        return Ok(());
    }
    let detail = format!("of {subject}, {server} knows {content:?}, after {promise:?}");
    Err(ACKNOWLEDGED_READABLE.broken(detail))
}

struct Writer {
    user: User,
    shared: Rc<Shared>,
    name: String,
}

impl Writer {
    async fn write_on(self) -> Result<()> {
        for number in 0.. {
            let name = format!("{}-{number}", self.name);
            let subject = if self.user.random.below(3) == 0 {
                Subject::Key(name)
            } else {
                Subject::Job(name)
            };
            for write in 1..=WRITES_EACH {
                if self.shared.over.get() {
                    return Ok(());
                }
                let acknowledged = self.write(&subject, write).await?;
                // Also after a refusal: a server that is gone refuses at once.
                let pause = 1 + self.user.random.below(THINKS_MILLIS);
                tokio::time::sleep(Duration::from_millis(pause)).await;
                if !acknowledged {
                    break;
                }
            }
            self.clear_away(&subject).await;
        }
        Ok(())
    }

    /// One write and a read of it elsewhere; false if it wasn't acknowledged.
    async fn write(&self, subject: &Subject, number: u64) -> Result<bool> {
        let server = any(&self.user);
        let end = number > 1 && self.user.random.below(4) == 0;
        let wanted = match (end, subject) {
            (true, Subject::Job(_)) => Content::Stopped,
            (true, Subject::Key(_)) => Content::Nothing,
            (false, _) => Content::Written(number),
        };
        let index = {
            let promises = self.shared.promises.borrow();
            promises
                .get(subject)
                .map_or(Some(0), |promise| promise.index)
        };
        // Keys are written both ways.
        let plain = matches!(subject, Subject::Key(_)) && self.user.random.below(2) == 0;
        let index = index.filter(|_| !plain);
        let began = self.user.now();
        let written = write(&self.user, &server, subject, wanted, index).await;
        let took = self.user.now().saturating_sub(began);
        let mut tally = self.shared.tally.get();
        let acknowledged = {
            let mut promises = self.shared.promises.borrow_mut();
            let promise = promises.entry(subject.clone()).or_insert(Promise {
                acknowledged: Content::Nothing,
                perhaps: None,
                index: None,
            });
            match written {
                Ok(Written::Conflict(why)) => {
                    let detail = format!("{subject} {wanted:?} was applied before: {why}");
                    return Err(ACKNOWLEDGED_READABLE.broken(detail));
                }
                Ok(Written::Acknowledged(index)) => {
                    promise.acknowledged = wanted;
                    promise.index = index;
                    tally.acknowledged += 1;
                    tally.slowest = tally.slowest.max(took);
                    true
                }
                Err(error) => {
                    self.user.say(&format!(
                        "{subject} {wanted:?} at {server} failed after {took:?}: {error:#}"
                    ));
                    promise.perhaps = Some(wanted);
                    tally.failed += 1;
                    false
                }
            }
        };
        self.shared.tally.set(tally);
        if acknowledged {
            self.read_back(subject).await?;
        }
        Ok(acknowledged)
    }

    async fn read_back(&self, subject: &Subject) -> Result<()> {
        let server = any(&self.user);
        // Not being answered is no answer.
        if let Ok(found) = read(&self.user, &server, subject).await {
            let mut promises = self.shared.promises.borrow_mut();
            let promise = promises.get_mut(subject).context("nothing was promised")?;
            judge(subject, promise, found.content, &server)?;
            promise.index = promise.index.or(found.index);
        }
        Ok(())
    }

    /// Jobs that are written to no more are stopped, so that there is room for others.
    async fn clear_away(&self, subject: &Subject) {
        if !matches!(subject, Subject::Job(_)) {
            return;
        }
        let wanted = Content::Stopped;
        let stopped = write(&self.user, &any(&self.user), subject, wanted, None).await;
        let mut promises = self.shared.promises.borrow_mut();
        if let Some(promise) = promises.get_mut(subject) {
            match (stopped, promise.perhaps) {
                (Ok(_), None) => promise.acknowledged = Content::Stopped,
                // It may end as any of three, and none of them would be wrong.
                (Ok(_) | Err(_), Some(_)) => {
                    promises.remove(subject);
                }
                (Err(_), None) => promise.perhaps = Some(Content::Stopped),
            }
        }
    }
}

/// A server whose agent runs, or the first one.
fn any(user: &User) -> String {
    let up = user.servers_up();
    let picked = up.get(user.pick(up.len())).cloned();
    picked.unwrap_or_else(|| "server-1".to_owned())
}

pub(crate) fn job(name: &str, number: u64, index: Option<u64>) -> Value {
    let task = json!({
        "Name": "task",
        "Driver": "docker",
        "Config": { "image": "idle" },
        "Resources": { "CPU": 20, "MemoryMB": 16 },
    });
    let group = json!({
        "Name": "group",
        "Count": 1,
        "RestartPolicy": { "Attempts": 10, "Interval": 600_000_000_000u64, "Delay": 1_000_000_000, "Mode": "delay" },
        "EphemeralDisk": { "SizeMB": 10 },
        "Tasks": [task],
    });
    let job = json!({
        "ID": name,
        "Name": name,
        "Type": "service",
        "Datacenters": ["dc1"],
        "Meta": { "write": number.to_string() },
        "TaskGroups": [group],
    });
    match index {
        Some(index) => json!({ "Job": job, "EnforceIndex": true, "JobModifyIndex": index }),
        None => json!({ "Job": job }),
    }
}

async fn write(
    user: &User,
    server: &str,
    subject: &Subject,
    content: Content,
    index: Option<u64>,
) -> Result<Written> {
    let (port, method, path, body) = match (subject, content) {
        (Subject::Job(name), Content::Written(number)) => (
            4646,
            "PUT",
            "/v1/jobs".to_owned(),
            Some(job(name, number, index)),
        ),
        (Subject::Job(name), Content::Stopped | Content::Nothing) => {
            (4646, "DELETE", format!("/v1/job/{name}"), None)
        }
        (Subject::Key(name), Content::Written(number)) => {
            (8500, "PUT", key_path(name, index), Some(json!(number)))
        }
        (Subject::Key(name), Content::Stopped | Content::Nothing) => {
            (8500, "DELETE", key_path(name, index), None)
        }
    };
    let address = format!("{server}:{port}");
    let answer = user.http(&address, method, &path, &address, body.as_ref());
    let answer = answer.await?;
    match answer.status {
        200 if matches!(subject, Subject::Key(_)) => match answer.body.as_str() {
            "true" => Ok(Written::Acknowledged(None)),
            "false" => Ok(Written::Conflict(format!("it isn't at {index:?}"))),
            other => bail!("{other}"),
        },
        200 => {
            let body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let index = body["JobModifyIndex"].as_u64();
            // What answers a stop isn't the job's own index.
            let registered = matches!(content, Content::Written(_));
            Ok(Written::Acknowledged(index.filter(|_| registered)))
        }
        409 => Ok(Written::Conflict(answer.body)),
        status => bail!("{status} {}", answer.body),
    }
}

fn key_path(name: &str, index: Option<u64>) -> String {
    let check = index.map_or_else(String::new, |index| format!("?cas={index}"));
    format!("/v1/kv/{name}{check}")
}

/// What a server knows.
struct Found {
    content: Content,
    /// The key's `ModifyIndex`; 0 if there is no such key. That of a job is known from its writes.
    index: Option<u64>,
}

async fn read(user: &User, server: &str, subject: &Subject) -> Result<Found> {
    let (port, path) = match subject {
        Subject::Job(name) => (4646, format!("/v1/job/{name}")),
        Subject::Key(name) => (8500, key_path(name, None)),
    };
    let address = format!("{server}:{port}");
    let answer = user.http(&address, "GET", &path, &address, None).await?;
    let of_job = |content| Found {
        content,
        index: None,
    };
    let of_key = |content, index| Found {
        content,
        index: Some(index),
    };
    match (subject, answer.status) {
        (Subject::Job(_), 404) => Ok(of_job(Content::Nothing)),
        (Subject::Key(_), 404) => Ok(of_key(Content::Nothing, 0)),
        (Subject::Job(_), 200) => {
            let job: Value = serde_json::from_str(&answer.body)?;
            if job["Stop"] == true {
                return Ok(of_job(Content::Stopped));
            }
            let number = job["Meta"]["write"].as_str().context("no number")?;
            Ok(of_job(Content::Written(number.parse()?)))
        }
        (Subject::Key(_), 200) => {
            let row = serde_json::from_str::<Value>(&answer.body)?[0].take();
            let value = STANDARD.decode(row["Value"].as_str().context("no value")?)?;
            let number = std::str::from_utf8(&value)?.parse()?;
            let index = row["ModifyIndex"].as_u64().context("no index")?;
            Ok(of_key(Content::Written(number), index))
        }
        (_, status) => bail!("{status} {}", answer.body),
    }
}

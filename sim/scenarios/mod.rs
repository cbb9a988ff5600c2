//! Stories that every seed has to survive. Each is one async function: what the user does, what
//! fate does, and what must be true then.

mod first_job;

use std::future::Future;
use std::pin::Pin;

use anyhow::Result;

use crate::user::User;

type Story = fn(User) -> Pin<Box<dyn Future<Output = Result<()>>>>;

/// A story and the cluster it plays in.
pub struct Scenario {
    pub name: &'static str,
    /// One sentence on what happens.
    pub about: &'static str,
    /// The seed chooses one of these.
    pub servers: &'static [usize],
    pub clients: usize,
    /// Entries after which a server takes a snapshot; `None`: as in production.
    pub snapshot_after: Option<u64>,
    pub story: Story,
}

impl Scenario {
    pub fn servers(&self, seed: u64) -> usize {
        let choice = usize::try_from(seed).unwrap_or(0) % self.servers.len().max(1);
        self.servers.get(choice).copied().unwrap_or(1)
    }
}

pub const ALL: &[Scenario] = &[Scenario {
    name: "first-job",
    about: "The walk-through's job runs, a container is killed, a machine loses power and returns.",
    servers: &[1],
    clients: 3,
    snapshot_after: None,
    story: |user| Box::pin(first_job::story(user)),
}];

pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

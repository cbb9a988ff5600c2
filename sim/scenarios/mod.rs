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
    pub clients: usize,
    pub story: Story,
}

pub const ALL: &[Scenario] = &[Scenario {
    name: "first-job",
    about: "The walk-through's job runs, a container is killed, a machine loses power and returns.",
    clients: 3,
    story: |user| Box::pin(first_job::story(user)),
}];

pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

//! Stories that every seed has to survive. Each is one async function: what the user does, what
//! fate does, and what must be true then.

/// A job file of the walk-through: its name, and what is in it.
macro_rules! job_file {
    ($name:literal) => {
        (
            concat!($name, ".nomad"),
            include_str!(concat!("../../docs/jobs/walkthrough/", $name, ".nomad")),
        )
    };
}

mod agent_restart;
mod beside_a_consul;
mod election;
mod everything;
mod first_job;
mod flapping_node;
mod follower_isolated;
mod leader_isolated;
mod locks;
mod lone_edge;
mod lose_quorum;
mod node_drain;
mod node_loss;
mod old_leader_restarts;
mod one_moves;
mod rolling_restart;
mod rolling_update;
mod snapshot_catch_up;
mod walkthrough;
mod web;

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
    /// What the story promises to visitors needs a network that loses nothing.
    pub good_network: bool,
    pub story: Story,
}

impl Scenario {
    /// Whether there is a Consul that isn't ours.
    pub fn consul(&self) -> bool {
        self.name == BESIDE_A_CONSUL
    }

    pub fn servers(&self, seed: u64) -> usize {
        // Mixed, for seeds that are chosen by scenario.
        let mixed = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let choice = usize::try_from(mixed).unwrap_or(0) % self.servers.len().max(1);
        self.servers.get(choice).copied().unwrap_or(1)
    }
}

const BESIDE_A_CONSUL: &str = "beside-a-consul";

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "first-job",
        about: "The walk-through's job runs, a container is killed, a machine loses power and returns.",
        servers: &[1],
        clients: 3,
        snapshot_after: None,
        good_network: true,
        story: |user| Box::pin(first_job::story(user)),
    },
    Scenario {
        name: "election",
        about: "The leader loses power, again and again; the others elect one and lose no write.",
        servers: &[3, 5],
        clients: 2,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(election::story(user)),
    },
    Scenario {
        name: "leader-isolated",
        about: "The leader is cut off; the others go on, and it promises nothing and answers nothing old.",
        servers: &[3, 5],
        clients: 2,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(leader_isolated::story(user)),
    },
    Scenario {
        name: "old-leader-restarts",
        about: "A leader that was cut off loses power while the new one's log takes the place of its own.",
        servers: &[3, 5],
        clients: 1,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(old_leader_restarts::story(user)),
    },
    Scenario {
        name: "follower-isolated-and-healed",
        about: "A follower is cut off and comes back; the leader stays the leader.",
        servers: &[3, 5],
        clients: 2,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(follower_isolated::story(user)),
    },
    Scenario {
        name: "rolling-restart",
        about: "Each server in turn is restarted; jobs and visitors notice nothing.",
        servers: &[3, 5],
        clients: 3,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(rolling_restart::story(user)),
    },
    Scenario {
        name: "rolling-update",
        about: "A service is updated, a bad version is taken back and a canary promoted; the leader dies meanwhile, and no request fails.",
        servers: &[3, 1],
        clients: 4,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(rolling_update::story(user)),
    },
    Scenario {
        name: "lose-quorum-and-recover",
        about: "Most servers lose power; nothing acknowledged is lost, and what ran runs on.",
        servers: &[3],
        clients: 2,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(lose_quorum::story(user)),
    },
    Scenario {
        name: "node-loss",
        about: "A machine loses power; it leaves DNS at once and is replaced soon.",
        servers: &[3],
        clients: 4,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(node_loss::story(user)),
    },
    Scenario {
        name: "node-drain",
        about: "A machine is emptied while visitors come; they notice nothing.",
        servers: &[1, 3],
        clients: 3,
        snapshot_after: None,
        good_network: true,
        story: |user| Box::pin(node_drain::story(user)),
    },
    Scenario {
        name: "one-instance-moves",
        about: "A service's only instance is stopped by a user, and its machine is emptied; visitors notice nothing.",
        servers: &[1, 3],
        clients: 3,
        snapshot_after: None,
        good_network: true,
        story: |user| Box::pin(one_moves::story(user)),
    },
    Scenario {
        name: "flapping-node",
        about: "A machine comes and goes; the others are never touched.",
        servers: &[3, 1],
        clients: 4,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(flapping_node::story(user)),
    },
    Scenario {
        name: "lone-edge",
        about: "An edge of its own loses its catalog and finds it again; requests go on.",
        servers: &[1, 3],
        clients: 3,
        snapshot_after: None,
        good_network: true,
        story: |user| Box::pin(lone_edge::story(user)),
    },
    Scenario {
        name: "snapshot-catch-up",
        about: "A follower is away for longer than the log is kept, and catches up.",
        servers: &[3],
        clients: 2,
        snapshot_after: Some(snapshot_catch_up::THRESHOLD),
        good_network: false,
        story: |user| Box::pin(snapshot_catch_up::story(user)),
    },
    Scenario {
        name: "agent-restart",
        about: "Agents die and start again; their containers are taken up.",
        servers: &[3, 1],
        clients: 3,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(agent_restart::story(user)),
    },
    Scenario {
        name: "walkthrough",
        about: "The text's eight job files on its three hosts; a container, a host and the leader die.",
        servers: &[3],
        clients: 0,
        snapshot_after: None,
        good_network: true,
        story: |user| Box::pin(walkthrough::story(user)),
    },
    Scenario {
        name: BESIDE_A_CONSUL,
        about: "Agents keep another's Consul told of what runs while it restarts, is cut off and forgets.",
        servers: &[1, 3],
        clients: 3,
        snapshot_after: None,
        good_network: true,
        story: |user| Box::pin(beside_a_consul::story(user)),
    },
    Scenario {
        name: "everything-at-once",
        about: "For a minute fate does what it likes, then all is as it should be.",
        servers: &[3, 1, 5],
        clients: 3,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(everything::story(user)),
    },
    Scenario {
        name: "locks",
        about: "Servers come and go, and a lock never has two holders.",
        servers: &[3, 5],
        clients: 2,
        snapshot_after: None,
        good_network: false,
        story: |user| Box::pin(locks::story(user)),
    },
];

pub fn find(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

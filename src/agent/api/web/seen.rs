//! What pages are made of: the state, the catalog and the cluster at one instant. Pages are pure
//! functions of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use logic::catalog::View;
use logic::config::AgentConfig;
use logic::membership::Known;
use logic::model::{Allocation, Evaluation, Job, Node};
use logic::state::{Store, Topic};
use logic::time::Time;
use serde_json::Value;

use super::super::query::Query;
use super::place::Place;
use crate::server::Peer;

/// Where this agent's own catalog is asked from its own host.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) http: SocketAddr,
    pub(super) dns: SocketAddr,
    pub(super) domain: String,
}

impl Doors {
    pub(super) fn of(config: &AgentConfig) -> Self {
        let near = match config.bind_addr {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let catalog = &config.catalog;
        Self {
            http: SocketAddr::new(near, catalog.http_port),
            dns: SocketAddr::new(near, catalog.dns_port),
            domain: catalog.domain.clone(),
        }
    }
}

/// Everything that a page may tell of.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) store: Arc<Store>,
    /// This agent's replica of the catalog: what its DNS and its edge answer from.
    pub(super) view: Arc<View>,
    pub(super) now: Time,
    pub(super) region: String,
    pub(super) datacenter: String,
    pub(super) doors: Doors,
    /// What marks a tag as a route.
    pub(super) tag_prefix: String,
    /// Everybody that gossip knows, by name.
    pub(super) members: Vec<Known>,
    pub(super) peers: Vec<Peer>,
    /// The id of the server that leads.
    pub(super) leader: Option<String>,
    /// What the node measures of the allocation or of itself; nothing if it doesn't answer.
    pub(super) usage: Option<Value>,
}

/// What of it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) place: Place,
    pub(super) query: Query,
}

impl Asked {
    /// The page of a long list, from 1.
    pub(super) fn page(&self) -> usize {
        let page = self.query.number("page").ok().flatten().unwrap_or(1);
        usize::try_from(page).unwrap_or(1).max(1)
    }
}

/// What of the state a page shows.
fn topics(place: &Place) -> &'static [Topic] {
    match place {
        Place::Keys(_) => &[Topic::Kv],
        Place::Services | Place::Routes | Place::Service(_) => {
            &[Topic::Catalog, Topic::Allocs, Topic::Nodes]
        }
        Place::Servers => &[Topic::Nodes],
        Place::Clients | Place::Client(_) => &[Topic::Nodes, Topic::Allocs],
        Place::Overview
        | Place::Jobs
        | Place::Job(_)
        | Place::JobAllocations(_)
        | Place::JobVersions(_)
        | Place::JobEvaluations(_)
        | Place::JobDefinition(_)
        | Place::JobDeployments(_)
        | Place::Allocation(_)
        | Place::Logs { .. }
        | Place::Evaluation(_)
        | Place::Search => &[
            Topic::Jobs,
            Topic::Nodes,
            Topic::Allocs,
            Topic::Evals,
            Topic::Deployments,
            Topic::Catalog,
        ],
    }
}

impl Seen {
    /// Differs whenever the page may look different, whichever server is asked.
    pub(super) fn stamp(&self, place: &Place) -> String {
        let index = topics(place)
            .iter()
            .map(|topic| self.store.index_of(*topic));
        let index = index.max().unwrap_or(0);
        let mut cluster = DefaultHasher::new();
        self.leader.hash(&mut cluster);
        for known in &self.members {
            let member = &known.member;
            (&member.id, &member.name, known.status.name()).hash(&mut cluster);
            (member.server, member.serf_address(), &member.version).hash(&mut cluster);
            (&member.region, &member.datacenter).hash(&mut cluster);
        }
        for peer in &self.peers {
            (&peer.id, &peer.name, &peer.address).hash(&mut cluster);
            (peer.leader, peer.voter).hash(&mut cluster);
        }
        super::assets::build().hash(&mut cluster);
        format!("{index}-{}-{:x}", self.view.index, cluster.finish())
    }

    /// A job by its id; newer anchors add the namespace to it.
    pub(super) fn job(&self, id: &str) -> Option<&Arc<Job>> {
        let bare = || self.store.job(id.strip_suffix("@default")?);
        self.store.job(id).or_else(bare)
    }

    pub(super) fn alloc(&self, id: &str) -> Option<&Arc<Allocation>> {
        let by_prefix = || only(id, self.store.allocs(), |alloc| &alloc.id);
        self.store.alloc(id).or_else(by_prefix)
    }

    pub(super) fn eval(&self, id: &str) -> Option<&Arc<Evaluation>> {
        let by_prefix = || only(id, self.store.evals(), |eval| &eval.id);
        self.store.eval(id).or_else(by_prefix)
    }

    /// A node by its id, a prefix of it, or its name.
    pub(super) fn node(&self, id: &str) -> Option<&Arc<Node>> {
        let by_name = || self.store.nodes().find(|node| node.name == id);
        let by_prefix = || only(id, self.store.nodes(), |node| &node.id);
        self.store.node(id).or_else(by_name).or_else(by_prefix)
    }

    /// Whether a leader is known.
    pub(super) fn led(&self) -> bool {
        self.leader.is_some()
    }
}

/// The one row whose id begins so.
fn only<'a, T>(
    prefix: &str,
    mut rows: impl Iterator<Item = &'a Arc<T>>,
    id: impl Fn(&T) -> &str,
) -> Option<&'a Arc<T>> {
    if prefix.len() < 4 {
        return None;
    }
    let found = rows.find(|row| id(row).starts_with(prefix))?;
    rows.all(|row| !id(row).starts_with(prefix))
        .then_some(found)
}

//! The HTTP APIs: requests to messages, state to JSON. Nothing is decided here.

pub mod forward;

use std::sync::Arc;

use logic::catalog::View;
use logic::config::AgentConfig;
use ports::World;
use tokio::sync::watch;

use crate::rpc::Rpc;
use crate::server::Server;

/// What the handlers of both APIs share. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub world: World,
    pub config: Arc<AgentConfig>,
    pub identity: Arc<Identity>,
    /// Set on agents that are servers; others pass requests on.
    pub server: Option<Server>,
    pub rpc: Rpc,
    /// This agent's replica of the catalog.
    pub view: watch::Receiver<Arc<View>>,
}

/// Who this agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node's id, the same in the catalog.
    pub node_id: String,
    pub name: String,
    /// The address others reach it at.
    pub address: std::net::IpAddr,
    /// Drover's own version.
    pub version: &'static str,
}

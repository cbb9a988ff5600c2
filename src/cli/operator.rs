//! `operator`: the servers as the replicated log knows them, how they are, and their snapshots.
//! Nomad's and Consul's commands are the same; each asks its own API.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::Value;

use super::api::{Health, RaftConfiguration, RaftServer, ServerHealth};
use super::connection::{Peer, Reach};
use super::exit::{Exit, Failure, Outcome};
use super::format::{pairs, table};
use super::http::{Client, RequestError, decode, escaped};
use super::keygen::Keygen;
use super::snapshot::SnapshotCommand;
use super::{format, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum OperatorCommand<R: Reach> {
    /// The servers as the replicated log knows them
    #[command(subcommand)]
    Raft(RaftCommand<R>),
    /// How the servers are
    #[command(subcommand)]
    Autopilot(AutopilotCommand<R>),
    /// The whole state as a file
    #[command(subcommand)]
    Snapshot(SnapshotCommand<R>),
    /// What agents say to each other
    #[command(subcommand)]
    Gossip(GossipCommand),
    #[command(hide = true)]
    Keygen(Keygen),
}

#[derive(Debug, Subcommand)]
pub(super) enum RaftCommand<R: Reach> {
    ListPeers(ListPeers<R>),
    RemovePeer(RemovePeer<R>),
}

#[derive(Debug, Subcommand)]
pub(super) enum AutopilotCommand<R: Reach> {
    Health(ShowHealth<R>),
    #[command(hide = true)]
    State(ShowHealth<R>),
    GetConfig(GetConfig<R>),
}

#[derive(Debug, Subcommand)]
pub(super) enum GossipCommand {
    /// The cluster's key
    #[command(subcommand)]
    Keyring(KeyringCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum KeyringCommand {
    Generate(Keygen),
}

impl<R: Reach> OperatorCommand<R> {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Raft(RaftCommand::ListPeers(command)) => command.run().await,
            Self::Raft(RaftCommand::RemovePeer(command)) => command.run().await,
            Self::Autopilot(AutopilotCommand::GetConfig(command)) => command.run().await,
            Self::Autopilot(
                AutopilotCommand::Health(command) | AutopilotCommand::State(command),
            ) => command.run().await,
            Self::Snapshot(command) => command.run().await,
            Self::Keygen(command)
            | Self::Gossip(GossipCommand::Keyring(KeyringCommand::Generate(command))) => {
                command.run()
            }
        }
    }
}

/// List the servers that vote, and which one leads
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover operator raft list-peers")]
pub(super) struct ListPeers<R: Reach> {
    /// The API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: R,
}

async fn print_json(client: &Client, path: &str) -> Result<Exit, Failure> {
    let answer: Value = client.get(path).await?;
    terminal::print(&format::json(&answer));
    Ok(Exit::Done)
}

impl<R: Reach> ListPeers<R> {
    async fn run(self) -> Outcome {
        let client = self.connection.reach()?;
        let failed = |failure: Failure| failure.during("Error getting peers");
        let path = "/v1/operator/raft/configuration";
        if self.json {
            return print_json(&client, path).await.map_err(failed);
        }
        let answer = client.get(path).await;
        let answer: RaftConfiguration = answer.map_err(|error| failed(error.into()))?;
        terminal::print(&render_peers(&answer.servers));
        Ok(Exit::Done)
    }
}

fn render_peers(servers: &[RaftServer]) -> String {
    let row = |server: &RaftServer| {
        let state = if server.leader { "leader" } else { "follower" };
        [
            server.node.clone(),
            server.id.clone(),
            server.address.clone(),
            state.to_owned(),
            server.voter.to_string(),
            server.raft_protocol.clone(),
        ]
    };
    let header = ["Node", "ID", "Address", "State", "Voter", "RaftProtocol"];
    table(header, servers.iter().map(row).collect())
}

/// Take a server that is gone for good out of the cluster
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover operator raft remove-peer -peer-id=275d3d25-5779-5535-7576-b07d2a4ce473
  $ drover operator raft remove-peer -peer-address=10.0.0.3:4647
  $ consul operator raft remove-peer -address=10.0.0.3:8300")]
pub(super) struct RemovePeer<R: Reach> {
    #[command(flatten)]
    peer: R::Peer,
    #[command(flatten)]
    connection: R,
}

impl<R: Reach> RemovePeer<R> {
    async fn run(self) -> Outcome {
        let client = self.connection.reach()?;
        let wanted = self.peer.wanted();
        let (kind, peer) = wanted.ok_or_else(|| Failure::new("which server is to be removed?"))?;
        let path = format!("/v1/operator/raft/peer?{kind}={}", escaped(peer));
        let removed = client.tell(Method::DELETE, &path).await;
        removed.map_err(|error| Failure::from(error).during("Error removing peer"))?;
        terminal::print(&format!("Removed peer with {kind} \"{peer}\""));
        Ok(Exit::Done)
    }
}

/// Show how each server is, and how many may fail
#[derive(Args, Debug)]
#[command(after_help = "Exits with 1 if the servers aren't healthy.

Example:
  $ drover operator autopilot health")]
pub(super) struct ShowHealth<R: Reach> {
    /// The API's answer as JSON
    #[arg(long)]
    json: bool,
    /// `pretty` or `json`
    #[arg(long, value_parser = ["pretty", "json"], hide = true)]
    format: Option<String>,
    #[command(flatten)]
    connection: R,
}

impl<R: Reach> ShowHealth<R> {
    async fn run(self) -> Outcome {
        let client = self.connection.reach()?;
        let failed = |failure: Failure| failure.during("Error querying health");
        let path = "/v1/operator/autopilot/health";
        let body = match client.bytes(Method::GET, path, Vec::new()).await {
            // The same answer, but for servers that aren't healthy.
            Err(RequestError::Status { code: 429, text }) => text.into(),
            answer => answer.map_err(|error| failed(error.into()))?,
        };
        let health: Health = decode(&body)
            .map_err(|error| failed(Failure::new(format!("unexpected answer: {error}"))))?;
        if self.json || self.format.as_deref() == Some("json") {
            let answer: Value = decode(&body).unwrap_or_default();
            terminal::print(&format::json(&answer));
        } else {
            terminal::print(&render_health(&health));
        }
        Ok(if health.healthy {
            Exit::Done
        } else {
            Exit::Failed
        })
    }
}

fn render_health(health: &Health) -> String {
    let facts = pairs(&[
        ("Healthy", health.healthy.to_string()),
        ("Failure Tolerance", health.failure_tolerance.to_string()),
    ]);
    if health.servers.is_empty() {
        return facts;
    }
    let row = |server: &ServerHealth| {
        let state = match (server.leader, server.voter) {
            (true, _) => "leader",
            (false, true) => "voter",
            (false, false) => "non-voter",
        };
        [
            server.name.clone(),
            server.id.clone(),
            server.address.clone(),
            server.serf_status.clone(),
            state.to_owned(),
            server.version.clone(),
            format::or_none(&server.last_contact),
            server.last_term.to_string(),
            server.last_index.to_string(),
            server.healthy.to_string(),
        ]
    };
    let header = [
        "Name",
        "ID",
        "Address",
        "Status",
        "State",
        "Version",
        "LastContact",
        "Term",
        "Index",
        "Healthy",
    ];
    let servers = table(header, health.servers.iter().map(row).collect());
    format!("{facts}\n\n{servers}")
}

/// Show what the servers do of themselves
#[derive(Args, Debug)]
pub(super) struct GetConfig<R: Reach> {
    /// The API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: R,
}

impl<R: Reach> GetConfig<R> {
    async fn run(self) -> Outcome {
        let client = self.connection.reach()?;
        let failed = |failure: Failure| failure.during("Error querying configuration");
        let path = "/v1/operator/autopilot/configuration";
        if self.json {
            return print_json(&client, path).await.map_err(failed);
        }
        let answer = client.get(path).await;
        let settings: Value = answer.map_err(|error| failed(error.into()))?;
        terminal::print(&render_settings(&settings));
        Ok(Exit::Done)
    }
}

fn render_settings(settings: &Value) -> String {
    let rows: Vec<_> = settings
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !name.ends_with("Index"))
        .map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), value)
        })
        .collect();
    pairs(&rows)
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;

    #[test]
    fn peers_look_as_the_anchors_show_them() {
        for (answer, output) in [
            (
                "nomad-api/GET_operator_raft_configuration.json",
                "10-nomad-raft-list-peers.out",
            ),
            (
                "consul-api/GET_operator_raft_configuration.json",
                "04-consul-raft-list-peers.out",
            ),
        ] {
            let (Some(answer), Some(expected)) = (
                golden::answer::<RaftConfiguration>(answer),
                golden::output(output),
            ) else {
                return;
            };
            assert_eq!(render_peers(&answer.servers), expected);
        }
    }

    #[test]
    fn what_the_servers_do_of_themselves_is_listed() {
        let path = "nomad-api/GET_operator_autopilot_configuration.json";
        let Some(settings) = golden::answer::<Value>(path) else {
            return;
        };
        let shown = render_settings(&settings);
        assert!(shown.contains("LastContactThreshold    = 200ms"), "{shown}");
        assert!(!shown.contains("Index"), "{shown}");
    }

    #[test]
    fn health_says_how_many_servers_may_fail() {
        let server = ServerHealth {
            id: "275d".to_owned(),
            name: "a.global".to_owned(),
            address: "10.0.0.1:4647".to_owned(),
            serf_status: "alive".to_owned(),
            version: "0.1.0".to_owned(),
            leader: true,
            voter: true,
            healthy: true,
            last_contact: "0s".to_owned(),
            last_term: 2,
            last_index: 20,
        };
        let gone = ServerHealth {
            name: "b.global".to_owned(),
            leader: false,
            healthy: false,
            serf_status: "failed".to_owned(),
            last_contact: String::new(),
            ..server.clone()
        };
        let health = Health {
            healthy: false,
            failure_tolerance: 0,
            servers: vec![server, gone],
        };
        let expected = "\
Healthy           = false
Failure Tolerance = 0

Name      ID    Address        Status  State   Version  LastContact  Term  Index  Healthy
a.global  275d  10.0.0.1:4647  alive   leader  0.1.0    0s           2     20     true
b.global  275d  10.0.0.1:4647  failed  voter   0.1.0    <none>       2     20     false";
        assert_eq!(render_health(&health), expected);
    }
}

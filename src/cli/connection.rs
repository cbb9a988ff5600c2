//! The flags of every command that talks to an agent, and what they come to.
//!
//! Commands that Nomad and Consul have alike are generic over [`Reach`]: whose API they ask.

use std::fmt::Debug;

use clap::Args;

use super::exit::Failure;
use super::http::Client;
use super::terminal::Style;

const NOMAD_PORT: u16 = 4646;
const CONSUL_PORT: u16 = 8500;

/// How the Nomad API is reached.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub(super) struct Connection {
    /// The agent's address [default: `$NOMAD_ADDR` or `http://127.0.0.1:4646`]
    #[arg(long, value_name = "ADDR")]
    address: Option<String>,
    /// The region to ask [default: `$NOMAD_REGION`]
    #[arg(long)]
    region: Option<String>,
    /// The namespace; there is only `default` [default: `$NOMAD_NAMESPACE`]
    #[arg(long)]
    namespace: Option<String>,
    /// An access token, for agents that want one [default: `$NOMAD_TOKEN`]
    #[arg(long)]
    token: Option<String>,
    /// Print without colours, as `NO_COLOR` does
    #[arg(long)]
    no_color: bool,
    #[command(flatten)]
    accepted: Accepted,
}

/// Nomad's flags for https, which isn't spoken yet: accepted, as they change nothing over http.
#[derive(Args, Clone, Debug, Default)]
struct Accepted {
    #[arg(long, hide = true, value_name = "FILE")]
    ca_cert: Option<String>,
    #[arg(long, hide = true, value_name = "DIR")]
    ca_path: Option<String>,
    #[arg(long, hide = true, value_name = "FILE")]
    client_cert: Option<String>,
    #[arg(long, hide = true, value_name = "FILE")]
    client_key: Option<String>,
    #[arg(long, hide = true, value_name = "NAME")]
    tls_server_name: Option<String>,
    #[arg(long, hide = true)]
    tls_skip_verify: bool,
    #[arg(long, hide = true)]
    force_color: bool,
}

/// What a flag says, or else an environment variable; empty counts as unsaid.
///
/// Not clap's own `env`: it would show flags that nobody has typed as part of the usage.
fn said(flag: Option<&String>, variable: &str) -> Option<String> {
    let flag = flag.cloned().filter(|text| !text.is_empty());
    flag.or_else(|| std::env::var(variable).ok().filter(|text| !text.is_empty()))
}

impl Connection {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let namespace = said(self.namespace.as_ref(), "NOMAD_NAMESPACE");
        if let Some(other) = namespace.filter(|name| !["default", "*"].contains(&name.as_str())) {
            let text = format!(
                "namespace `{other}`: namespaces other than `default` aren't supported yet"
            );
            return Err(Failure::new(text));
        }
        let address = said(self.address.as_ref(), "NOMAD_ADDR");
        let address = address.unwrap_or_else(|| format!("127.0.0.1:{NOMAD_PORT}"));
        Ok(Client::new(&address, NOMAD_PORT)?
            .with_param("region", said(self.region.as_ref(), "NOMAD_REGION"))
            .with_header("X-Nomad-Token", said(self.token.as_ref(), "NOMAD_TOKEN")))
    }

    pub(super) fn style(&self) -> Style {
        Style::detect(self.no_color)
    }
}

/// How the Consul API is reached.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Connection")]
pub(super) struct CatalogConnection {
    /// The agent's address [default: `$CONSUL_HTTP_ADDR` or `127.0.0.1:8500`]
    #[arg(long, value_name = "ADDR")]
    http_addr: Option<String>,
    /// An access token, for agents that want one [default: `$CONSUL_HTTP_TOKEN`]
    #[arg(long)]
    token: Option<String>,
    /// The datacenter to ask
    #[arg(long, value_name = "DC")]
    datacenter: Option<String>,
    /// Accept answers from any server
    #[arg(long)]
    stale: bool,
}

impl CatalogConnection {
    pub(super) fn client(&self) -> Result<Client, Failure> {
        let address = said(self.http_addr.as_ref(), "CONSUL_HTTP_ADDR");
        let address = address.unwrap_or_else(|| format!("127.0.0.1:{CONSUL_PORT}"));
        Ok(Client::new(&address, CONSUL_PORT)?
            .with_param("dc", self.datacenter.clone())
            .with_param("stale", self.stale.then(|| "true".to_owned()))
            .with_header(
                "X-Consul-Token",
                said(self.token.as_ref(), "CONSUL_HTTP_TOKEN"),
            ))
    }
}

/// One of the two APIs, for commands that both programs have.
pub(super) trait Reach: Args + Clone + Debug {
    /// How the command line names one of the servers.
    type Peer: Peer;
    /// Where the API has its snapshots.
    const SNAPSHOT: &'static str;

    fn reach(&self) -> Result<Client, Failure>;
}

pub(super) trait Peer: Args + Debug {
    /// The query's parameter and its value.
    fn wanted(&self) -> Option<(&'static str, &str)>;
}

/// How operators reach the Nomad API.
#[derive(Args, Clone, Debug)]
pub(super) struct OperatorConnection {
    /// Accept an answer from any server, even if none leads
    #[arg(long)]
    stale: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Reach for OperatorConnection {
    type Peer = NomadPeer;
    const SNAPSHOT: &'static str = "/v1/operator/snapshot";

    fn reach(&self) -> Result<Client, Failure> {
        let stale = self.stale.then(|| "true".to_owned());
        Ok(self.connection.client()?.with_param("stale", stale))
    }
}

impl Reach for CatalogConnection {
    type Peer = ConsulPeer;
    const SNAPSHOT: &'static str = "/v1/snapshot";

    fn reach(&self) -> Result<Client, Failure> {
        self.client()
    }
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct NomadPeer {
    /// The server's id
    #[arg(long, value_name = "ID")]
    peer_id: Option<String>,
    /// The server's address, IP:PORT
    #[arg(long, value_name = "ADDR")]
    peer_address: Option<String>,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
pub(super) struct ConsulPeer {
    /// The server's id
    #[arg(long, alias = "peer-id", value_name = "ID")]
    id: Option<String>,
    /// The server's address, IP:PORT
    #[arg(long, alias = "peer-address", value_name = "ADDR")]
    address: Option<String>,
}

fn id_or_address<'p>(
    id: Option<&'p String>,
    address: Option<&'p String>,
) -> Option<(&'static str, &'p str)> {
    let id = id.map(|id| ("id", id.as_str()));
    id.or_else(|| address.map(|address| ("address", address.as_str())))
}

impl Peer for NomadPeer {
    fn wanted(&self) -> Option<(&'static str, &str)> {
        id_or_address(self.peer_id.as_ref(), self.peer_address.as_ref())
    }
}

impl Peer for ConsulPeer {
    fn wanted(&self) -> Option<(&'static str, &str)> {
        id_or_address(self.id.as_ref(), self.address.as_ref())
    }
}

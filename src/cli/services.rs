//! Consul's `services register` and `deregister`, `maint` and `leave`: what an agent is told about
//! its own node.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Method;
use logic::registry::{NODE_MAINTENANCE, SERVICE_MAINTENANCE};
use serde_json::{Map, Value, json};

use super::connection::CatalogConnection;
use super::exit::{Exit, Failure, Outcome};
use super::http::{Client, escaped};
use super::terminal;

#[derive(Debug, Subcommand)]
pub(super) enum ServicesCommand {
    Register(Register),
    Deregister(Deregister),
}

impl ServicesCommand {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Register(command) => command.run().await,
            Self::Deregister(command) => command.run().await,
        }
    }
}

/// Register services at the agent
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ consul services register web.json
  $ consul services register -name=web -port=80 -tag=urlprefix-example.org/")]
pub(super) struct Register {
    /// Files in JSON or HCL with `service` in them
    files: Vec<PathBuf>,
    #[arg(long)]
    name: Option<String>,
    #[arg(long)]
    id: Option<String>,
    #[arg(long)]
    address: Option<String>,
    #[arg(long)]
    port: Option<u16>,
    /// May be repeated
    #[arg(long)]
    tag: Vec<String>,
    /// KEY=VALUE; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    meta: Vec<String>,
    #[command(flatten)]
    connection: CatalogConnection,
}

/// The services that files have.
fn read(files: &[PathBuf]) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for file in files {
        let at = |why: &dyn std::fmt::Display| Failure::new(format!("{}: {why}", file.display()));
        let text = std::fs::read_to_string(file).map_err(|error| at(&error))?;
        let services = jobspec::consul_config::services(&file.display().to_string(), &text);
        let services = services.map_err(Failure::new)?;
        found.extend(services);
    }
    Ok(found)
}

fn text<'v>(service: &'v Value, names: &[&str]) -> &'v str {
    let mut found = names.iter().filter_map(|name| service[name].as_str());
    found.next().unwrap_or_default()
}

impl Register {
    fn by_flags(&self, name: &str) -> Result<Value, Failure> {
        let mut meta = Map::new();
        for pair in &self.meta {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::new(format!("-meta {pair}: write KEY=VALUE")))?;
            meta.insert(key.to_owned(), json!(value));
        }
        Ok(json!({
            "Name": name,
            "ID": self.id,
            "Address": self.address,
            "Port": self.port,
            "Tags": self.tag,
            "Meta": meta,
        }))
    }

    async fn run(self) -> Outcome {
        let services = match &self.name {
            Some(_) if !self.files.is_empty() => {
                return Err(Failure::new("either files or -name: not both"));
            }
            Some(name) => vec![self.by_flags(name)?],
            None if self.files.is_empty() => {
                return Err(Failure::new("name a file, or a service with -name"));
            }
            None => read(&self.files)?,
        };
        let client = self.connection.client()?;
        for service in services {
            let body =
                serde_json::to_vec(&service).map_err(|error| Failure::new(error.to_string()))?;
            let path = "/v1/agent/service/register";
            let registered = client.bytes(Method::PUT, path, body).await;
            registered.map_err(|error| Failure::from(error).during("Error registering"))?;
            let name = text(&service, &["Name", "name"]);
            terminal::print(&format!("Registered service: {name}"));
        }
        Ok(Exit::Done)
    }
}

/// Take services off the agent that were registered there
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ consul services deregister -id=web
  $ consul services deregister web.json")]
pub(super) struct Deregister {
    /// Files in JSON or HCL with `service` in them
    files: Vec<PathBuf>,
    /// The service's id
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    connection: CatalogConnection,
}

impl Deregister {
    async fn run(self) -> Outcome {
        let ids: Vec<String> = match &self.id {
            Some(_) if !self.files.is_empty() => {
                return Err(Failure::new("either files or -id: not both"));
            }
            Some(id) => vec![id.clone()],
            None if self.files.is_empty() => {
                return Err(Failure::new("name a file, or a service with -id"));
            }
            None => read(&self.files)?
                .iter()
                .map(|service| text(service, &["ID", "id", "Name", "name"]).to_owned())
                .collect(),
        };
        let client = self.connection.client()?;
        for id in ids {
            let path = format!("/v1/agent/service/deregister/{}", escaped(&id));
            let gone = client.tell(Method::PUT, &path).await;
            gone.map_err(|error| Failure::from(error).during("Error deregistering"))?;
            terminal::print(&format!("Deregistered service: {id}"));
        }
        Ok(Exit::Done)
    }
}

/// Take the node or one of its services out of service for a while
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ consul maint
  $ consul maint -enable -reason=\"new disks\"
  $ consul maint -disable -service=web")]
pub(super) struct Maint {
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    #[arg(long)]
    disable: bool,
    /// For people to read
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// The service's id; without it, the whole node
    #[arg(long, value_name = "ID")]
    service: Option<String>,
    #[command(flatten)]
    connection: CatalogConnection,
}

impl Maint {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        if !self.enable && !self.disable {
            return tell_maintenance(&client).await;
        }
        let place = self.service.as_ref().map_or_else(
            || "/v1/agent/maintenance".to_owned(),
            |id| format!("/v1/agent/service/maintenance/{}", escaped(id)),
        );
        let reason = escaped(&self.reason);
        let path = format!("{place}?enable={}&reason={reason}", self.enable);
        client
            .tell(Method::PUT, &path)
            .await
            .map_err(Failure::from)?;
        let what = self
            .service
            .map_or_else(|| "Node".to_owned(), |id| format!("Service {id}"));
        let now = if self.enable { "now" } else { "no longer" };
        terminal::print(&format!("{what} is {now} in maintenance mode"));
        Ok(Exit::Done)
    }
}

/// What is in maintenance at this agent.
async fn tell_maintenance(client: &Client) -> Outcome {
    let checks: Map<String, Value> = client
        .get("/v1/agent/checks")
        .await
        .map_err(Failure::from)?;
    for check in checks.values() {
        let id = check["CheckID"].as_str().unwrap_or_default();
        let reason = check["Notes"].as_str().unwrap_or_default();
        if id == NODE_MAINTENANCE {
            let node = check["Node"].as_str().unwrap_or_default();
            terminal::print(&format!("Node:\n  Name:   {node}\n  Reason: {reason}\n"));
        } else if let Some(service) = id.strip_prefix(SERVICE_MAINTENANCE) {
            terminal::print(&format!(
                "Service:\n  ID:     {service}\n  Reason: {reason}\n"
            ));
        }
    }
    Ok(Exit::Done)
}

/// Let the agent say goodbye to the cluster, and end
#[derive(Args, Debug)]
pub(super) struct Leave {
    #[command(flatten)]
    connection: CatalogConnection,
}

impl Leave {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let left = client.tell(Method::PUT, "/v1/agent/leave").await;
        left.map_err(|error| Failure::from(error).during("Error leaving"))?;
        terminal::print("Graceful leave complete");
        Ok(Exit::Done)
    }
}

/// Have the agent read its configuration again
///
/// Services and checks, DNS and the log's level change at once; the log tells what has to wait for
/// a restart. With a mistake in a file everything stays as it is.
#[derive(Args, Debug)]
pub(super) struct Reload {
    #[command(flatten)]
    connection: CatalogConnection,
}

impl Reload {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let reloaded = client.tell(Method::PUT, "/v1/agent/reload").await;
        reloaded.map_err(|error| Failure::from(error).during("Error reloading"))?;
        terminal::print("Configuration reload triggered");
        Ok(Exit::Done)
    }
}

/// Look whether configuration files make sense
#[derive(Args, Debug)]
pub(super) struct Validate {
    /// Files, or folders of *.hcl and *.json files
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Say nothing if they do
    #[arg(long)]
    quiet: bool,
}

impl Validate {
    pub(super) fn run(self) -> Outcome {
        let mut config = logic::config::AgentConfig::default();
        let warnings = super::agent::read_consul_files(&mut config, &self.paths)
            .map_err(|error| Failure::new(format!("Config validation failed: {error:#}")))?;
        for warning in warnings {
            terminal::complain(&format!("warning: {warning}"));
        }
        if !self.quiet {
            terminal::print("Configuration is valid!");
        }
        Ok(Exit::Done)
    }
}

//! Consul's part: `members`, and `catalog` with its nodes, services and datacenters.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::api::{CatalogMember, CatalogNode, ServicesOfNode};
use super::connection::CatalogConnection;
use super::exit::{Exit, Failure, Outcome};
use super::format::columns;
use super::http::{Client, RequestError, escaped};
use super::{format, terminal};

/// List the members of the cluster
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover members")]
pub(super) struct Members {
    /// Show each member's tags
    #[arg(long)]
    detailed: bool,
    /// Accepted: there is one network only
    #[arg(long, hide = true)]
    wan: bool,
    /// The API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: CatalogConnection,
}

#[derive(Debug, Subcommand)]
pub(super) enum CatalogCommand {
    Services(Services),
    Nodes(Nodes),
    Datacenters(Datacenters),
}

impl CatalogCommand {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Services(command) => command.run().await,
            Self::Nodes(command) => command.run().await,
            Self::Datacenters(command) => command.run().await,
        }
    }
}

/// List services
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover catalog services -tags
  $ drover catalog services -node dxnode1")]
pub(super) struct Services {
    /// Only those on this node: its name or id
    #[arg(long)]
    node: Option<String>,
    /// Show each service's tags
    #[arg(long)]
    tags: bool,
    /// The API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: CatalogConnection,
}

/// List nodes
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover catalog nodes
  $ drover catalog nodes -service httpbackend")]
pub(super) struct Nodes {
    /// Only those with an instance of this service
    #[arg(long)]
    service: Option<String>,
    /// Full ids, all addresses and metadata
    #[arg(long)]
    detailed: bool,
    /// The API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: CatalogConnection,
}

/// List datacenters
#[derive(Args, Debug)]
pub(super) struct Datacenters {
    /// The API's answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: CatalogConnection,
}

async fn print_json(client: &Client, path: &str) -> Result<Exit, RequestError> {
    let answer: Value = client.get(path).await?;
    terminal::print(&format::json(&answer));
    Ok(Exit::Done)
}

impl Members {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let failed = |error| Failure::from(error).during("Error retrieving members");
        let path = "/v1/agent/members";
        if self.json {
            return print_json(&client, path).await.map_err(failed);
        }
        let members: Vec<CatalogMember> = client.get(path).await.map_err(failed)?;
        terminal::print(&render_members(&members, self.detailed));
        Ok(Exit::Done)
    }
}

fn render_members(members: &[CatalogMember], detailed: bool) -> String {
    let mut header = vec!["Node", "Address", "Status"];
    if detailed {
        header.push("Tags");
    } else {
        header.extend(["Type", "Build", "Protocol", "DC", "Segment"]);
    }
    let mut rows = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for member in members {
        let tag = |name: &str| member.tags.get(name).map_or("", String::as_str);
        let mut row = vec![
            member.name.clone(),
            format!("{}:{}", member.addr, member.port),
            member_status(member.status).to_owned(),
        ];
        if detailed {
            let tags = member.tags.iter();
            let tags: Vec<_> = tags
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            row.push(tags.join(","));
        } else {
            let server = tag("role") == "consul";
            let build = tag("build");
            let build = build.split_once(':').map_or(build, |(version, _)| version);
            let segment = match (server, tag("segment")) {
                (true, _) => "<all>",
                (false, "") => "<default>",
                (false, segment) => segment,
            };
            let kind = if server { "server" } else { "client" };
            let cells = [kind, build, tag("vsn"), tag("dc"), segment];
            row.extend(cells.map(str::to_owned));
        }
        rows.push(row);
    }
    columns(&rows)
}

fn member_status(number: u8) -> &'static str {
    match number {
        0 => "none",
        1 => "alive",
        2 => "leaving",
        3 => "left",
        4 => "failed",
        _ => "unknown",
    }
}

impl Services {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let failed = |error| Failure::from(error).during("Error listing services");
        let path = match &self.node {
            None => "/v1/catalog/services".to_owned(),
            Some(node) => format!("/v1/catalog/node/{}", escaped(node)),
        };
        if self.json {
            return print_json(&client, &path).await.map_err(failed);
        }
        let services = if self.node.is_some() {
            // `null` for an unknown node.
            let node: Option<ServicesOfNode> = client.get(&path).await.map_err(failed)?;
            by_name(node.unwrap_or_default())
        } else {
            client.get(&path).await.map_err(failed)?
        };
        terminal::print(&render_services(&services, self.tags));
        Ok(Exit::Done)
    }
}

/// Tags by service name.
type Tags = BTreeMap<String, Vec<String>>;

fn by_name(node: ServicesOfNode) -> Tags {
    let mut services = Tags::new();
    for instance in node.services.into_values() {
        services
            .entry(instance.service)
            .or_default()
            .extend(instance.tags);
    }
    services
}

fn render_services(services: &Tags, tags: bool) -> String {
    if services.is_empty() {
        return "No services match the given query - try expanding your search.".to_owned();
    }
    let row = |(name, tags): (&String, &Vec<String>)| {
        let mut tags = tags.clone();
        tags.sort();
        tags.dedup();
        [name.clone(), tags.join(",")]
    };
    if tags {
        columns(&services.iter().map(row).collect::<Vec<_>>())
    } else {
        services.keys().cloned().collect::<Vec<_>>().join("\n")
    }
}

impl Nodes {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let failed = |error| Failure::from(error).during("Error listing nodes");
        let path = match &self.service {
            None => "/v1/catalog/nodes".to_owned(),
            Some(service) => format!("/v1/catalog/service/{}", escaped(service)),
        };
        if self.json {
            return print_json(&client, &path).await.map_err(failed);
        }
        let mut nodes: Vec<CatalogNode> = client.get(&path).await.map_err(failed)?;
        // A service's answer has an entry for each instance.
        nodes.sort_by(|a, b| a.node.cmp(&b.node));
        nodes.dedup_by(|a, b| a.node == b.node);
        terminal::print(&render_nodes(&nodes, self.detailed));
        Ok(Exit::Done)
    }
}

fn render_nodes(nodes: &[CatalogNode], detailed: bool) -> String {
    if nodes.is_empty() {
        return "No nodes match the given query - try expanding your search.".to_owned();
    }
    let listed = |map: &BTreeMap<String, String>| {
        let entries: Vec<_> = map
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        entries.join(", ")
    };
    let row = |node: &CatalogNode| {
        let first = [
            node.node.clone(),
            format::shown_id(&node.id, detailed),
            node.address.clone(),
            node.datacenter.clone(),
        ];
        let mut row = first.to_vec();
        if detailed {
            row.extend([listed(&node.tagged_addresses), listed(&node.meta)]);
        }
        row
    };
    let mut header = vec!["Node", "ID", "Address", "DC"];
    if detailed {
        header.extend(["TaggedAddresses", "Meta"]);
    }
    let mut rows = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    rows.extend(nodes.iter().map(row));
    columns(&rows)
}

impl Datacenters {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let failed = |error| Failure::from(error).during("Error listing datacenters");
        let path = "/v1/catalog/datacenters";
        if self.json {
            return print_json(&client, path).await.map_err(failed);
        }
        let names: Vec<String> = client.get(path).await.map_err(failed)?;
        terminal::print(&names.join("\n"));
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::super::golden;
    use super::*;

    #[test]
    fn members_look_as_the_anchor_shows_them() {
        let (Some(members), Some(expected)) = (
            golden::answer::<Vec<CatalogMember>>("consul-api/GET_agent_members.json"),
            golden::output("03-consul-members.out"),
        ) else {
            return;
        };
        assert_eq!(render_members(&members, false), expected);
    }

    #[test]
    fn services_and_nodes_look_as_the_anchor_shows_them() {
        let (Some(services), Some(nodes), Some(expected)) = (
            golden::answer::<Tags>("consul-api/GET_catalog_services.json"),
            golden::answer::<Vec<CatalogNode>>("consul-api/GET_catalog_nodes.json"),
            golden::output("72-catalog-services.out"),
        ) else {
            return;
        };
        let both = [
            render_services(&services, false),
            render_nodes(&nodes, false),
        ];
        assert_eq!(both.join("\n"), expected);
    }

    #[test]
    fn tags_are_sorted_and_told_once() {
        let services = Tags::from([
            (
                "web".to_owned(),
                vec!["b".to_owned(), "a".to_owned(), "b".to_owned()],
            ),
            ("consul".to_owned(), Vec::new()),
        ]);
        assert_eq!(render_services(&services, true), "consul\nweb     a,b");
        assert_eq!(
            render_services(&Tags::new(), false),
            "No services match the given query - try expanding your search."
        );
    }
}

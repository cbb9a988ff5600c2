//! Consul's `/v1/catalog/register` and `/v1/catalog/deregister`: what is written into the catalog
//! directly, of machines that run no agent.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jobspec::{Fields, Wrong, registration};
use logic::model::{CHECK_CRITICAL, CatalogNode, Check, External, Withdrawal};
use logic::registry::status_named;
use logic::state::Command;

use super::errors::Failure;
use super::query::Query;
use super::{Api, consul_register};

fn wanted(fields: &Fields, datacenter: &str) -> Result<External, Wrong> {
    let node = fields.text("Node")?;
    if node.is_empty() {
        return Err("Must provide node and address".to_owned());
    }
    let service = match fields.object("Service")? {
        None => None,
        Some(service) => Some(registration::service(&service)?.0),
    };
    let mut checks = Vec::new();
    for field in ["Check", "Checks"] {
        for check in fields.objects(field)? {
            checks.push(self::check(&check, &node)?);
        }
    }
    Ok(External {
        node: CatalogNode {
            id: fields.text("ID")?,
            address: fields.text("Address")?,
            datacenter: datacenter.to_owned(),
            meta: fields.map("NodeMeta")?,
            tagged_addresses: fields.map("TaggedAddresses")?,
            node,
            ..CatalogNode::default()
        },
        keep_node: fields.flag("SkipNodeUpdate")?,
        service,
        checks,
    })
}

fn check(fields: &Fields, node: &str) -> Result<Check, Wrong> {
    let of_node = fields.text("Node")?;
    if !of_node.is_empty() && of_node != node {
        return Err(format!(
            "a check of node {of_node} in a registration of {node}"
        ));
    }
    let (id, name) = (fields.text("CheckID")?, fields.text("Name")?);
    if id.is_empty() && name.is_empty() {
        return Err("a check needs a CheckID or a Name".to_owned());
    }
    let status = match fields.text("Status")?.as_str() {
        "" => CHECK_CRITICAL,
        named => status_named(named).ok_or_else(|| format!("Bad check status \"{named}\""))?,
    };
    Ok(Check {
        check_id: if id.is_empty() { name.clone() } else { id },
        name,
        status: status.to_owned(),
        notes: fields.text("Notes")?,
        output: fields.text("Output")?,
        service_id: fields.text("ServiceID")?,
        r#type: fields.text("Type")?,
        ..Check::default()
    })
}

/// What a body says, if it is meant for this datacenter: registrations name theirs there.
fn ours(api: &Api, body: &[u8]) -> Result<Fields, Failure> {
    let fields = Fields::parse(body).map_err(Failure::bad_request)?;
    let named = fields.text("Datacenter").map_err(Failure::bad_request)?;
    if named.is_empty() || named == api.config.datacenter {
        return Ok(fields);
    }
    let status = StatusCode::INTERNAL_SERVER_ERROR;
    Err(Failure::new(status, "No path to datacenter"))
}

pub(super) async fn register(
    State(api): State<Api>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    let fields = ours(&api, &body)?;
    let external = wanted(&fields, &api.config.datacenter).map_err(Failure::bad_request)?;
    if let Some(service) = &external.service {
        consul_register::takes_no_route(&api, service)?;
    }
    let external = Box::new(external);
    api.propose(Command::RegisterExternal { external }).await?;
    Ok(query.json(&true))
}

fn gone(fields: &Fields) -> Result<Withdrawal, Wrong> {
    let node = fields.text("Node")?;
    if node.is_empty() {
        return Err("Must provide node".to_owned());
    }
    Ok(Withdrawal {
        node,
        service_id: fields.text("ServiceID")?,
        check_id: fields.text("CheckID")?,
    })
}

pub(super) async fn deregister(
    State(api): State<Api>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    let fields = ours(&api, &body)?;
    let gone = gone(&fields).map_err(Failure::bad_request)?;
    api.propose(Command::WithdrawExternal { gone }).await?;
    Ok(query.json(&true))
}

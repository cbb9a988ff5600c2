//! The HTTP APIs: requests to messages, state to JSON. Nothing is decided here.

mod agent;
mod agent_self;
mod alloc_files;
mod alloc_logs;
mod alloc_services;
mod allocations;
mod client_fs;
mod client_stats;
mod cluster;
mod consul_about;
mod consul_agent;
mod consul_catalog;
mod consul_event;
mod consul_external;
mod consul_filter;
mod consul_health;
mod consul_json;
mod consul_kv;
mod consul_local;
mod consul_monitor;
mod consul_register;
mod consul_self;
mod consul_session;
mod consul_txn;
mod deployments;
mod errors;
mod evaluations;
mod filter_words;
pub mod forward;
mod history;
mod job;
mod jobs;
mod json;
mod node_drain;
mod node_proxy;
mod nodes;
mod operator;
mod plan;
mod query;
mod snapshots;
mod web;

use std::sync::Arc;

use actix::Addr;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::routing::{any, get, put};
use logic::catalog::View;
use logic::config::AgentConfig;
use logic::state::{Command, Reply};
use ports::World;
use tokio::sync::Notify;

use crate::catalog::Local;
use crate::gossip::Gossip;
use crate::published::Subscriber;
use crate::registry::Registry;
use crate::rpc::{ApiKind, Rpc};
use crate::server::{Propose, ProposeError, Server};
use crate::wishes::Owner;
use errors::Failure;

/// No request's body is larger.
const BODY_MAX: usize = 8 << 20;

/// The versions of the anchors whose APIs these are: clients choose their ways by them.
const NOMAD_VERSION: &str = "0.8.7";
pub(crate) const CONSUL_VERSION: &str = "1.8.7";

/// What the handlers of both APIs share. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub world: World,
    pub config: Arc<AgentConfig>,
    pub identity: Arc<Identity>,
    /// Set on agents that are servers; others pass requests on.
    pub server: Option<Server>,
    pub gossip: Gossip,
    pub rpc: Rpc,
    /// This agent's replica of the catalog.
    pub view: Subscriber<Arc<View>>,
    /// What this node offers.
    pub local: Subscriber<Arc<Local>>,
    pub registry: Addr<Registry>,
    /// Notified when the agent is asked to leave.
    pub leaving: Arc<Notify>,
    pub owner: Owner,
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

impl Api {
    fn server(&self) -> Result<&Server, Failure> {
        self.server
            .as_ref()
            .ok_or_else(|| Failure::no_leader("this agent is no server"))
    }

    /// Proposes a change; returns when it is durable and applied, with the index it happened at.
    async fn propose(&self, command: Command) -> Result<(u64, Reply), Failure> {
        match self.server()?.consensus.send(Propose(command)).await {
            Ok(Ok(applied)) => Ok((applied.index, applied.reply)),
            Ok(Err(ProposeError::Refused(refusal))) => Err(refusal.into()),
            Ok(Err(ProposeError::NoLeader(reason))) => Err(Failure::no_leader(&reason)),
            Ok(Err(error @ ProposeError::TooLarge(_))) => {
                let status = StatusCode::PAYLOAD_TOO_LARGE;
                Err(Failure::new(status, error.to_string()))
            }
            Ok(Err(error @ ProposeError::Log(_))) => Err(Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string(),
            )),
            Err(_) => {
                let text = "the server is stopping";
                Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, text))
            }
        }
    }

    /// `address:port` of one of this agent's listeners, as others reach it.
    fn at(&self, port: u16) -> String {
        std::net::SocketAddr::new(self.identity.address, port).to_string()
    }
}

/// The Nomad API.
pub fn nomad(api: Api) -> Router {
    let of_servers = Router::new()
        .route(
            "/v1/jobs",
            get(jobs::list).put(jobs::register).post(jobs::register),
        )
        .route("/v1/jobs/parse", put(jobs::parse).post(jobs::parse))
        .route("/v1/validate/job", put(jobs::validate).post(jobs::validate))
        .route("/v1/job/{*rest}", any(job::handle))
        .merge(of_allocations())
        .route("/v1/evaluations", get(evaluations::list))
        .route("/v1/evaluation/{id}", get(evaluations::show))
        .route(
            "/v1/evaluation/{id}/allocations",
            get(evaluations::allocations),
        )
        .merge(of_deployments())
        .route("/v1/nodes", get(nodes::list))
        .route("/v1/node/{id}", get(nodes::show))
        .route("/v1/node/{id}/allocations", get(nodes::allocations))
        .route(
            "/v1/node/{id}/eligibility",
            put(nodes::set_eligibility).post(nodes::set_eligibility),
        )
        .route(
            "/v1/node/{id}/drain",
            put(node_drain::set_drain).post(node_drain::set_drain),
        )
        .route(
            "/v1/system/gc",
            put(operator::collect_garbage).post(operator::collect_garbage),
        )
        .route("/v1/agent/members", get(agent::members))
        .route("/v1/regions", get(agent::regions))
        .merge(operator::routes(ApiKind::Nomad))
        .route("/v1/operator/snapshot", snapshots::route(ApiKind::Nomad))
        .route_layer(from_fn_with_state(
            (api.clone(), ApiKind::Nomad),
            forward::to_server,
        ));
    let of_any_agent = Router::new()
        .route("/v1/agent/self", get(agent_self::own))
        .route("/v1/agent/health", get(agent::health))
        .route("/v1/agent/servers", get(agent::servers))
        .route("/v1/agent/join", put(agent::join).post(agent::join))
        .route(
            "/v1/agent/force-leave",
            put(agent::force_leave).post(agent::force_leave),
        )
        .route("/v1/client/stats", get(client_stats::node))
        .route(
            "/v1/client/allocation/{id}/stats",
            get(client_stats::allocation),
        )
        .route("/v1/client/fs/logs/{id}", get(client_fs::logs))
        .route("/v1/client/fs/ls/{id}", get(alloc_files::list))
        .route("/v1/client/fs/stat/{id}", get(alloc_files::stat))
        .route("/v1/client/fs/cat/{id}", get(alloc_files::cat))
        .route("/v1/client/fs/readat/{id}", get(alloc_files::read_at));
    finish(
        of_servers
            .merge(of_any_agent)
            .merge(web::router(ApiKind::Nomad))
            .merge(not_yet(&NOMAD_LATER)),
        api,
    )
}

fn of_allocations() -> Router<Api> {
    Router::new()
        .route("/v1/allocations", get(allocations::list))
        .route("/v1/allocation/{id}", get(allocations::show))
        .route("/v1/allocation/{id}/services", get(alloc_services::list))
        .route("/v1/allocation/{id}/checks", get(alloc_services::checks))
        .route(
            "/v1/client/allocation/{id}/checks",
            get(alloc_services::checks),
        )
        .route(
            "/v1/allocation/{id}/stop",
            put(node_drain::stop_alloc).post(node_drain::stop_alloc),
        )
}

fn of_deployments() -> Router<Api> {
    Router::new()
        .route("/v1/deployments", get(deployments::list))
        .route("/v1/deployment/{id}", get(deployments::show))
        .route(
            "/v1/deployment/allocations/{id}",
            get(deployments::allocations),
        )
        .route(
            "/v1/deployment/fail/{id}",
            put(deployments::fail).post(deployments::fail),
        )
        .route(
            "/v1/deployment/pause/{id}",
            put(deployments::pause).post(deployments::pause),
        )
        .route(
            "/v1/deployment/promote/{id}",
            put(deployments::promote).post(deployments::promote),
        )
        .route(
            "/v1/deployment/allocation-health/{id}",
            put(deployments::set_health).post(deployments::set_health),
        )
}

/// The Consul API.
pub fn consul(api: Api) -> Router {
    let of_servers = consul_of_servers().route_layer(from_fn_with_state(
        (api.clone(), ApiKind::Consul),
        forward::to_server,
    ));
    let of_any_agent = Router::new()
        .route("/v1/agent/self", get(consul_self::own))
        .route("/v1/agent/services", get(consul_local::services))
        .route("/v1/agent/checks", get(consul_local::checks))
        .route("/v1/agent/service/{id}", get(consul_local::service))
        .route(
            "/v1/agent/health/service/id/{id}",
            get(consul_local::health_by_id),
        )
        .route(
            "/v1/agent/health/service/name/{name}",
            get(consul_local::health_by_name),
        )
        .merge(consul_register::routes())
        .merge(consul_about::routes())
        .route("/v1/session/create", put(consul_session::create))
        .route("/v1/event/list", get(consul_event::list))
        .route("/v1/agent/join/{address}", put(consul_agent::join))
        .route(
            "/v1/agent/force-leave/{node}",
            put(consul_agent::force_leave),
        );
    finish(
        of_servers
            .merge(of_any_agent)
            .merge(web::router(ApiKind::Consul))
            .merge(not_yet(&CONSUL_LATER)),
        api,
    )
}

/// What only a server can answer.
fn consul_of_servers() -> Router<Api> {
    Router::new()
        .route("/v1/catalog/datacenters", get(consul_catalog::datacenters))
        .route("/v1/catalog/nodes", get(consul_catalog::nodes))
        .route("/v1/catalog/services", get(consul_catalog::services))
        .route("/v1/catalog/service/{name}", get(consul_catalog::service))
        .route("/v1/catalog/node/{node}", get(consul_catalog::node))
        .route("/v1/health/service/{name}", get(consul_health::service))
        .route("/v1/catalog/connect/{name}", get(consul_about::no_mesh))
        .route("/v1/health/connect/{name}", get(consul_about::no_mesh))
        .route("/v1/health/ingress/{name}", get(consul_about::no_mesh))
        .route("/v1/health/state/{state}", get(consul_health::state))
        .route("/v1/health/node/{node}", get(consul_health::node))
        .route("/v1/health/checks/{service}", get(consul_health::checks))
        .route("/v1/agent/members", get(consul_agent::members))
        .route("/v1/kv", consul_kv::route())
        .route("/v1/kv/", consul_kv::route())
        .route("/v1/kv/{*key}", consul_kv::route())
        .route("/v1/session/destroy/{id}", put(consul_session::destroy))
        .route("/v1/session/info/{id}", get(consul_session::info))
        .route("/v1/session/node/{node}", get(consul_session::of_node))
        .route("/v1/session/list", get(consul_session::list))
        .route("/v1/session/renew/{id}", put(consul_session::renew))
        .route("/v1/txn", put(consul_txn::run))
        .route("/v1/catalog/register", put(consul_external::register))
        .route("/v1/catalog/deregister", put(consul_external::deregister))
        .route(
            "/v1/catalog/node-services/{node}",
            get(consul_catalog::node_services),
        )
        .route("/v1/internal/ui/services", get(consul_about::ui_services))
        .route("/v1/event/fire/{name}", put(consul_event::fire))
        .route("/v1/coordinate/datacenters", get(consul_about::coordinates))
        .route("/v1/coordinate/nodes", get(consul_about::node_coordinates))
        .route(
            "/v1/coordinate/node/{node}",
            get(consul_about::node_coordinate),
        )
        .merge(operator::routes(ApiKind::Consul))
        .route("/v1/snapshot", snapshots::route(ApiKind::Consul))
}

fn finish(router: Router<Api>, api: Api) -> Router {
    router
        .fallback(errors::no_such_path)
        .method_not_allowed_fallback(errors::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(api)
}

/// Paths of the anchors that this build doesn't answer, and what they are for.
const NOMAD_LATER: [(&str, &str); 12] = [
    ("/v1/acl/{*rest}", "access control"),
    ("/v1/agent/keyring/{*rest}", "gossip keys"),
    (
        "/v1/client/allocation/{id}/{*rest}",
        "restarting, signalling or entering an allocation over the API",
    ),
    (
        "/v1/client/fs/stream/{id}",
        "following an allocation's file",
    ),
    ("/v1/client/gc", "garbage collection on one client"),
    (
        "/v1/deployment/unblock/{id}",
        "deployments over several regions",
    ),
    ("/v1/event/stream", "the event stream"),
    ("/v1/metrics", "metrics"),
    ("/v1/node/{id}/evaluate", "evaluating a node"),
    ("/v1/node/{id}/purge", "purging a node"),
    ("/v1/search", "search"),
    ("/v1/system/reconcile/summaries", "reconciling summaries"),
];

const CONSUL_LATER: [(&str, &str); 4] = [
    ("/v1/coordinate/update", "network coordinates"),
    ("/v1/operator/keyring", "changing the gossip key"),
    ("/v1/query", "prepared queries"),
    ("/v1/query/{*rest}", "prepared queries"),
];

fn not_yet(paths: &'static [(&str, &str)]) -> Router<Api> {
    paths.iter().fold(Router::new(), |router, (path, what)| {
        router.route(path, any(move || async move { Failure::not_yet(what) }))
    })
}

#[cfg(test)]
pub(crate) mod tests;

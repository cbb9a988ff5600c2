//! A running server with a node, a job that runs on it, and its service.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use logic::catalog::View;
use logic::config::AgentConfig;
use logic::membership::Member;
use logic::model::{
    AllocReport, CHECK_PASSING, CLIENT_RUNNING, CatalogChange, CatalogNode, Check, DriverInfo,
    Node, Registrations, Resources, ServiceInstance, TASK_RUNNING, TaskEvent, TaskState,
};
use logic::state::{Command, Store};
use logic::time::Time;
use serde_json::{Value, json};
use tower_service::Service;

use super::super::{Api, Identity, consul, nomad};
use super::world::TestWorld;
use crate::catalog::{Local, Register};
use crate::client::probe::Prober;
use crate::gossip::Gossip;
use crate::published::{Publisher, publish};
use crate::registry::Loaded;
use crate::rpc::Rpc;
use crate::server;
use crate::wishes::Owner;

pub(super) const NODE_ID: &str = "275d3d25-5779-5535-7576-b07d2a4ce473";
pub(super) const NODE: &str = "dxnode2";
pub(super) const WEB_JOB: &str = include_str!("web.job.json");
/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(10);

/// An agent as both routers see it.
pub(super) struct Agent {
    pub(super) machine: TestWorld,
    pub(super) api: Api,
    pub(super) nomad: Router,
    pub(super) consul: Router,
    /// Keeps the agent's replica of the catalog alive, and changes it.
    pub(super) view: Publisher<Arc<View>>,
}

/// Tells of its node what is registered there, and nothing else.
struct OnlyRegistered(Publisher<Arc<Local>>);

impl Actor for OnlyRegistered {
    type Context = Context<Self>;
}

impl Handler<Register> for OnlyRegistered {
    type Result = ();

    fn handle(&mut self, register: Register, _: &mut Self::Context) {
        let local = local(register.services, register.checks);
        self.0.send_replace(Arc::new(local));
    }
}

fn local(services: Vec<ServiceInstance>, checks: Vec<Check>) -> Local {
    let services = services.into_iter().map(|row| (row.id.clone(), row));
    let checks = checks.into_iter().map(|row| (row.check_id.clone(), row));
    Local {
        node: NODE.to_owned(),
        own: BTreeSet::new(),
        services: services.collect(),
        checks: checks.collect(),
    }
}

/// An answer, taken apart.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub(super) fn index(&self) -> u64 {
        let index = self
            .headers
            .get("x-nomad-index")
            .or(self.headers.get("x-consul-index"));
        index.expect("the answer has an index").parse().unwrap()
    }
}

pub(super) fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(body.into())
        .unwrap()
}

pub(super) async fn answer(router: &Router, request: Request<Body>) -> Answer {
    let Ok(response) = router.clone().call(request).await;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let headers = head.headers.iter();
    Answer {
        status: head.status,
        headers: headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
            .collect(),
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

/// An answer that isn't text.
pub(super) async fn bytes(router: &Router, request: Request<Body>) -> Vec<u8> {
    let Ok(response) = router.clone().call(request).await;
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await;
    body.unwrap().to_bytes().to_vec()
}

pub(super) async fn get(router: &Router, path: &str) -> Answer {
    answer(router, request("GET", path, "")).await
}

pub(super) async fn put(router: &Router, path: &str, body: &Value) -> Answer {
    answer(router, request("PUT", path, body.to_string())).await
}

fn config() -> AgentConfig {
    let mut config = AgentConfig::dev();
    config.server.heartbeat_ttl_ms = 600_000;
    config
}

impl Agent {
    fn new(machine: TestWorld, server: Option<server::Server>, servers: Vec<String>) -> Self {
        let mut config = config();
        config.server.enabled = server.is_some();
        let (view, reader) = publish(Arc::new(View::default()));
        let (web, alive) = (web_service(8000), web_check(CHECK_PASSING));
        let of_web = Arc::new(local(vec![web], vec![alive]));
        let (publisher, local) = publish(of_web);
        let catalog = OnlyRegistered(publisher).start().recipient();
        let none = Registrations::default();
        let loaded = Loaded::of(&machine.world, NODE, none.clone(), none);
        let api = Api {
            registry: loaded.start(Prober::new(&machine.world), catalog, local.clone()),
            local,
            leaving: Arc::default(),
            owner: Owner::default(),
            rpc: Rpc::new(machine.world.clone(), servers),
            world: machine.world.clone(),
            gossip: Gossip::alone(member()),
            config: Arc::new(config),
            identity: Arc::new(Identity {
                node_id: NODE_ID.to_owned(),
                name: NODE.to_owned(),
                address: "10.0.0.2".parse().unwrap(),
                version: "0.0.1",
            }),
            server,
            view: reader,
        };
        Self {
            machine,
            nomad: nomad(api.clone()),
            consul: consul(api.clone()),
            api,
            view,
        }
    }

    /// A server that knows nothing yet.
    pub(super) async fn server() -> Self {
        let agent = Self::server_of(1).await;
        let mut standing = agent.api.server.as_ref().unwrap().standing.clone();
        let led = standing.wait_for(|standing| standing.leads());
        tokio::time::timeout(SOON, led).await.unwrap().unwrap();
        agent
    }

    /// A server that waits for others before there is a cluster, unless it is the only one.
    pub(super) async fn server_of(count: u32) -> Self {
        let machine = TestWorld::new();
        let mut config = config();
        config.server.bootstrap_expect = count;
        let member = Member {
            bootstrap_expect: count,
            ..member()
        };
        let gossip = Gossip::alone(member.clone());
        let rpc = Rpc::new(machine.world.clone(), Vec::new());
        let config = Arc::new(config);
        let starting = server::start(&machine.world, &config, &member, &gossip, &rpc);
        let server = starting.await.unwrap();
        Self::new(machine, Some(server), Vec::new())
    }

    /// An agent that is no server, on the same network as `other`.
    pub(super) fn beside(other: &Self, servers: &[&str]) -> Self {
        let network = Arc::clone(&other.machine.world.network);
        let servers = servers.iter().map(|server| (*server).to_owned()).collect();
        Self::new(TestWorld::beside(network), None, servers)
    }

    /// The same agent with another node's id.
    pub(super) fn with_id(mut self, id: &str) -> Self {
        let identity = Identity {
            node_id: id.to_owned(),
            ..(*self.api.identity).clone()
        };
        self.api.identity = Arc::new(identity);
        self.nomad = nomad(self.api.clone());
        self.consul = consul(self.api.clone());
        self
    }

    /// The same agent under another name.
    pub(super) fn named(mut self, name: &str) -> Self {
        let identity = Identity {
            name: name.to_owned(),
            ..(*self.api.identity).clone()
        };
        self.api.identity = Arc::new(identity);
        self.nomad = nomad(self.api.clone());
        self.consul = consul(self.api.clone());
        self
    }

    /// A second node that offers `web` too, before the first by its name.
    pub(super) async fn with_second_node(&self, name: &str) {
        let node = CatalogNode {
            node: name.to_owned(),
            address: "10.0.0.1".to_owned(),
            datacenter: "dc1".to_owned(),
            ..CatalogNode::default()
        };
        self.propose(Command::RegisterCatalogNode { node }).await;
        let change = CatalogChange {
            node: name.to_owned(),
            services: vec![ServiceInstance {
                id: "web-2".to_owned(),
                ..web_service(8000)
            }],
            checks: vec![Check {
                check_id: "web-2-alive".to_owned(),
                service_id: "web-2".to_owned(),
                ..web_check(CHECK_PASSING)
            }],
            ..CatalogChange::default()
        };
        self.propose(Command::ChangeCatalog { change }).await;
    }

    /// A server with a node on which `web` runs, with a passing service.
    pub(super) async fn with_web() -> (Self, String) {
        let agent = Self::server().await;
        agent.propose(register_node()).await;
        let registered = put(&agent.nomad, "/v1/jobs", &web_job()).await;
        assert_eq!(registered.status, StatusCode::OK, "{}", registered.text);
        let store = agent
            .until(|store| store.allocs_of_job("web").next().is_some())
            .await;
        let alloc = store.allocs_of_job("web").next().unwrap().clone();
        agent.propose(run(&alloc.id)).await;
        let port = alloc.ports().next().map_or(0, |(_, port)| port.value);
        agent.propose(offer(port)).await;
        (agent, alloc.id.clone())
    }

    pub(super) async fn propose(&self, command: Command) -> u64 {
        let proposed = self.api.propose(command).await;
        proposed.unwrap_or_else(|failure| panic!("{failure:?}")).0
    }

    /// The first state for which `ready` holds.
    pub(super) async fn until(&self, ready: impl Fn(&Store) -> bool) -> Arc<Store> {
        let state = &self.api.server.as_ref().unwrap().state;
        let store = state.once(SOON, &ready).await;
        assert!(ready(&store), "it didn't happen within {SOON:?}");
        store
    }

    pub(super) fn now(&self) -> Arc<Store> {
        self.api.server.as_ref().unwrap().state.now()
    }
}

/// A request to register the job of `web.job.json`.
pub(super) fn web_job() -> Value {
    let job: Value = serde_json::from_str(WEB_JOB).unwrap();
    json!({ "Job": job })
}

fn register_node() -> Command {
    let docker = DriverInfo {
        detected: true,
        healthy: true,
        health_description: "Driver is available and responsive".to_owned(),
        ..DriverInfo::default()
    };
    let node = Node {
        id: NODE_ID.to_owned(),
        secret_id: "its secret".to_owned(),
        datacenter: "dc1".to_owned(),
        name: NODE.to_owned(),
        http_addr: "10.0.0.2:4646".to_owned(),
        address: "10.0.0.2".to_owned(),
        attributes: BTreeMap::from([("kernel.name".to_owned(), "linux".to_owned())]),
        resources: Resources {
            cpu: 5_000,
            memory_mb: 4_000,
            disk_mb: 50_000,
            ..Resources::default()
        },
        drivers: BTreeMap::from([("docker".to_owned(), docker)]),
        ..Node::default()
    };
    let catalog = CatalogNode {
        id: NODE_ID.to_owned(),
        node: NODE.to_owned(),
        address: "10.0.0.2".to_owned(),
        datacenter: "dc1".to_owned(),
        ..CatalogNode::default()
    };
    Command::RegisterNode {
        node: Box::new(node),
        catalog,
    }
}

fn run(alloc_id: &str) -> Command {
    let event = TaskEvent {
        r#type: "Started".to_owned(),
        time: 1_795_525_963_074_503_295,
        display_message: "Task started by client".to_owned(),
        ..TaskEvent::default()
    };
    let state = TaskState {
        state: TASK_RUNNING.to_owned(),
        started_at: Time(1_795_525_963_074_503_295),
        events: vec![event],
        ..TaskState::default()
    };
    let report = AllocReport {
        alloc_id: alloc_id.to_owned(),
        client_status: CLIENT_RUNNING.to_owned(),
        task_states: BTreeMap::from([("web".to_owned(), state)]),
        ..AllocReport::default()
    };
    Command::ReportAllocs {
        node_id: NODE_ID.to_owned(),
        serial: 0,
        reports: vec![report],
    }
}

/// The service of `web` in the catalog.
pub(super) fn offer(port: u16) -> Command {
    let service = web_service(port);
    let change = CatalogChange {
        node: NODE.to_owned(),
        services: vec![service],
        checks: vec![web_check(CHECK_PASSING)],
        ..CatalogChange::default()
    };
    Command::ChangeCatalog { change }
}

fn web_service(port: u16) -> ServiceInstance {
    ServiceInstance {
        id: "web-1".to_owned(),
        service: "web".to_owned(),
        tags: vec!["urlprefix-web.example/".to_owned()],
        address: "10.0.0.2".to_owned(),
        port,
        ..ServiceInstance::default()
    }
}

fn web_check(status: &str) -> Check {
    Check {
        check_id: "web-1-alive".to_owned(),
        name: "alive".to_owned(),
        status: status.to_owned(),
        output: "HTTP GET http://10.0.0.2/: 200 OK".to_owned(),
        service_id: "web-1".to_owned(),
        service_name: "web".to_owned(),
        service_tags: vec!["urlprefix-web.example/".to_owned()],
        r#type: "http".to_owned(),
        ..Check::default()
    }
}

/// The service's check says something else.
pub(super) fn check_web(status: &str) -> Command {
    let change = CatalogChange {
        node: NODE.to_owned(),
        checks: vec![web_check(status)],
        ..CatalogChange::default()
    };
    Command::ChangeCatalog { change }
}

/// The agent as its gossip knows it.
fn member() -> Member {
    Member {
        id: NODE_ID.to_owned(),
        name: NODE.to_owned(),
        region: "global".to_owned(),
        datacenter: "dc1".to_owned(),
        address: [10, 0, 0, 2].into(),
        serf_port: 4648,
        rpc_port: 4647,
        http_port: 4646,
        server: true,
        bootstrap_expect: 1,
        version: crate::VERSION.to_owned(),
        generation: 1,
    }
}

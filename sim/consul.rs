//! A Consul that isn't ours, as far as agents ask it: services and checks of one agent's API. It
//! keeps what was registered over a restart, and runs checks itself; it knows nothing of ours.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use ports::{Network, Stream};
use serde_json::{Value, json};

use crate::network::SimNetwork;
use crate::world::{SimHost, lock};

/// Its machine.
pub const NAME: &str = "consul";
const PORT: u16 = 8500;
/// How often it looks for checks that are due.
const TICK: Duration = Duration::from_millis(200);

/// What was registered; outlives the process.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    services: BTreeMap<String, Value>,
    checks: BTreeMap<String, Check>,
}

struct Check {
    definition: Value,
    service: String,
    status: String,
    output: String,
    due: tokio::time::Instant,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Rows {
    fn register(&mut self, mut body: Value) {
        let id = text(&body["ID"]);
        let checks = body["Checks"].take();
        for definition in checks.as_array().into_iter().flatten() {
            let check_id = text(&definition["CheckID"]);
            let before = self.checks.remove(&check_id);
            // As the real one: a check that was there keeps what it said.
            let (status, output) = before.map_or_else(
                || (text(&definition["Status"]), String::new()),
                |check| (check.status, check.output),
            );
            let check = Check {
                definition: definition.clone(),
                service: id.clone(),
                status,
                output,
                due: tokio::time::Instant::now() + TICK,
            };
            self.checks.insert(check_id, check);
        }
        self.services.insert(id, body);
    }

    fn deregister(&mut self, id: &str) -> bool {
        self.checks.retain(|_, check| check.service != id);
        self.services.remove(id).is_some()
    }

    fn services(&self) -> Value {
        let services = self.services.iter();
        let services = services.map(|(id, body)| {
            let shown = json!({
                "ID": id,
                "Service": body["Name"],
                "Tags": body["Tags"],
                "Meta": body["Meta"],
                "Port": body["Port"],
                "Address": body["Address"],
            });
            (id.clone(), shown)
        });
        Value::Object(services.collect())
    }

    fn checks(&self) -> Value {
        let checks = self.checks.iter().map(|(id, check)| {
            let shown = json!({
                "CheckID": id,
                "Name": check.definition["Name"],
                "Status": check.status,
                "Output": check.output,
                "ServiceID": check.service,
            });
            (id.clone(), shown)
        });
        Value::Object(checks.collect())
    }
}

/// Runs until the machine crashes.
pub(crate) async fn run(machine: SimHost, registry: Registry) -> turmoil::Result {
    machine.boot();
    // Nothing is known of checks that weren't run since.
    for check in lock(&registry.0).checks.values_mut() {
        "critical".clone_into(&mut check.status);
        check.output.clear();
        check.due = tokio::time::Instant::now() + TICK;
    }
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
    let mut listener = machine.network().listen(address).await?;
    tokio::task::spawn_local(check_all(machine.network(), registry.clone()));
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(serve(stream, registry.clone()));
    }
}

async fn serve(stream: Box<dyn Stream>, registry: Registry) {
    let service = service_fn(move |request: Request<Incoming>| {
        let registry = registry.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            let body = body
                .ok()
                .and_then(|body| serde_json::from_slice(&body).ok());
            let (status, answer) = registry.answer(&head.method, head.uri.path(), body);
            let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        }
    });
    // A peer that leaves in the middle of a request is no news to a server.
    let _ = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

impl Registry {
    fn answer(&self, method: &Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let mut rows = lock(&self.0);
        let put = *method == Method::PUT;
        let after = |prefix| path.strip_prefix(prefix).filter(|_| put);
        if path == "/v1/agent/self" {
            let own = json!({ "Config": { "NodeName": NAME, "Datacenter": "dc1" } });
            return (StatusCode::OK, own);
        } else if path == "/v1/agent/services" {
            return (StatusCode::OK, rows.services());
        } else if path == "/v1/agent/checks" {
            return (StatusCode::OK, rows.checks());
        } else if path.starts_with("/v1/catalog/") {
            return (StatusCode::OK, json!([]));
        } else if let Some(body) = body.filter(|_| put && path == "/v1/agent/service/register") {
            rows.register(body);
            return (StatusCode::OK, Value::Null);
        } else if let Some(id) = after("/v1/agent/service/deregister/") {
            if rows.deregister(id) {
                return (StatusCode::OK, Value::Null);
            }
        } else if let Some(id) = after("/v1/agent/check/deregister/")
            && rows.checks.remove(id).is_some()
        {
            return (StatusCode::OK, Value::Null);
        }
        (StatusCode::NOT_FOUND, json!("no such thing"))
    }

    fn due(&self) -> Vec<(String, Value)> {
        let now = tokio::time::Instant::now();
        let mut rows = lock(&self.0);
        let due = rows.checks.iter_mut().filter(|(_, check)| check.due <= now);
        due.map(|(id, check)| {
            check.due = now + period(&check.definition["Interval"]);
            (id.clone(), check.definition.clone())
        })
        .collect()
    }

    fn ran(&self, id: &str, definition: &Value, ended: Result<(), String>) {
        if let Some(check) = lock(&self.0).checks.get_mut(id)
            && check.definition == *definition
        {
            let status = if ended.is_ok() { "passing" } else { "critical" };
            status.clone_into(&mut check.status);
            check.output = ended.map_or_else(|why| why, |()| "it works".to_owned());
        }
    }
}

/// Of `1500ms`; the only unit it is told.
fn period(value: &Value) -> Duration {
    let millis = text(value).trim_end_matches("ms").parse();
    Duration::from_millis(millis.unwrap_or(10_000))
}

async fn check_all(network: SimNetwork, registry: Registry) {
    let network = Arc::new(network);
    loop {
        tokio::time::sleep(TICK).await;
        for (id, definition) in registry.due() {
            let (network, registry) = (network.clone(), registry.clone());
            tokio::task::spawn_local(async move {
                let probing = probe(&network, &definition);
                let within = period(&definition["Timeout"]);
                let ended = tokio::time::timeout(within, probing).await;
                let ended = ended.unwrap_or_else(|_| Err("no answer".to_owned()));
                registry.ran(&id, &definition, ended);
            });
        }
    }
}

async fn probe(network: &SimNetwork, definition: &Value) -> Result<(), String> {
    let url = text(&definition["HTTP"]);
    let (address, path) = match url.strip_prefix("http://") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => (definition["TCP"].as_str().unwrap_or_default(), ""),
    };
    let stream = network.connect(address.to_owned()).await;
    let stream = stream.map_err(|error| error.to_string())?;
    if url.is_empty() {
        return Ok(());
    }
    let begun = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = begun.map_err(|error| error.to_string())?;
    let connection = tokio::task::spawn_local(connection);
    let request = Request::builder()
        .uri(format!("/{path}"))
        .header("host", address);
    let request = request.body(Full::new(Bytes::new()));
    let request = request.map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await;
    connection.abort();
    match response.map_err(|error| error.to_string())?.status() {
        status if status.is_success() => Ok(()),
        status => Err(status.to_string()),
    }
}

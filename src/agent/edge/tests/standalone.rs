//! The edge as a program of its own beside a Consul, which here is one of our own making.

use std::collections::{BTreeMap, BTreeSet};

use hyper::Method;
use logic::fabio::{self, Fabio};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::super::standalone::{self, Standalone};
use super::*;

#[derive(Default)]
struct Store {
    index: u64,
    services: BTreeMap<String, Vec<Value>>,
    checks: Vec<Value>,
    keys: BTreeMap<String, (String, u64)>,
    registered: BTreeMap<String, Value>,
    passed: BTreeSet<String>,
    asked: u64,
}

/// As much of a Consul as the edge asks.
struct Consul {
    address: SocketAddr,
    store: Rc<RefCell<Store>>,
    changed: Rc<Notify>,
    serving: RefCell<Option<JoinHandle<()>>>,
}

impl Consul {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let consul = Self {
            address: listener.local_addr().expect("an address"),
            store: Rc::default(),
            changed: Rc::default(),
            serving: RefCell::default(),
        };
        consul.store.borrow_mut().index = 10;
        consul.serve(listener);
        consul
    }

    fn serve(&self, listener: TcpListener) {
        let (store, changed) = (self.store.clone(), self.changed.clone());
        let serving = spawn_local(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (store, changed) = (store.clone(), changed.clone());
                let service = service_fn(move |request| {
                    let (store, changed) = (store.clone(), changed.clone());
                    async move { Ok::<_, Infallible>(answer(&store, &changed, request).await) }
                });
                let http = hyper::server::conn::http1::Builder::new();
                let served = http.serve_connection(TokioIo::new(stream), service);
                connections.spawn_local(async move { drop(served.await) });
            }
        });
        self.serving.replace(Some(serving));
    }

    /// All of its connections break off.
    async fn stop(&self) {
        let serving = self.serving.take().expect("it serves");
        serving.abort();
        serving.await.expect_err("it was aborted");
    }

    async fn restart(&self) {
        let listener = TcpListener::bind(self.address)
            .await
            .expect("the same port");
        self.serve(listener);
    }

    fn change(&self, change: impl FnOnce(&mut Store)) {
        let mut store = self.store.borrow_mut();
        store.index += 1;
        change(&mut store);
        self.changed.notify_waiters();
    }

    /// Registers an instance with a check of this status.
    fn offer(&self, service: &str, tag: &str, at: SocketAddr, status: &str) {
        let id = format!("{service}-{}", at.port());
        self.change(|store| {
            store
                .services
                .entry(service.to_owned())
                .or_default()
                .push(json!({
                    "Node": "n1", "Address": "127.0.0.1", "ServiceID": id, "ServiceName": service,
                    "ServiceAddress": at.ip().to_string(), "ServicePort": at.port(),
                    "ServiceTags": [tag],
                }));
            store.checks.push(json!({
                "Node": "n1", "CheckID": format!("check:{id}"), "Status": status,
                "ServiceID": id, "ServiceName": service,
            }));
        });
    }

    fn put(&self, key: &str, value: &str) {
        self.change(|store| {
            let index = store.index;
            store.keys.insert(key.to_owned(), (value.to_owned(), index));
        });
    }
}

async fn answer(
    store: &RefCell<Store>,
    changed: &Notify,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let parameter = |name: &str| {
        let found = query.split('&').find_map(|pair| pair.strip_prefix(name));
        found.map(str::to_owned)
    };
    let method = request.method().clone();
    let body = request
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    let after: u64 = parameter("index=").map_or(0, |index| index.parse().expect("a number"));
    store.borrow_mut().asked += 1;
    while after > 0 && store.borrow().index == after {
        changed.notified().await;
    }
    let mut store = store.borrow_mut();
    let (status, body) = if method == Method::PUT {
        written(&mut store, &path, parameter("cas="), &body)
    } else {
        read(&store, &path)
    };
    Response::builder()
        .status(status)
        .header("x-consul-index", store.index)
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("an answer")
}

fn read(store: &Store, path: &str) -> (u16, Value) {
    if let Some(name) = path.strip_prefix("/v1/catalog/service/") {
        return (200, json!(store.services.get(name)));
    }
    if let Some(prefix) = path.strip_prefix("/v1/kv/") {
        use base64::Engine;
        let base64 = base64::prelude::BASE64_STANDARD;
        let keys = store.keys.iter().filter(|(key, _)| key.starts_with(prefix));
        let rows: Vec<_> = keys
            .map(|(key, (value, index))| {
                json!({ "Key": key, "Value": base64.encode(value), "ModifyIndex": index })
            })
            .collect();
        return (if rows.is_empty() { 404 } else { 200 }, json!(rows));
    }
    match path {
        "/v1/health/state/any" => (200, json!(store.checks)),
        "/v1/catalog/services" => {
            let tags = |rows: &Vec<Value>| json!([rows[0]["ServiceTags"][0]]);
            let services = store
                .services
                .iter()
                .map(|(name, rows)| (name.clone(), tags(rows)));
            (200, Value::Object(services.collect()))
        }
        "/v1/agent/self" => (200, json!({ "Config": { "Datacenter": "dc7" } })),
        "/v1/agent/services" => (200, json!(store.registered)),
        _ => (404, json!(format!("no such path: {path}"))),
    }
}

fn written(store: &mut Store, path: &str, cas: Option<String>, body: &[u8]) -> (u16, Value) {
    if let Some(key) = path.strip_prefix("/v1/kv/") {
        let known = store.keys.get(key).map_or(0, |(_, index)| *index);
        let wanted = cas.map_or(known, |cas| cas.parse().expect("a number"));
        if known == wanted {
            store.index += 1;
            let index = store.index;
            let value = String::from_utf8_lossy(body).into_owned();
            store.keys.insert(key.to_owned(), (value, index));
        }
        return (200, json!(known == wanted));
    }
    if let Some(id) = path.strip_prefix("/v1/agent/service/deregister/") {
        store.registered.remove(id);
    } else if let Some(id) = path.strip_prefix("/v1/agent/check/pass/") {
        store.passed.insert(id.to_owned());
    } else {
        let service: Value = serde_json::from_slice(body).expect("a service");
        let id = service["ID"].as_str().expect("an id").to_owned();
        store.registered.insert(id, service);
    }
    (200, Value::Null)
}

fn configured(arguments: &[&str]) -> Fabio {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let typed = fabio::typed(&arguments).expect("flags");
    let (mut fabio, _) =
        fabio::configured(&typed, &BTreeMap::new(), None).expect("a configuration");
    fabio.edge.listeners = vec![EdgeListener {
        address: Some(LOCALHOST),
        ..EdgeListener::http(0)
    }];
    fabio.edge.ui.address = Some(LOCALHOST);
    fabio.edge.ui_port = 0;
    fabio
}

async fn beside(consul: &Consul) -> Standalone {
    let fabio = configured(&[
        &format!("-registry.consul.addr={}", consul.address),
        "-registry.consul.register.addr=127.0.0.1:1",
        "-registry.retry=100ms",
    ]);
    standalone::start(&world(1), &fabio)
        .await
        .expect("it starts")
}

/// Waits until the table looks like this.
async fn routed(running: &Standalone, rows: &[&str]) {
    loop {
        let table = running.edge.table.load_full();
        let shown: Vec<_> = table.rows().iter().map(|row| row.src.clone()).collect();
        if shown == rows {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn ask_at(address: SocketAddr, request: &str) -> (String, String) {
    let mut talk = Talk::to(address).await;
    talk.send(request).await;
    talk.answer().await
}

#[test]
fn routes_are_those_of_the_consuls_passing_instances() {
    story(async {
        let consul = Consul::start().await;
        let (backend, _) = telling_backend("a").await;
        consul.offer("web", "urlprefix-${DC}.example/", backend, "passing");
        consul.offer("ill", "urlprefix-/ill", backend, "critical");
        consul.offer("other", "no route", backend, "passing");
        let running = beside(&consul).await;
        routed(&running, &["dc7.example/"]).await;
        let request = "GET / HTTP/1.1\r\nHost: dc7.example\r\n\r\n";
        let (_, body) = ask_at(running.edge.addresses[0], request).await;
        assert_eq!(body, "a");
        consul.change(|store| store.checks[1]["Status"] = json!("passing"));
        routed(&running, &["/ill", "dc7.example/"]).await;
        let lost = json!({ "Node": "n1", "CheckID": "serfHealth", "Status": "critical" });
        consul.change(|store| store.checks.push(lost));
        routed(&running, &[]).await;
    });
}

#[test]
fn a_consul_that_is_away_leaves_the_routes_as_they_are() {
    story(async {
        let consul = Consul::start().await;
        let (backend, _) = telling_backend("a").await;
        consul.offer("web", "urlprefix-/", backend, "passing");
        let running = beside(&consul).await;
        routed(&running, &["/"]).await;
        consul.stop().await;
        let (_, body) = ask_at(running.edge.addresses[0], GET).await;
        assert_eq!(body, "a");
        // It comes back with less of a history, and with something new.
        consul.store.borrow_mut().index = 1;
        consul.offer("new", "urlprefix-/new", backend, "passing");
        consul.restart().await;
        routed(&running, &["/new", "/"]).await;
        consul.offer("newer", "urlprefix-/newer", backend, "passing");
        routed(&running, &["/newer", "/new", "/"]).await;
    });
}

#[test]
fn it_starts_without_a_consul_and_asks_seldom() {
    story(async {
        let consul = Consul::start().await;
        consul.stop().await;
        let running = beside(&consul).await;
        let (head, _) = ask_at(running.edge.addresses[0], GET).await;
        assert_eq!(status(&head), "404");
        let (backend, _) = telling_backend("a").await;
        consul.offer("web", "urlprefix-/", backend, "passing");
        consul.restart().await;
        routed(&running, &["/"]).await;
        let asked = consul.store.borrow().asked;
        assert!(asked < 30, "{asked} questions");
    });
}

#[test]
fn keys_override_routes_and_can_be_changed_on_the_page() {
    story(async {
        let consul = Consul::start().await;
        let (backend, _) = telling_backend("a").await;
        consul.offer("web", "urlprefix-/", backend, "passing");
        consul.put("fabio/noroute.html", "<p>nothing</p>");
        let running = beside(&consul).await;
        routed(&running, &["/"]).await;
        let admin = running.edge.admin;
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let (_, body) = ask_at(admin, &get("/api/manual")).await;
        assert_eq!(body, "{\"value\":\"\",\"version\":\"0\"}");
        let put = |value: &str, version: &str| {
            let body = json!({ "value": value, "version": version }).to_string();
            let length = body.len();
            format!("PUT /api/manual HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}")
        };
        let (head, _) = ask_at(admin, &put("route del web", "0")).await;
        assert_eq!(status(&head), "200");
        consul.changed.notify_waiters();
        routed(&running, &[]).await;
        let (head, body) = ask_at(admin, &put("route del web", "0")).await;
        assert_eq!(
            (status(&head), body.as_str()),
            ("409", "version mismatch\n")
        );
        let (head, body) = ask_at(running.edge.addresses[0], GET).await;
        assert_eq!((status(&head), body.as_str()), ("404", "<p>nothing</p>"));
        let (_, body) = ask_at(admin, &get("/api/paths")).await;
        assert_eq!(body, "[\"\"]");
        let (_, page) = ask_at(admin, &get("/manual")).await;
        assert!(page.contains("route del web"), "{page}");
    });
}

#[test]
fn it_registers_itself_and_leaves() {
    story(async {
        let consul = Consul::start().await;
        let (backend, _) = telling_backend("a").await;
        consul.offer("web", "urlprefix-/ register=site", backend, "passing");
        let running = beside(&consul).await;
        let (own, site) = ("fabio--1", "site--1");
        let registered = |id: &str| {
            let store = consul.store.borrow();
            store.registered.contains_key(id) && store.passed.contains(&format!("{id}-ttl"))
        };
        while !(registered(own) && registered(site)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let service = consul.store.borrow().registered[own].clone();
        assert_eq!(service["Checks"][1]["HTTP"], "http://127.0.0.1:1/health");
        running.stop().await;
        assert_eq!(consul.store.borrow().registered.len(), 0);
    });
}

#[test]
fn routes_can_be_a_text() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let routes = format!("route add web / http://{backend}/\nnonsense");
        let fabio = configured(&[
            "-registry.backend=static",
            &format!("-registry.static.routes={routes}"),
        ]);
        let running = standalone::start(&world(1), &fabio)
            .await
            .expect("it starts");
        let (_, body) = ask_at(running.edge.addresses[0], GET).await;
        assert_eq!(body, "a");
        let page = "GET /routes HTTP/1.1\r\nHost: a\r\n\r\n";
        let (_, page) = ask_at(running.edge.admin, page).await;
        assert!(page.contains("<code>nonsense</code>"), "{page}");
    });
}

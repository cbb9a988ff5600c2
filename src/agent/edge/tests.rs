//! The whole edge on loopback: raw clients on one side, raw or hyper backends on the other.

mod https;
mod logs;
mod lost_node;
mod options;
mod passing;
mod plain;
mod standalone;
mod tls_listeners;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use logic::catalog::Contents;
use logic::model::{CHECK_PASSING, CatalogNode, Check, ServiceInstance};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio::time::timeout;

use logic::config::EdgeListener;

use super::loopback::world;
use super::*;
use crate::published::{Publisher, publish};

const PATIENCE: Duration = Duration::from_secs(30);
const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Runs a test where actors can live, and never for too long.
fn story(test: impl Future<Output = ()>) {
    let ended = actix::System::new().block_on(async { timeout(PATIENCE, test).await });
    ended.expect("the test ends in time");
}

/// A catalog with one passing instance for each tag.
fn view(routes: &[(&str, SocketAddr)]) -> Arc<View> {
    let mut contents = Contents::default();
    contents.nodes.push(CatalogNode {
        node: "n1".into(),
        ..CatalogNode::default()
    });
    for (n, (tag, address)) in routes.iter().enumerate() {
        contents.services.push(ServiceInstance {
            node: "n1".into(),
            id: format!("web-{n}"),
            service: "web".into(),
            address: address.ip().to_string(),
            port: address.port(),
            tags: vec![(*tag).to_owned()],
            ..ServiceInstance::default()
        });
        contents.checks.push(Check {
            node: "n1".into(),
            check_id: format!("check-{n}"),
            service_id: format!("web-{n}"),
            status: CHECK_PASSING.into(),
            ..Check::default()
        });
    }
    Arc::new(View::new(contents))
}

struct Running {
    edge: Edge,
    catalog: Publisher<Arc<View>>,
}

fn patient() -> Settings {
    Settings::new(&EdgeConfig::default())
}

async fn edge(routes: &[(&str, SocketAddr)]) -> Running {
    edge_with(routes, patient(), 1).await
}

async fn edge_with(routes: &[(&str, SocketAddr)], settings: Settings, workers: usize) -> Running {
    let (catalog, view) = publish(view(routes));
    let config = EdgeConfig {
        listeners: vec![EdgeListener::http(0)],
        ui_port: 0,
        ..EdgeConfig::default()
    };
    let source = Source::catalog(view, &config);
    let edge = start_with(&world(workers), &config, LOCALHOST, source, settings).await;
    Running {
        edge: edge.expect("free ports"),
        catalog,
    }
}

impl Running {
    async fn connect(&self) -> Talk {
        Talk::to(self.edge.addresses[0]).await
    }

    /// One request on a connection of its own: head and body of the answer.
    async fn ask(&self, request: &str) -> (String, String) {
        let mut talk = self.connect().await;
        talk.send(request).await;
        talk.answer().await
    }
}

/// A client that sees every byte.
struct Talk {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Talk {
    async fn to(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.expect("someone listens"),
            unread: Vec::new(),
        }
    }

    async fn send(&mut self, text: &str) {
        self.stream
            .write_all(text.as_bytes())
            .await
            .expect("the peer reads");
    }

    /// Reads more; false at the end.
    async fn read(&mut self) -> bool {
        self.stream
            .read_buf(&mut self.unread)
            .await
            .is_ok_and(|n| n > 0)
    }

    /// A head, in lower case but for its values.
    async fn head(&mut self) -> String {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..end + 4).collect();
                return String::from_utf8(head).expect("text");
            }
            assert!(
                self.read().await,
                "closed after {:?}",
                String::from_utf8_lossy(&self.unread)
            );
        }
    }

    async fn body(&mut self, length: usize) -> String {
        while self.unread.len() < length {
            assert!(self.read().await, "the body is whole");
        }
        String::from_utf8(self.unread.drain(..length).collect()).expect("text")
    }

    async fn rest(&mut self) -> String {
        while self.read().await {}
        String::from_utf8(std::mem::take(&mut self.unread)).expect("text")
    }

    /// An answer with a `Content-Length`.
    async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = header(&head, "content-length").expect("a length");
        let body = self.body(length.parse().expect("a number")).await;
        (head, body)
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).expect("a status")
}

/// What a backend saw.
#[derive(Default)]
struct Seen {
    connections: Cell<usize>,
    heads: RefCell<Vec<String>>,
}

/// A backend of raw bytes: runs `talk` for each connection.
async fn raw_backend<F, T>(talk: F) -> (SocketAddr, Rc<Seen>)
where
    F: Fn(Talk, Rc<Seen>) -> T + 'static,
    T: Future<Output = ()> + 'static,
{
    let listener = TcpListener::bind((LOCALHOST, 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    let seen = Rc::new(Seen::default());
    let kept = seen.clone();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.connections.set(seen.connections.get() + 1);
            let unread = Vec::new();
            spawn_local(talk(Talk { stream, unread }, seen.clone()));
        }
    });
    (address, kept)
}

/// A backend that tells the request it got: its line, its headers, its body.
async fn telling_backend(name: &'static str) -> (SocketAddr, Rc<Seen>) {
    raw_backend(move |talk, seen| async move {
        let service = service_fn(move |request: Request<Incoming>| {
            let seen = seen.clone();
            async move {
                let (head, body) = request.into_parts();
                let mut told = format!("{name}\n{} {} {:?}\n", head.method, head.uri, head.version);
                for (key, value) in &head.headers {
                    let value = value.to_str().expect("text");
                    writeln!(told, "{key}: {value}").expect("room");
                }
                seen.heads.borrow_mut().push(told.clone());
                let body = body.collect().await.expect("a whole body").to_bytes();
                told.push_str(std::str::from_utf8(&body).expect("text"));
                let response = Response::builder()
                    .header("x-backend", name)
                    .header("connection", "x-hop")
                    .header("x-hop", "gone")
                    .body(Full::new(Bytes::from(told)));
                Ok::<_, Infallible>(response.expect("a response"))
            }
        });
        let server = hyper::server::conn::http1::Builder::new();
        let _ = server
            .serve_connection(TokioIo::new(talk.stream), service)
            .await;
    })
    .await
}

/// An address that nobody listens on.
async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind((LOCALHOST, 0))
        .await
        .expect("a free port");
    listener.local_addr().expect("an address")
}

const GET: &str = "GET / HTTP/1.1\r\nHost: any\r\n\r\n";

#[test]
fn without_a_route_the_answer_is_404_without_a_body() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let running = edge(&[("urlprefix-mysite.com:9999/", backend)]).await;
        let (head, body) = running
            .ask("GET / HTTP/1.1\r\nHost: nope.com\r\n\r\n")
            .await;
        assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
        assert!(header(&head, "date").is_some());
        assert_eq!(header(&head, "content-length"), Some("0"));
        assert_eq!(body, "");
        let (head, _) = running
            .ask("GET / HTTP/1.1\r\nHost: mysite.com:9999\r\n\r\n")
            .await;
        assert_eq!(status(&head), "200");
    });
}

#[test]
fn connections_are_kept_on_both_sides() {
    story(async {
        let (backend, seen) = telling_backend("a").await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        for _ in 0..5 {
            talk.send(GET).await;
            assert_eq!(status(&talk.answer().await.0), "200");
        }
        let mut other = running.connect().await;
        other.send(GET).await;
        other.answer().await;
        assert_eq!(seen.connections.get(), 1);
        assert_eq!(seen.heads.borrow().len(), 6);
    });
}

#[test]
fn upstreams_learn_who_asked_and_hop_by_hop_headers_stay_behind() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        let client = talk.stream.local_addr().expect("an address");
        talk.send(
            "GET /p?q=1 HTTP/1.1\r\nHost: mysite.com:9999\r\nConnection: keep-alive, X-Mine\r\n\
             X-Mine: 1\r\nTE: trailers\r\nX-Kept: yes\r\n\r\n",
        )
        .await;
        let (head, told) = talk.answer().await;
        let ip = client.ip();
        assert_eq!(
            told.lines().collect::<Vec<_>>(),
            [
                "a",
                "GET /p?q=1 HTTP/1.1",
                "host: mysite.com:9999",
                "x-kept: yes",
                &format!("x-forwarded-for: {ip}"),
                &format!("x-real-ip: {ip}"),
                "x-forwarded-proto: http",
                "x-forwarded-port: 9999",
                "x-forwarded-host: mysite.com:9999",
                &format!("forwarded: for={ip}; proto=http; by={ip}; httpproto=http/1.1"),
            ]
        );
        assert_eq!(header(&head, "x-backend"), Some("a"));
        assert_eq!(header(&head, "x-hop"), None);
        assert_eq!(head.to_lowercase().matches("date:").count(), 1);
    });
}

#[test]
fn chunked_bodies_go_through_both_ways() {
    story(async {
        let (backend, _) = raw_backend(|mut talk, _| async move {
            let head = talk.head().await;
            assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
            while find(&talk.unread, b"0\r\n\r\n").is_none() {
                assert!(talk.read().await);
            }
            talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
                .await;
            talk.send("3\r\ncde\r\n0\r\n\r\n").await;
            talk.rest().await;
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        talk.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        talk.send("5\r\nhello\r\n").await;
        talk.send("0\r\n\r\n").await;
        let head = talk.head().await;
        assert_eq!(header(&head, "transfer-encoding"), Some("chunked"));
        let mut body = String::new();
        while !body.ends_with("0\r\n\r\n") {
            body.push_str(&talk.body(1).await);
        }
        let data: String = body.lines().skip(1).step_by(2).collect();
        assert_eq!(data, "abcde");
    });
}

#[test]
fn answers_without_a_body_keep_their_headers() {
    story(async {
        let (backend, seen) = raw_backend(|mut talk, _| async move {
            loop {
                let head = talk.head().await;
                talk.send(if head.starts_with("HEAD") {
                    "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: \"x\"\r\n\r\n"
                } else {
                    "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"
                })
                .await;
            }
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        talk.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = talk.head().await;
        assert_eq!(
            (status(&head), header(&head, "content-length")),
            ("200", Some("1234"))
        );
        talk.send(GET).await;
        let head = talk.head().await;
        assert_eq!(
            (status(&head), header(&head, "etag")),
            ("304", Some("\"x\""))
        );
        assert_eq!(header(&head, "transfer-encoding"), None);
        talk.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(status(&talk.head().await), "200");
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn http_1_0_clients_are_served_and_their_connections_closed() {
    story(async {
        let (backend, _) = raw_backend(|mut talk, _| async move {
            assert!(talk.head().await.starts_with("GET / HTTP/1.1\r\n"));
            talk.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
                .await;
            talk.rest().await;
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        talk.send("GET / HTTP/1.0\r\n\r\n").await;
        let head = talk.head().await;
        assert_eq!(status(&head), "200");
        assert_eq!(header(&head, "transfer-encoding"), None);
        assert_eq!(talk.rest().await, "hi");
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        let request = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        talk.send(&(request("/1") + &request("/2") + &request("/3")))
            .await;
        for path in ["/1", "/2", "/3"] {
            let (_, told) = talk.answer().await;
            assert!(told.contains(&format!("GET {path} ")), "{told}");
        }
    });
}

const BIG: usize = 100 << 20;
/// What sockets and the proxy may hold; a proxy that collects bodies would hold it all.
const IN_FLIGHT_MAX: usize = 40 << 20;

#[test]
fn a_large_answer_is_passed_on_as_it_comes() {
    story(async {
        let sent = Rc::new(Cell::new(0));
        let counted = sent.clone();
        let (backend, _) = raw_backend(move |mut talk, _| {
            let sent = counted.clone();
            async move {
                talk.head().await;
                talk.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {BIG}\r\n\r\n"))
                    .await;
                let piece = vec![b'x'; 64 << 10];
                while sent.get() < BIG {
                    talk.stream
                        .write_all(&piece)
                        .await
                        .expect("the proxy reads");
                    sent.set(sent.get() + piece.len());
                }
                talk.rest().await;
            }
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        talk.send(GET).await;
        talk.head().await;
        let mut received = 0;
        while received < BIG {
            received += std::mem::take(&mut talk.unread).len();
            assert!(
                sent.get() - received < IN_FLIGHT_MAX,
                "the proxy keeps what it should pass on"
            );
            if received < BIG {
                assert!(talk.read().await, "all of it arrives");
            }
        }
        assert_eq!(received, BIG);
    });
}

#[test]
fn a_large_upload_is_passed_on_as_it_comes() {
    story(async {
        let received = Rc::new(Cell::new(0));
        let counted = received.clone();
        let (backend, _) = raw_backend(move |mut talk, _| {
            let received = counted.clone();
            async move {
                talk.head().await;
                while received.get() < BIG {
                    received.set(received.get() + std::mem::take(&mut talk.unread).len());
                    if received.get() < BIG {
                        assert!(talk.read().await);
                    }
                }
                talk.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
                    .await;
                talk.rest().await;
            }
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        talk.send(&format!(
            "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {BIG}\r\n\r\n"
        ))
        .await;
        let piece = vec![b'x'; 64 << 10];
        let mut sent = 0;
        while sent < BIG {
            talk.stream
                .write_all(&piece)
                .await
                .expect("the proxy reads");
            sent += piece.len();
            assert!(
                sent - received.get() < IN_FLIGHT_MAX,
                "the proxy keeps what it should pass on"
            );
        }
        assert_eq!(status(&talk.head().await), "201");
    });
}

#[test]
fn a_websocket_is_passed_through() {
    story(async {
        let (backend, _) = raw_backend(|mut talk, _| async move {
            let head = talk.head().await;
            assert_eq!(header(&head, "upgrade"), Some("websocket"));
            assert_eq!(header(&head, "connection"), Some("Upgrade"));
            assert_eq!(header(&head, "sec-websocket-key"), Some("k"));
            talk.send(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: v\r\n\r\n",
            )
            .await;
            loop {
                let echo = talk.body(1).await;
                talk.send(&echo).await;
            }
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        talk.send(
            "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Key: k\r\n\r\n",
        )
        .await;
        let head = talk.head().await;
        assert_eq!(
            (status(&head), header(&head, "upgrade")),
            ("101", Some("websocket"))
        );
        assert_eq!(header(&head, "sec-websocket-accept"), Some("v"));
        for word in ["hello", "again"] {
            talk.send(word).await;
            assert_eq!(talk.body(word.len()).await, word);
        }
        let proxy = &running.edge.proxies[0];
        proxy
            .send(Stop {
                grace: Duration::ZERO,
            })
            .await
            .expect("it stops");
        assert_eq!(talk.rest().await, "");
    });
}

#[test]
fn a_dead_upstream_costs_no_request_while_another_lives() {
    story(async {
        let (backend, _) = telling_backend("alive").await;
        let dead = nobody().await;
        let running = edge(&[("urlprefix-/", dead), ("urlprefix-/", backend)]).await;
        for _ in 0..20 {
            let (head, _) = running.ask(GET).await;
            assert_eq!(
                (status(&head), header(&head, "x-backend")),
                ("200", Some("alive"))
            );
        }
        let body = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
        for _ in 0..5 {
            assert!(running.ask(body).await.1.ends_with("hi"));
        }
        assert_eq!(running.edge.counters.upstream_errors.load(Relaxed), 0);
    });
}

#[test]
fn without_a_living_upstream_the_answer_is_502() {
    story(async {
        let running = edge(&[("urlprefix-/", nobody().await)]).await;
        let (head, body) = running.ask(GET).await;
        assert_eq!(
            (status(&head), body.as_str()),
            ("502", "no upstream can be reached\n")
        );
        let (broken, _) = raw_backend(|mut talk, _| async move {
            talk.head().await;
        })
        .await;
        let running = edge(&[("urlprefix-/", broken)]).await;
        assert_eq!(status(&running.ask(GET).await.0), "502");
    });
}

#[test]
fn an_upstream_may_close_an_idle_connection_without_a_word() {
    story(async {
        let (backend, seen) = raw_backend(|mut talk, seen| async move {
            let head = talk.head().await;
            seen.heads.borrow_mut().push(head);
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
            // Waits for the next request's first byte, which it then doesn't answer.
            talk.read().await;
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        for _ in 0..4 {
            talk.send(GET).await;
            let (head, body) = talk.answer().await;
            assert_eq!((status(&head), body.as_str()), ("200", "ok"));
        }
        assert_eq!(seen.heads.borrow().len(), 4);
        assert!(running.edge.counters.retried.load(Relaxed) > 0);
    });
}

#[test]
fn a_request_that_changes_something_is_not_sent_twice() {
    story(async {
        let (backend, seen) = raw_backend(|mut talk, seen| async move {
            talk.head().await;
            talk.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
            let head = talk.head().await;
            seen.heads.borrow_mut().push(head);
        })
        .await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let mut talk = running.connect().await;
        talk.send(GET).await;
        talk.answer().await;
        talk.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            .await;
        assert_eq!(status(&talk.answer().await.0), "502");
        assert_eq!(seen.heads.borrow().len(), 1);
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn routes_follow_the_catalog() {
    story(async {
        let (old, _) = telling_backend("old").await;
        let (new, _) = telling_backend("new").await;
        let running = edge(&[("urlprefix-/", old)]).await;
        let mut talk = running.connect().await;
        talk.send(GET).await;
        assert_eq!(header(&talk.answer().await.0, "x-backend"), Some("old"));
        for (routes, expected) in [
            (
                vec![("urlprefix-/", new), ("urlprefix-bad", new)],
                Some("new"),
            ),
            (vec![], None),
            (vec![("urlprefix-/", old)], Some("old")),
        ] {
            running.catalog.send_replace(view(&routes));
            loop {
                talk.send(GET).await;
                let (head, _) = talk.answer().await;
                if header(&head, "x-backend") == expected {
                    break;
                }
            }
            let rows = running
                .edge
                .routes
                .send(DescribeRoutes)
                .await
                .expect("an answer");
            assert_eq!(rows.len(), usize::from(expected.is_some()));
        }
    });
}

#[test]
fn an_upstream_that_takes_too_long_is_given_up() {
    story(async {
        let (backend, _) = raw_backend(|mut talk, _| async move {
            talk.rest().await;
        })
        .await;
        let settings = Settings {
            upstream_answer: Duration::ZERO,
            ..patient()
        };
        let running = edge_with(&[("urlprefix-/", backend)], settings, 1).await;
        let (head, body) = running.ask(GET).await;
        assert_eq!(
            (status(&head), body.as_str()),
            ("504", "the upstream didn't answer in time\n")
        );
    });
}

#[test]
fn a_client_that_never_finishes_its_head_is_cut_off() {
    story(async {
        let settings = Settings {
            client_idle: Duration::ZERO,
            ..patient()
        };
        let running = edge_with(&[], settings, 1).await;
        let mut talk = running.connect().await;
        talk.send("GET / HTTP/1.1\r\nHost: ").await;
        assert_eq!(talk.rest().await, "");
    });
}

#[test]
fn a_stop_lets_requests_in_flight_finish() {
    story(async {
        let (asked, mut was_asked) = tokio::sync::mpsc::channel(1);
        let (go, gone) = watch::channel(false);
        let (backend, _) = raw_backend(move |mut talk, _| {
            let (asked, mut gone) = (asked.clone(), gone.clone());
            async move {
                talk.head().await;
                asked.send(()).await.expect("the test listens");
                gone.wait_for(|gone| *gone)
                    .await
                    .expect("the test says when");
                talk.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
                    .await;
                talk.rest().await;
            }
        })
        .await;
        let running = edge_with(&[("urlprefix-/", backend)], patient(), 2).await;
        let (mut busy, mut idle) = (running.connect().await, running.connect().await);
        busy.send(GET).await;
        was_asked.recv().await.expect("the backend is asked");
        let stopping = running.edge.proxies[0].send(Stop { grace: PATIENCE });
        let stopping = spawn_local(stopping);
        assert_eq!(
            idle.rest().await,
            "",
            "an idle connection is closed at once"
        );
        assert!(!stopping.is_finished());
        go.send_replace(true);
        let (head, body) = busy.answer().await;
        assert_eq!(
            (header(&head, "connection"), body.as_str()),
            (Some("close"), "done")
        );
        stopping.await.expect("no panic").expect("it stops");
        let refused = TcpStream::connect(running.edge.addresses[0]).await;
        assert!(refused.is_err(), "nobody listens any more");
    });
}

#[test]
fn a_port_that_is_taken_is_an_error_at_the_start() {
    story(async {
        let taken = TcpListener::bind((LOCALHOST, 0))
            .await
            .expect("a free port");
        let address = taken.local_addr().expect("an address");
        let config = EdgeConfig {
            listeners: vec![EdgeListener::http(address.port())],
            ui_port: 0,
            ..EdgeConfig::default()
        };
        let (_catalog, view) = publish(view(&[]));
        let refused = start(&world(2), &config, LOCALHOST, view).await.err();
        let address = address.to_string();
        assert_eq!(refused, Some(NetworkError::InUse { address }));
    });
}

#[test]
fn paths_hosts_and_redirects_are_as_the_tags_say() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let running = edge(&[
            ("urlprefix-strip.com/api strip=/api prepend=/v1", backend),
            ("urlprefix-named.com/ host=inner.example", backend),
            ("urlprefix-dst.com/ host=dst", backend),
            (
                "urlprefix-moved.com/ redirect=301,https://new.com$path",
                backend,
            ),
            ("urlprefix-rpc.com/ proto=grpc", backend),
        ])
        .await;
        let get = |host: &str, path: &str| format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (_, told) = running.ask(&get("strip.com", "/api/x?y=z")).await;
        assert!(told.contains("GET /v1/x?y=z "), "{told}");
        assert!(told.contains("x-forwarded-prefix: /api\n"), "{told}");
        let (_, told) = running.ask(&get("named.com", "/")).await;
        assert!(told.contains("\nhost: inner.example\n"), "{told}");
        assert!(told.contains("x-forwarded-host: named.com\n"), "{told}");
        let (_, told) = running.ask(&get("dst.com", "/")).await;
        assert!(told.contains(&format!("\nhost: {backend}\n")), "{told}");
        let (head, _) = running.ask(&get("moved.com", "/x?y")).await;
        assert_eq!(
            (status(&head), header(&head, "location")),
            ("301", Some("https://new.com/x?y"))
        );
        let (head, body) = running.ask(&get("rpc.com", "/")).await;
        assert_eq!(status(&head), "502");
        assert!(body.contains("gRPC"), "{body}");
    });
}

#[test]
fn requests_that_could_be_read_in_two_ways_are_refused_or_made_plain() {
    story(async {
        let (backend, seen) = telling_backend("a").await;
        let running = edge(&[("urlprefix-/", backend)]).await;
        let host = "Host: a\r\n";
        let long = format!("X: {}\r\n", "a".repeat(70_000));
        for (request, expected) in [
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
            (format!("GET / HTTP/1.1\r\n{host}{host}\r\n"), "400"),
            (
                "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(),
                "400",
            ),
            (
                format!("POST / HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
                "400",
            ),
            (
                format!(
                    "POST / HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"
                ),
                "400",
            ),
            (
                format!("POST / HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                "400",
            ),
            (format!("GET / HTTP/1.1\r\n{host}{long}\r\n"), "431"),
        ] {
            let mut talk = running.connect().await;
            talk.send(&request).await;
            let head = talk.head().await;
            assert_eq!(
                status(&head),
                expected,
                "{:?}",
                &request[..60.min(request.len())]
            );
        }
        assert_eq!(seen.heads.borrow().len(), 0);
        let mut talk = running.connect().await;
        talk.send(&format!(
            "POST / HTTP/1.1\r\n{host}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
             GET /smuggled HTTP/1.1\r\n{host}\r\n"
        ))
        .await;
        let (head, told) = talk.answer().await;
        assert_eq!(header(&head, "connection"), Some("close"));
        assert!(!told.contains("content-length"), "{told}");
        assert_eq!(talk.rest().await, "");
        assert_eq!(seen.heads.borrow().len(), 1);
    });
}

#[test]
fn an_absolute_request_line_says_which_host_is_meant() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let running = edge(&[("urlprefix-real.com/", backend)]).await;
        let (head, told) = running
            .ask("GET http://real.com/x HTTP/1.1\r\nHost: other.com\r\n\r\n")
            .await;
        assert_eq!(status(&head), "200");
        assert!(
            told.starts_with("a\nGET /x HTTP/1.1\nhost: real.com\n"),
            "{told}"
        );
    });
}

#[test]
fn the_admin_port_shows_the_routes_and_the_counters() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let running = edge(&[]).await;
        let get = async |path: &str| {
            let mut talk = Talk::to(running.edge.admin).await;
            talk.send(&format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"))
                .await;
            talk.answer().await
        };
        let (head, body) = get("/api/routes").await;
        assert_eq!(
            header(&head, "content-type"),
            Some("application/json; charset=utf-8")
        );
        assert_eq!(body, "null");
        running
            .catalog
            .send_replace(view(&[("urlprefix-<b>/", backend)]));
        while running.edge.table.load().is_empty() {
            tokio::task::yield_now().await;
        }
        let (_, body) = get("/api/routes").await;
        let rows: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(rows[0]["dst"], format!("http://{backend}/"));
        let (_, body) = get("/api/routes?raw").await;
        assert_eq!(body, format!("route add web <b>/ http://{backend}/\n"));
        let (_, body) = get("/routes").await;
        assert!(body.contains("\"Source\">&lt;b&gt;/</td>"), "{body}");
        let (head, body) = get("/health").await;
        assert_eq!((status(&head), body.as_str()), ("200", "OK\n"));
        let (head, _) = get("/").await;
        assert_eq!(
            (status(&head), header(&head, "location")),
            ("303", Some("/routes"))
        );
        assert_eq!(status(&get("/nope").await.0), "404");
        running.ask(GET).await;
        let (_, body) = get("/metrics").await;
        assert!(body.contains("drover_edge_no_route_total 1\n"), "{body}");
        let (_, body) = get("/api/config").await;
        let config: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(config["Proxy"]["NoRouteStatus"], 404);
    });
}

//! Listeners that take TLS off: certificates by name, HTTP/1.1 and HTTP/2, gRPC.

use std::collections::{BTreeMap, BTreeSet};

use http_body_util::StreamBody;
use hyper::HeaderMap;
use hyper::body::Frame;
use logic::config::{CertKind, CertSource, EdgeProtocol, ListenerOptions, ListenerTls};
use logic::time::Time;
use ports::{Clock, Fingerprint, Machine, MachineUsage};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use super::super::http2::Local;
use super::https::anyone;
use super::*;

/// A machine with files.
struct Files(BTreeMap<String, String>);

impl Machine for Files {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::default()
    }

    fn ports_in_use(&self) -> BTreeSet<u16> {
        BTreeSet::new()
    }

    fn usage(&self) -> MachineUsage {
        MachineUsage::default()
    }

    fn file(&self, path: &str) -> Result<Vec<u8>, String> {
        let text = self.0.get(path).ok_or(format!("{path}: no such file"))?;
        Ok(text.clone().into_bytes())
    }

    fn folder(&self, path: &str) -> Result<Vec<String>, String> {
        let names = self.0.keys().filter_map(|name| name.strip_prefix(path));
        Ok(names
            .map(|name| name.trim_start_matches('/').to_owned())
            .collect())
    }
}

struct Today;

impl Clock for Today {
    fn now(&self) -> Time {
        Time::from_secs(1_795_525_975)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A certificate for a name, with its key behind it.
fn pem(name: &str) -> String {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    let certificate = params.self_signed(&key).expect("a certificate");
    pem_text("CERTIFICATE", certificate.der()) + &pem_text("PRIVATE KEY", &key.serialize_der())
}

fn pem_text(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::prelude::BASE64_STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + &format!("-----END {label}-----\n")
}

async fn tls_edge(protocol: EdgeProtocol, strict: bool, tags: &[(&str, SocketAddr)]) -> Running {
    let files = [("a.example.pem", "a.example"), ("b.pem", "*.b.example")];
    let files = files.map(|(file, name)| (format!("/certs/{file}"), pem(name)));
    let tls = ListenerTls {
        source: CertSource {
            name: "all".into(),
            kind: CertKind::Path {
                folder: "/certs".into(),
            },
            client_ca: String::new(),
            refresh: Duration::from_secs(3),
        },
        strict,
        tls12: true,
        tls13: true,
    };
    let mut config = EdgeConfig {
        listeners: vec![EdgeListener {
            protocol,
            options: ListenerOptions {
                tls: Some(tls),
                ..ListenerOptions::default()
            },
            ..EdgeListener::http(0)
        }],
        ui_port: 0,
        ..EdgeConfig::default()
    };
    config.proxy.strict_transport = "max-age=60".to_owned();
    let mut world = world(1);
    world.machine = Arc::new(Files(files.into()));
    world.clock = Arc::new(Today);
    let (catalog, view) = publish(view(tags));
    let edge = start(&world, &config, LOCALHOST, view).await;
    Running {
        edge: edge.expect("free ports"),
        catalog,
    }
}

async fn over_tls(
    running: &Running,
    name: &'static str,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut config = anyone();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(running.edge.addresses[0]).await?;
    let name = ServerName::try_from(name).expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

fn certified(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let (_, session) = stream.get_ref();
    session.peer_certificates().expect("one")[0].to_vec()
}

#[test]
fn a_client_gets_the_certificate_it_asks_for() {
    story(async {
        let (backend, seen) = telling_backend("a").await;
        let running = tls_edge(EdgeProtocol::Https, false, &[("urlprefix-/", backend)]).await;
        let mut first = over_tls(&running, "a.example", &[]).await.expect("TLS");
        let second = over_tls(&running, "x.b.example", &[]).await.expect("TLS");
        let other = over_tls(&running, "other.example", &[]).await.expect("TLS");
        assert_ne!(certified(&first), certified(&second));
        assert_eq!(certified(&first), certified(&other));
        first.write_all(GET.as_bytes()).await.expect("sent");
        let mut answer = vec![0; 4096];
        let length = first.read(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        assert_eq!(
            header(&answer, "strict-transport-security"),
            Some("max-age=60")
        );
        let told = seen.heads.borrow()[0].clone();
        assert_eq!(header(&told, "x-forwarded-proto"), Some("https"));
        let strict = tls_edge(EdgeProtocol::Https, true, &[("urlprefix-/", backend)]).await;
        over_tls(&strict, "a.example", &[]).await.expect("TLS");
        let refused = over_tls(&strict, "other.example", &[]).await;
        assert!(refused.is_err(), "strict match");
    });
}

#[test]
fn http2_is_spoken_with_clients_that_offer_it() {
    story(async {
        let (backend, seen) = telling_backend("a").await;
        let running = tls_edge(EdgeProtocol::Https, false, &[("urlprefix-/", backend)]).await;
        let stream = over_tls(&running, "a.example", &["h2", "http/1.1"]).await;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(Local, TokioIo::new(stream.expect("TLS")))
                .await
                .expect("HTTP/2");
        spawn_local(connection);
        for n in 0..3 {
            let request = Request::get(format!("https://a.example/{n}"))
                .header("cookie", "a=1")
                .header("cookie", "b=2")
                .body(Full::new(Bytes::new()))
                .expect("a request");
            let response = sender.send_request(request).await.expect("an answer");
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.expect("a body");
            assert!(body.to_bytes().starts_with(b"a\n"));
        }
        let heads = seen.heads.borrow();
        assert!(heads[1].starts_with("a\nGET /1 HTTP/1.1\n"), "{}", heads[1]);
        assert_eq!(header(&heads[1], "host"), Some("a.example"));
        assert_eq!(header(&heads[1], "cookie"), Some("a=1; b=2"));
        assert_eq!(seen.connections.get(), 1);
    });
}

#[test]
fn a_listener_for_both_passes_on_what_a_tcp_route_has_and_opens_the_rest() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let passed = super::https::tls_backend("passed").await;
        let tags = [
            ("urlprefix-a.example/", backend),
            ("urlprefix-inner.example/ proto=tcp", passed.address),
        ];
        let running = tls_edge(EdgeProtocol::HttpsTcpSni, false, &tags).await;
        for (name, expected) in [("a.example", "\r\n\r\na\n"), ("inner.example", "passed")] {
            let mut stream = over_tls(&running, name, &[]).await.expect("TLS");
            let request = format!("GET / HTTP/1.1\r\nHost: {name}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = vec![0; 4096];
            let length = stream.read(&mut answer).await.expect("an answer");
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            assert!(answer.contains(expected), "{name}: {answer}");
        }
    });
}

/// A gRPC server in the clear, which echoes a message and says in its trailers how it went.
async fn grpc_backend() -> SocketAddr {
    let (address, _) = raw_backend(|talk, _| async move {
        let service = service_fn(|request: Request<Incoming>| async move {
            assert_eq!(request.headers()["te"], "trailers");
            let message = request.into_body().collect().await.expect("a message");
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().expect("a value"));
            let frames = [Frame::data(message.to_bytes()), Frame::trailers(trailers)];
            let frames = frames.map(Ok::<_, Infallible>);
            let body = StreamBody::new(futures_util::stream::iter(frames));
            let reply = Response::builder().header("content-type", "application/grpc");
            reply.body(body).map_err(|error| error.to_string())
        });
        let server = hyper::server::conn::http2::Builder::new(Local);
        let _ = server
            .serve_connection(TokioIo::new(talk.stream), service)
            .await;
    })
    .await;
    address
}

#[test]
fn grpc_calls_go_through_with_their_trailers() {
    story(async {
        let backend = grpc_backend().await;
        let tags = [("urlprefix-/pkg.Service/ proto=grpc", backend)];
        let options = ListenerOptions::default();
        let config = EdgeConfig::default();
        let running =
            super::options::listening_as(EdgeProtocol::Grpc, options, config, &tags).await;
        let stream = TcpStream::connect(running.edge.addresses[0])
            .await
            .expect("it listens");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(Local, TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        spawn_local(connection);
        for (path, status) in [("/pkg.Service/Echo", "0"), ("/other.Service/Echo", "5")] {
            let request = Request::post(format!("http://any{path}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Full::new(Bytes::from("message")))
                .expect("a request");
            let response = sender.send_request(request).await.expect("an answer");
            assert_eq!(response.status(), 200);
            let early = response.headers().get("grpc-status").cloned();
            let body = response.into_body().collect().await.expect("a body");
            let late = body.trailers().and_then(|t| t.get("grpc-status")).cloned();
            let told = early.or(late).expect("a status");
            assert_eq!(told, status, "{path}");
            if status == "0" {
                assert_eq!(body.to_bytes(), "message");
            }
        }
    });
}

//! Upstreams that speak TLS, trusted and not.

use std::sync::Arc;

use logic::time::Time;
use ports::{Fingerprint, Machine, MachineUsage};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use super::*;

pub(super) struct TlsBackend {
    pub(super) address: SocketAddr,
    certificate: Vec<u8>,
}

/// A backend with a certificate of its own for 127.0.0.1 and inner.example, which says its name.
pub(super) async fn tls_backend(name: &'static str) -> TlsBackend {
    let key = KeyPair::generate().expect("a key");
    let names = ["127.0.0.1".to_owned(), "inner.example".to_owned()];
    let mut params = CertificateParams::new(names).expect("names");
    // The test world's clock stands in 2026.
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    let certificate = params.self_signed(&key).expect("a certificate");
    let certificate = certificate.der().to_vec();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(certificate.clone())], key)
        .expect("a certificate and its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (address, _) = raw_backend(move |talk, _| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(stream) = acceptor.accept(talk.stream).await else {
                return;
            };
            let service = service_fn(move |_: Request<Incoming>| async move {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(name))))
            });
            let server = hyper::server::conn::http1::Builder::new();
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
    TlsBackend {
        address,
        certificate,
    }
}

/// A client that trusts any certificate.
pub(super) fn anyone() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .dangerous()
        .with_custom_certificate_verifier(super::super::tls::anyone())
        .with_no_client_auth()
}

/// A machine that trusts these certificates.
struct Trusting(Vec<Vec<u8>>);

impl Machine for Trusting {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::default()
    }

    fn ports_in_use(&self) -> std::collections::BTreeSet<u16> {
        std::collections::BTreeSet::new()
    }

    fn usage(&self) -> MachineUsage {
        MachineUsage::default()
    }

    fn trusted_certificates(&self) -> Vec<Vec<u8>> {
        self.0.clone()
    }
}

/// A clock that stands at this second.
struct Stands(i64);

impl Clock for Stands {
    fn now(&self) -> Time {
        Time::from_secs(self.0)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

async fn https_edge(routes: &[(&str, SocketAddr)], world: &World) -> Running {
    let (catalog, view) = publish(view(routes));
    let config = EdgeConfig {
        listeners: vec![EdgeListener::http(0)],
        ui_port: 0,
        ..EdgeConfig::default()
    };
    Running {
        edge: start(world, &config, LOCALHOST, view)
            .await
            .expect("free ports"),
        catalog,
    }
}

fn get(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn an_upstreams_certificate_must_be_trusted_unless_the_tag_says_otherwise() {
    story(async {
        let backend = tls_backend("secret").await;
        let routes = [
            ("urlprefix-checked.com/ proto=https", backend.address),
            (
                "urlprefix-named.com/ proto=https host=inner.example",
                backend.address,
            ),
            (
                "urlprefix-misnamed.com/ proto=https host=other.example",
                backend.address,
            ),
            (
                "urlprefix-open.com/ proto=https tlsskipverify=true",
                backend.address,
            ),
        ];
        let strangers = https_edge(&routes, &world(1)).await;
        let mut trusting = world(1);
        trusting.machine = Arc::new(Trusting(vec![backend.certificate.clone()]));
        let friends = https_edge(&routes, &trusting).await;
        trusting.clock = Arc::new(Stands(1_900_000_000));
        let later = https_edge(&routes, &trusting).await;
        for (edge, name, host, status_wanted) in [
            (&strangers, "strangers", "checked.com", "502"),
            (&strangers, "strangers", "named.com", "502"),
            (&strangers, "strangers", "open.com", "200"),
            (&strangers, "strangers", "open.com", "200"),
            (&strangers, "strangers", "checked.com", "502"),
            (&friends, "friends", "checked.com", "200"),
            (&friends, "friends", "named.com", "200"),
            (&friends, "friends", "misnamed.com", "502"),
            (&friends, "friends", "open.com", "200"),
            (&later, "later", "checked.com", "502"),
            (&later, "later", "open.com", "200"),
        ] {
            let (head, body) = edge.ask(&get(host)).await;
            assert_eq!(status(&head), status_wanted, "{name} {host}: {body}");
            let said = match status_wanted {
                "200" => "secret",
                _ => "the upstream's certificate isn't trusted\n",
            };
            assert_eq!(body, said, "{name} {host}");
        }
    });
}

#[test]
fn an_upstream_that_speaks_no_tls_is_a_502() {
    story(async {
        let (backend, _) = telling_backend("plain").await;
        let routes = [("urlprefix-/ proto=https tlsskipverify=true", backend)];
        let running = https_edge(&routes, &world(1)).await;
        let (head, body) = running.ask(GET).await;
        assert_eq!(status(&head), "502");
        assert_eq!(body, "the upstream doesn't speak TLS as it should\n");
    });
}

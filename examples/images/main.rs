//! The web services of the walk-through: `demo-backend http|https [VERSION...]`, the last version
//! is the one it says it is. Built statically, for images with nothing else in them: see build.sh.

#![expect(clippy::print_stdout, reason = "what it says is its container's log")]

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const HTTP_PORT: u16 = 8081;
const HTTPS_PORT: u16 = 7777;
/// How long a client may take to agree on a key.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may take once the program is told to end.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How soon an accept that failed (too many files) is tried again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What the arguments ask for.
struct Service {
    name: &'static str,
    port: u16,
    version: String,
    tls: Option<TlsAcceptor>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let service = Service::asked_for(&arguments)?;
    let mut terminate = signal(SignalKind::terminate()).context("can't wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("can't wait for SIGINT")?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, service.port)).await;
    let listener = listener.with_context(|| format!("can't listen on port {}", service.port))?;
    println!(
        "{} {} listening on :{}",
        service.name, service.version, service.port
    );
    let told_to_end = async {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve(listener, Arc::new(service), told_to_end).await;
    Ok(())
}

impl Service {
    fn asked_for(arguments: &[String]) -> anyhow::Result<Self> {
        let (scheme, versions) = arguments
            .split_first()
            .context("usage: http|https VERSION")?;
        let version = versions.last().map_or("v1.0.0", String::as_str).to_owned();
        match scheme.as_str() {
            "http" => Ok(Self {
                name: "httpbackendservice",
                port: HTTP_PORT,
                version,
                tls: None,
            }),
            "https" => Ok(Self {
                name: "httpsbackendservice",
                port: HTTPS_PORT,
                version,
                tls: Some(self_signed("httpsbackendservice")?),
            }),
            other => bail!("`{other}` is neither http nor https"),
        }
    }

    fn answer(&self, method: &Method) -> Response<Full<Bytes>> {
        let body = format!("this is {}, version: {}\n", self.name, self.version);
        let length = HeaderValue::from(body.len());
        let body = if method == Method::HEAD {
            String::new()
        } else {
            body
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(hyper::header::CONTENT_LENGTH, length);
        response
    }
}

/// A new key each time, and a certificate that nobody vouches for.
fn self_signed(name: &str) -> anyhow::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]);
    let made = made.context("can't make a certificate")?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .context("can't use the certificate")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Answers until told to end; then what was asked is still answered.
async fn serve(listener: TcpListener, service: Arc<Service>, told_to_end: impl Future) {
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(told_to_end);
    loop {
        tokio::select! {
            biased;
            _ = &mut told_to_end => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(talk(stream, Arc::clone(&service), stopping.clone()));
                }
                Err(error) => {
                    println!("can't accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    stop.send_replace(true);
    let last = async { while connections.join_next().await.is_some() {} };
    timeout(LAST_ANSWERS, last).await.unwrap_or_default();
}

async fn talk(stream: TcpStream, service: Arc<Service>, stopping: watch::Receiver<bool>) {
    stream.set_nodelay(true).ok();
    let Some(tls) = service.tls.clone() else {
        return answer_on(stream, service, stopping).await;
    };
    // A check that only connects, or a client that doesn't like the certificate, is no news.
    if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        answer_on(stream, service, stopping).await;
    }
}

async fn answer_on(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: Arc<Service>,
    mut stopping: watch::Receiver<bool>,
) {
    let answering = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let response = service.answer(request.method());
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), answering);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    // A client that goes away is no news.
    connection.await.unwrap_or_default();
}

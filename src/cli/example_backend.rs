//! `example-backend`: a small HTTP server to deploy, to look at and to measure with.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::agent::signals::Signals;
use super::exit::{Exit, Failure, Outcome};
use super::programs::block_on;
use super::terminal;

const PORT_DEFAULT: u16 = 8081;
/// How long open requests may take once the server is told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// How often connections that can't be accepted (too many files) are tried again.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Serve a greeting on every path: something small to deploy
///
/// Headers of the answer tell which instance gave it. Keeps connections open, and ends cleanly on
/// SIGTERM and SIGINT.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover example-backend -listen 127.0.0.1:9000
  $ drover example-backend -version v2.0.0          on $NOMAD_PORT_http, as a task")]
pub(super) struct ExampleBackendArgs {
    /// Where to listen [default: port 8081, or the one a job gives it]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// The version it says it is
    #[arg(long, default_value = "v1.0.0")]
    version: String,
}

pub(super) fn run(args: &ExampleBackendArgs) -> Outcome {
    let address = match args.listen {
        Some(address) => address,
        None => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port()?)),
    };
    block_on(serve(address, Answer::new(&args.version)))
}

fn port() -> Result<u16, Failure> {
    let Ok(port) = std::env::var("NOMAD_PORT_http") else {
        return Ok(PORT_DEFAULT);
    };
    port.parse()
        .map_err(|_| Failure::new(format!("$NOMAD_PORT_http is `{port}`, which is no port")))
}

/// The one answer to everything.
struct Answer {
    version: String,
    body: Bytes,
    headers: HeaderMap,
}

impl Answer {
    fn new(version: &str) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        for (name, variable) in [
            ("x-instance", "NOMAD_ALLOC_NAME"),
            ("x-instance-id", "NOMAD_ALLOC_ID"),
            ("x-instance-address", "NOMAD_ADDR_http"),
        ] {
            let value = std::env::var(variable).ok();
            if let Some(Ok(value)) = value.map(|value| HeaderValue::from_str(&value)) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        Self {
            version: version.to_owned(),
            body: Bytes::from(format!("this is httpbackendservice, version: {version}\n")),
            headers,
        }
    }

    fn respond(&self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body.clone()));
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().clone_from(&self.headers);
        response
    }
}

async fn serve(address: SocketAddr, answer: Answer) -> Outcome {
    let mut signals = Signals::listen()
        .map_err(|error| Failure::new(format!("can't wait for signals: {error}")))?;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Failure::new(format!("can't listen on {address}: {error}")))?;
    let address = listener.local_addr().unwrap_or(address);
    terminal::print(&format!(
        "httpbackendservice {} listening on {address}",
        answer.version
    ));
    let answer = Arc::new(answer);
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let told = loop {
        tokio::select! {
            biased;
            told = signals.next() => break told,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, Arc::clone(&answer), stopping.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_AGAIN).await,
            },
            Some(_) = connections.join_next() => {}
        }
    };
    drop(listener);
    stop.send_replace(true);
    let last = async { while connections.join_next().await.is_some() {} };
    // Whoever is still talking then has been told that the connection closes.
    let _ = timeout(LAST_ANSWERS, last).await;
    terminal::print(&format!("stopped by {told}"));
    Ok(Exit::Done)
}

async fn converse(stream: TcpStream, answer: Arc<Answer>, mut stopping: watch::Receiver<bool>) {
    let service = service_fn(move |_| {
        let response = answer.respond();
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        _ = connection.as_mut() => return,
        _ = stopping.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    // A connection that breaks off is the client's affair.
    let _ = connection.await;
}

//! One run of a check: connect, or ask and look at the answer's status.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use logic::lifecycle::health::Verdict;
use logic::lifecycle::services::Probe;
use logic::routes::Tls;
use ports::{Stream, World};

use crate::edge::tls::TlsClient;

/// How much of an answer's body is read; the rest is not waited for.
const BODY_BYTES_MAX: usize = 4_096;

/// Runs a probe; returns what it means and a line that says what happened.
pub(crate) async fn run(
    world: World,
    tls: Arc<TlsClient>,
    probe: Probe,
    timeout: Duration,
) -> (Verdict, String) {
    let described = describe(&probe);
    let running = async {
        match probe {
            Probe::Tcp { address } => tcp(&world, address).await,
            Probe::Http { .. } => http(&world, &tls, probe).await,
        }
    };
    match tokio::time::timeout(timeout, running).await {
        Ok(Ok((verdict, output))) => (verdict, output),
        Ok(Err(reason)) => (Verdict::Critical, format!("{described}: {reason}")),
        Err(_) => (
            Verdict::Critical,
            format!("{described}: no answer within {} ms", timeout.as_millis()),
        ),
    }
}

fn describe(probe: &Probe) -> String {
    match probe {
        Probe::Tcp { address } => format!("TCP connect {address}"),
        Probe::Http {
            address,
            path,
            method,
            tls,
            ..
        } => format!("HTTP {method} {}://{address}{path}", scheme(tls.as_ref())),
    }
}

fn scheme(tls: Option<&Tls>) -> &'static str {
    if tls.is_some() { "https" } else { "http" }
}

async fn tcp(world: &World, address: String) -> Result<(Verdict, String), String> {
    let output = format!("TCP connect {address}: Success");
    world
        .network
        .connect(address)
        .await
        .map_err(|error| error.to_string())?;
    Ok((Verdict::Passing, output))
}

async fn http(
    world: &World,
    tls_client: &TlsClient,
    probe: Probe,
) -> Result<(Verdict, String), String> {
    let Probe::Http {
        address,
        path,
        method,
        headers,
        body,
        tls,
    } = probe
    else {
        return Err("it isn't an HTTP check".to_owned());
    };
    let stream = connected(world, tls_client, &address, tls.as_ref()).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let path = if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    };
    let mut request = Request::builder().method(method.as_str()).uri(&path);
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        request = request.header("host", &address);
    }
    request = request
        .header("user-agent", "Drover Health Check")
        .header("connection", "close");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let asking = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status();
        // A body that is too long or breaks off doesn't change what the status said.
        let collected = Limited::new(response.into_body(), BODY_BYTES_MAX)
            .collect()
            .await;
        let body = collected
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        let verdict = match status.as_u16() {
            200..=299 => Verdict::Passing,
            429 => Verdict::Warning,
            _ => Verdict::Critical,
        };
        let text = String::from_utf8_lossy(&body);
        let url = format!("{}://{address}{path}", scheme(tls.as_ref()));
        Ok((
            verdict,
            format!("HTTP {method} {url}: {status} Output: {text}"),
        ))
    };
    // The connection makes progress only while it is polled along with the question.
    let mut connection = std::pin::pin!(connection);
    let mut asking = std::pin::pin!(asking);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut asking => return answer,
            ended = &mut connection, if open => {
                open = false;
                if let Err(error) = ended {
                    return Err(error.to_string());
                }
            }
        }
    }
}

async fn connected(
    world: &World,
    client: &TlsClient,
    address: &str,
    tls: Option<&Tls>,
) -> Result<Box<dyn Stream>, String> {
    let stream = world.network.connect(address.to_owned()).await;
    let stream = stream.map_err(|error| error.to_string())?;
    match tls {
        None => Ok(stream),
        Some(tls) => client
            .begin(stream, tls)
            .await
            .map_err(|failure| failure.reason),
    }
}

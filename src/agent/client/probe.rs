//! One run of a check: connect, or ask and look at the answer's status.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode};
use logic::address::host_of;
use logic::lifecycle::health::Verdict;
use logic::lifecycle::services::Probe;
use logic::registry::parse_url;
use logic::routes::Tls;
use ports::{Stream, World};

use crate::edge::tls::TlsClient;
use crate::exchange::exchange;

/// How much of an answer's body is read; the rest is not waited for.
const BODY_BYTES_MAX: usize = 4_096;
const REDIRECTIONS_MAX: usize = 10;

/// Runs probes. Clones share the certificates that are trusted, which take a while to read.
#[derive(Clone)]
pub(crate) struct Prober {
    world: World,
    tls: Arc<TlsClient>,
}

impl Prober {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            world: world.clone(),
            tls: Arc::new(TlsClient::new(world)),
        }
    }

    /// Runs a probe; returns what it means and a line that says what happened.
    pub(crate) async fn run(self, probe: Probe, timeout: Duration) -> (Verdict, String) {
        let described = describe(&probe);
        let running = async {
            match probe {
                Probe::Tcp { address } => tcp(&self.world, address).await,
                Probe::Http { .. } => http(&self.world, &self.tls, probe).await,
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

/// Asks, and follows redirections as far as browsers do.
async fn http(
    world: &World,
    client: &TlsClient,
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
    let path = if path.starts_with('/') {
        path
    } else {
        format!("/{path}")
    };
    let mut question = Question {
        address,
        path,
        method,
        headers,
        body,
        tls,
    };
    for _ in 0..REDIRECTIONS_MAX {
        let answer = ask(world, client, &question).await?;
        let next = answer.location.and_then(|place| question.elsewhere(&place));
        let Some(next) = next.filter(|_| answer.status.is_redirection()) else {
            let verdict = match answer.status.as_u16() {
                200..=299 => Verdict::Passing,
                429 => Verdict::Warning,
                _ => Verdict::Critical,
            };
            let (method, url) = (&question.method, question.url());
            let said = format!(
                "HTTP {method} {url}: {} Output: {}",
                answer.status, answer.text
            );
            return Ok((verdict, said));
        };
        question = next;
    }
    Err(format!("{REDIRECTIONS_MAX} redirections"))
}

/// What is asked of whom.
#[derive(Clone)]
struct Question {
    address: String,
    path: String,
    method: String,
    headers: Vec<(String, String)>,
    body: String,
    tls: Option<Tls>,
}

impl Question {
    fn url(&self) -> String {
        format!(
            "{}://{}{}",
            scheme(self.tls.as_ref()),
            self.address,
            self.path
        )
    }

    /// The same at another place; none if it makes no sense.
    fn elsewhere(&self, place: &str) -> Option<Self> {
        let mut next = self.clone();
        if place.starts_with('/') && !place.starts_with("//") {
            place.clone_into(&mut next.path);
            return Some(next);
        }
        let url = parse_url(place)?;
        let verified = self.tls.as_ref().is_none_or(|tls| tls.verified);
        next.tls = url.https.then(|| Tls {
            name: host_of(&url.address).to_owned(),
            verified,
        });
        next.headers
            .retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
        (next.address, next.path) = (url.address, url.path);
        Some(next)
    }
}

struct Answer {
    status: StatusCode,
    location: Option<String>,
    text: String,
}

async fn ask(world: &World, client: &TlsClient, question: &Question) -> Result<Answer, String> {
    let Question {
        address,
        path,
        method,
        headers,
        body,
        tls,
    } = question;
    let stream = connected(world, client, address, tls.as_ref()).await?;
    let mut request = Request::builder().method(method.as_str()).uri(path);
    if !headers
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"))
    {
        request = request.header("host", address);
    }
    request = request
        .header("user-agent", "Drover Health Check")
        .header("connection", "close");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request
        .body(Full::new(Bytes::from(body.clone())))
        .map_err(|error| error.to_string())?;
    let answer = exchange(stream, request, BODY_BYTES_MAX).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let location = answer.headers.get("location");
    // A body that is too long or breaks off doesn't change what the status said.
    let body = answer.body.unwrap_or_default();
    Ok(Answer {
        status: answer.status,
        location: location.and_then(|place| place.to_str().ok().map(str::to_owned)),
        text: String::from_utf8_lossy(&body).into_owned(),
    })
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
            .begin(stream, tls, false)
            .await
            .map_err(|failure| failure.reason),
    }
}

//! Requests to a Consul: JSON over HTTP, a connection each.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode};
use logic::config::ConsulConfig;
use ports::World;
use serde_json::Value;

use crate::exchange::exchange;

const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How much of a refusal is told.
const REASON_CHARS_MAX: usize = 300;

/// Why a request has no good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ConsulError {
    /// Nobody answered, or not what a Consul answers.
    Away(String),
    /// It answered, and won't.
    Refused { status: StatusCode, reason: String },
}

impl fmt::Display for ConsulError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(why) => f.write_str(why),
            Self::Refused { status, reason } => write!(f, "{status}: {reason}"),
        }
    }
}

fn away(error: impl fmt::Display) -> ConsulError {
    ConsulError::Away(error.to_string())
}

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Consul {
    world: World,
    pub(crate) address: String,
    headers: Vec<(&'static str, String)>,
    timeout: Duration,
}

impl Consul {
    pub(crate) fn new(world: World, config: &ConsulConfig) -> Self {
        let mut headers = Vec::new();
        if !config.token.is_empty() {
            headers.push(("X-Consul-Token", config.token.clone()));
        }
        if !config.auth.is_empty() {
            let pair = match config.auth.split_once(':') {
                Some(_) => config.auth.clone(),
                None => format!("{}:", config.auth),
            };
            headers.push(("Authorization", format!("Basic {}", STANDARD.encode(pair))));
        }
        Self {
            world,
            address: config.address.clone(),
            headers,
            timeout: Duration::from_millis(config.timeout_ms),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, ConsulError> {
        let body = self.ask(Method::GET, path, None).await?;
        serde_json::from_slice(&body).map_err(|error| away(format!("{path}: {error}")))
    }

    pub(crate) async fn put(&self, path: &str, body: Option<&Value>) -> Result<(), ConsulError> {
        self.ask(Method::PUT, path, body).await.map(drop)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, ConsulError> {
        let asking = self.exchange(method, path, body);
        let answer = tokio::time::timeout(self.timeout, asking).await;
        answer.unwrap_or_else(|_| {
            let (address, millis) = (&self.address, self.timeout.as_millis());
            Err(away(format!("{address} doesn't answer within {millis} ms")))
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Bytes, ConsulError> {
        let request = self.request(method, path, body)?;
        let stream = self.world.network.connect(self.address.clone()).await;
        let answer = exchange(stream.map_err(away)?, request, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(away)?;
        let (status, body) = (answer.status, answer.body.map_err(away)?);
        if status.is_success() {
            return Ok(body);
        }
        let text = String::from_utf8_lossy(&body);
        let reason = text.trim().chars().take(REASON_CHARS_MAX).collect();
        Err(ConsulError::Refused { status, reason })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Request<Full<Bytes>>, ConsulError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", &self.address);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        request.body(Full::new(body)).map_err(away)
    }
}

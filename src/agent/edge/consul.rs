//! What the edge asks of a Consul's HTTP API, or of one like it: answers with their indexes,
//! waiting for changes, keys and values.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use logic::fabio::ConsulRegistry;
use logic::percent;
use logic::routes::Tls;
use ports::World;
use serde::Deserialize;

use super::certificates::authorities;
use super::tls::TlsClient;
use crate::exchange::exchange;

/// How long a question may wait for a change, and how much longer its answer may take.
const WAIT: Duration = Duration::from_secs(60);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[derive(Clone)]
pub(super) struct Consul {
    world: World,
    address: String,
    tls: Option<(Arc<TlsClient>, Tls)>,
    token: Option<HeaderValue>,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// 0: it has none.
    pub(super) index: u64,
    pub(super) body: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    key: String,
    value: Option<String>,
    modify_index: u64,
}

impl Pair {
    fn bytes(&self) -> Vec<u8> {
        let value = self.value.as_deref().unwrap_or_default();
        BASE64_STANDARD.decode(value).unwrap_or_default()
    }
}

impl Consul {
    pub(super) fn plain(world: &World, address: &str) -> Self {
        Self {
            world: world.clone(),
            address: address.to_owned(),
            tls: None,
            token: None,
        }
    }

    pub(super) fn new(world: &World, registry: &ConsulRegistry) -> Result<Self, String> {
        let mut consul = Self::plain(world, &registry.address);
        if let Some(tls) = &registry.tls {
            let mut trusted = Vec::new();
            for path in &tls.authorities {
                trusted.extend(authorities(world.machine.as_ref(), path)?);
            }
            let client = if trusted.is_empty() {
                TlsClient::new(world)
            } else {
                let client = TlsClient::trusting_only(world, trusted);
                client.map_err(|error| error.to_string())?
            };
            let name = registry
                .address
                .rsplit_once(':')
                .map_or("", |(name, _)| name);
            let name = name.trim_matches(['[', ']']).to_owned();
            let verified = tls.verified;
            consul.tls = Some((Arc::new(client), Tls { name, verified }));
        }
        if !registry.token.is_empty() {
            let mut token = HeaderValue::from_str(&registry.token)
                .map_err(|_| "the token has odd characters".to_owned())?;
            token.set_sensitive(true);
            consul.token = Some(token);
        }
        Ok(consul)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Asks for `path` once it differs from what it was at `index`, or after a while.
    pub(super) async fn changed(&self, path: &str, index: u64) -> Result<Answer, String> {
        let joint = if path.contains('?') { '&' } else { '?' };
        let path = match index {
            0 => path.to_owned(),
            _ => format!("{path}{joint}index={index}&wait={}s", WAIT.as_secs()),
        };
        // A server may wait a sixteenth longer.
        self.ask(Method::GET, &path, None, WAIT + WAIT / 16 + ANSWER_WITHIN)
            .await
    }

    /// Asks once; an answer that isn't good is an error.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, String> {
        let answer = self.ask(Method::GET, path, None, ANSWER_WITHIN).await?;
        answer.good(path)
    }

    pub(super) async fn put(&self, path: &str, body: Bytes) -> Result<Answer, String> {
        self.ask(Method::PUT, path, Some(body), ANSWER_WITHIN).await
    }

    /// Keys below `prefix` and their values, in the order of the keys.
    pub(super) async fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let path = format!("/v1/kv/{}?recurse", percent::path(prefix));
        let answer = self.ask(Method::GET, &path, None, ANSWER_WITHIN).await?;
        answer.values(&path)
    }

    /// A key's value and the index that changes with it; 0: there is no such key.
    pub(super) async fn value(&self, key: &str) -> Result<(String, u64), String> {
        let path = format!("/v1/kv/{}", percent::path(key));
        let answer = self.ask(Method::GET, &path, None, ANSWER_WITHIN).await?;
        let pairs = answer.pairs(&path)?;
        Ok(pairs.first().map_or((String::new(), 0), |pair| {
            let value = String::from_utf8_lossy(&pair.bytes()).into_owned();
            (value, pair.modify_index)
        }))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        within: Duration,
    ) -> Result<Answer, String> {
        let asked = tokio::time::timeout(within, self.ask_once(method, path, body)).await;
        asked.unwrap_or_else(|_| Err(format!("{} doesn't answer", self.address)))
    }

    async fn ask_once(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, String> {
        let connecting = self.world.network.connect(self.address.clone());
        let connected = tokio::time::timeout(ANSWER_WITHIN, connecting).await;
        let connected = connected.map_err(|_| format!("{} can't be reached", self.address))?;
        let mut stream = connected.map_err(|error| error.to_string())?;
        if let Some((client, tls)) = &self.tls {
            let begun = client.begin(stream, tls, false).await;
            stream = begun.map_err(|failure| format!("{}: {}", self.address, failure.reason))?;
        }
        let mut request = Request::builder().method(method).uri(path);
        request = request.header(HOST, self.address.as_str());
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token.clone());
        }
        let request = request.body(Full::new(body.unwrap_or_default()));
        let request = request.map_err(|error| error.to_string())?;
        let answer = exchange(stream, request, ANSWER_BYTES_MAX).await;
        let answer = answer.map_err(|error| format!("{}: {error}", self.address))?;
        let index = answer.headers.get("x-consul-index");
        let index = index.and_then(|index| index.to_str().ok()?.parse().ok());
        Ok(Answer {
            status: answer.status,
            index: index.unwrap_or(0),
            body: answer.body?,
        })
    }
}

impl Answer {
    pub(super) fn good(self, path: &str) -> Result<Self, String> {
        if self.status.is_success() {
            return Ok(self);
        }
        let said = String::from_utf8_lossy(&self.body);
        Err(format!("{path}: {} {}", self.status.as_u16(), said.trim()))
    }

    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self, path: &str) -> Result<T, String> {
        let read = serde_json::from_slice(&self.body);
        read.map_err(|error| format!("{path}: an answer that makes no sense: {error}"))
    }

    /// Keys and values; none if there is nothing.
    fn pairs(self, path: &str) -> Result<Vec<Pair>, String> {
        if self.status == StatusCode::NOT_FOUND {
            return Ok(Vec::new());
        }
        self.good(path)?.read(path)
    }

    pub(super) fn values(self, path: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut pairs = self.pairs(path)?;
        pairs.sort_by(|a, b| a.key.cmp(&b.key));
        let values = pairs.into_iter().map(|pair| {
            let bytes = pair.bytes();
            (pair.key, bytes)
        });
        Ok(values.collect())
    }
}

/// Where an operator's route commands are kept, for the page that shows them.
#[derive(Clone)]
pub(super) struct Manual {
    pub(super) consul: Consul,
    /// The key's beginning, without a slash at either end.
    pub(super) path: String,
}

impl Manual {
    /// `below` is empty or begins with a slash.
    pub(super) async fn read(&self, below: &str) -> Result<(String, u64), String> {
        self.consul.value(&self.key(below)).await
    }

    /// Whether it was still at that version.
    pub(super) async fn write(
        &self,
        below: &str,
        value: String,
        version: u64,
    ) -> Result<bool, String> {
        let path = format!("/v1/kv/{}?cas={version}", percent::path(&self.key(below)));
        let answer = self.consul.put(&path, Bytes::from(value)).await?;
        let answer = answer.good(&path)?;
        Ok(answer.body.trim_ascii() == b"true")
    }

    pub(super) async fn paths(&self) -> Result<Vec<String>, String> {
        let values = self.consul.values(&self.path).await?;
        let below =
            |(key, _): (String, Vec<u8>)| key.strip_prefix(&self.path).unwrap_or(&key).to_owned();
        Ok(values.into_iter().map(below).collect())
    }

    fn key(&self, below: &str) -> String {
        format!("{}{below}", self.path)
    }
}

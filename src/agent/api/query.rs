//! What reads have in common: query parameters, blocking until something changes, and the headers
//! that let a client go on from there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use logic::state::Store;
use serde::Serialize;
use serde_json::Value;

use super::Api;
use super::consul_filter::Filter;
use super::errors::Failure;
use crate::rpc::ApiKind;
use crate::server::Server;

/// What `?near` calls the node of the agent that is asked.
pub(super) const NEAR_AGENT: &str = "_agent";

pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// How long a blocking query may wait.
#[derive(Clone, Copy, Debug)]
struct Limits {
    default: Duration,
    max: Duration,
}

const NOMAD: Limits = Limits {
    default: Duration::from_secs(300),
    max: Duration::from_secs(300),
};
const CONSUL: Limits = Limits {
    default: Duration::from_secs(300),
    max: Duration::from_secs(600),
};

/// The query of a request's address, decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &axum::http::Uri) -> Self {
        axum::extract::Query::try_from_uri(uri)
            .map(|axum::extract::Query(pairs)| Self(pairs))
            .unwrap_or_default()
    }

    /// The first value of a parameter, if it is given and not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut given = self
            .0
            .iter()
            .filter(|(key, value)| key == name && !value.is_empty());
        given.next().map(|(_, value)| value.as_str())
    }

    /// Every value of a parameter that may be repeated; empty ones don't count.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let given = self
            .0
            .iter()
            .filter(move |(key, value)| key == name && !value.is_empty());
        given.map(|(_, value)| value.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(key, _)| key == name)
    }

    /// A switch: given without a value it is on.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Failure> {
        match self.get(name) {
            None => Ok(self.has(name)),
            Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
            Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
            Some(other) => Err(Failure::bad_request(format!(
                "Invalid value for {name}: `{other}` is neither true nor false"
            ))),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Failure> {
        let parse = |text: &str| {
            text.parse().map_err(|_| {
                Failure::bad_request(format!("Invalid {name}: `{text}` is not a number"))
            })
        };
        self.get(name).map(parse).transpose()
    }

    /// Whether an id begins as `prefix` asks; `prefix` is case-insensitive where ids are UUIDs.
    pub(super) fn prefixed(&self, id: &str) -> bool {
        self.get("prefix")
            .is_none_or(|prefix| id.starts_with(prefix))
    }

    /// Waits as `index` and `wait` ask, from a state that holds everything acknowledged before the
    /// request came; with `?stale` from whatever there is. Returns the state, and the index to wait
    /// from next time.
    async fn wait(
        &self,
        api: &Api,
        limits: Limits,
        index: impl Fn(&Store) -> u64 + Send + Sync,
    ) -> Result<(Arc<Store>, u64), Failure> {
        let after = self.number("index")?.unwrap_or(0);
        let within = self.within(limits)?;
        let server = api.server()?;
        self.current(server).await?;
        let state = &server.state;
        let store = if after == 0 {
            state.now()
        } else {
            let spread = u64::try_from(within.as_millis() / 16).unwrap_or(0);
            let spread = Duration::from_millis(api.world.random.below(spread));
            state
                .once(within + spread, |store| index(store) > after)
                .await
        };
        // Clients take 0 for "not set".
        let index = index(&store).max(1);
        Ok((store, index))
    }

    /// Waits until a server's state holds everything acknowledged so far, unless `?stale` will do.
    pub(super) async fn current(&self, server: &Server) -> Result<(), Failure> {
        if self.has("stale") {
            return Ok(());
        }
        let current = server.linearize().await;
        current.map_err(|reason| Failure::no_leader(&reason))
    }

    /// How long a query that blocks in Consul's way may wait.
    pub(super) fn consul_wait(&self) -> Result<Duration, Failure> {
        self.within(CONSUL)
    }

    fn within(&self, limits: Limits) -> Result<Duration, Failure> {
        let Some(text) = self.get("wait") else {
            return Ok(limits.default);
        };
        let nanos = logic::duration::parse(text)
            .map_err(|error| Failure::bad_request(format!("Invalid wait time: {error}")))?;
        if nanos < 0 {
            let text = format!("Invalid wait time: `{text}` is negative");
            return Err(Failure::bad_request(text));
        }
        let within = logic::duration::to_std(nanos);
        Ok(if within.is_zero() {
            limits.default
        } else {
            within.min(limits.max)
        })
    }

    /// A body of JSON, indented with `?pretty`.
    pub(super) fn json(&self, value: &impl Serialize) -> Response {
        let bytes = if self.has("pretty") {
            pretty(value)
        } else {
            serde_json::to_vec(value)
        };
        match bytes {
            Ok(bytes) => {
                let mut response = Response::new(Body::from(bytes));
                let kind = HeaderValue::from_static("application/json");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            Err(error) => Failure::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                format!("the answer could not be written as JSON: {error}"),
            )
            .into_response(),
        }
    }
}

/// As both anchors indent: four spaces.
fn pretty(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(
        &mut bytes, formatter,
    ))?;
    Ok(bytes)
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.uri))
    }
}

/// Answers a read of the Nomad API from the state. `index` tells when what is read last changed.
pub(super) async fn nomad(
    api: &Api,
    query: &Query,
    index: impl Fn(&Store) -> u64 + Send + Sync,
    view: impl FnOnce(&Store) -> Result<Value, Failure>,
) -> Result<Response, Failure> {
    if query.has("filter") {
        return Err(Failure::bad_request("`filter` isn't supported yet"));
    }
    let (store, index) = query.wait(api, NOMAD, index).await?;
    let mut response = match view(&store) {
        Ok(value) => query.json(&value),
        Err(failure) => failure.into_response(),
    };
    tell_index(&mut response, api, ApiKind::Nomad, index);
    Ok(response)
}

/// Answers a read of the Consul API from the state.
pub(super) async fn consul(
    api: &Api,
    query: &Query,
    index: impl Fn(&Store) -> u64 + Send + Sync,
    view: impl FnOnce(&Store) -> Result<Value, Failure>,
) -> Result<Response, Failure> {
    let filter = Filter::of(query)?;
    consul_response(api, query, index, |store| {
        match wanted(&filter, view(store)) {
            Ok(mut value) => {
                nearest_first(api, query, &mut value);
                query.json(&value)
            }
            Err(failure) => failure.into_response(),
        }
    })
    .await
}

/// The rows of a list that the query's filter lets through.
fn wanted(filter: &Filter, found: Result<Value, Failure>) -> Result<Value, Failure> {
    match found? {
        Value::Array(rows) => filter.keep(rows).map(Value::Array),
        other => Ok(other),
    }
}

/// With `?near=NODE` what is on that node comes first; `_agent` is the node of who is asked. How
/// far the others are isn't known: they stay in their order.
fn nearest_first(api: &Api, query: &Query, found: &mut Value) {
    let Some(near) = query.get("near") else {
        return;
    };
    let near = if near == NEAR_AGENT {
        &api.identity.name
    } else {
        near
    };
    let is_elsewhere = |row: &Value| {
        let node = row["Node"]
            .as_str()
            .or_else(|| row["Node"]["Node"].as_str());
        !node.is_some_and(|node| node.eq_ignore_ascii_case(near))
    };
    if let Value::Array(rows) = found {
        rows.sort_by_key(is_elsewhere);
    }
}

/// The same for what isn't always JSON.
pub(super) async fn consul_response(
    api: &Api,
    query: &Query,
    index: impl Fn(&Store) -> u64 + Send + Sync,
    view: impl FnOnce(&Store) -> Response,
) -> Result<Response, Failure> {
    if query.has("stale") && query.has("consistent") {
        let text = "Cannot specify ?stale with ?consistent, conflicting semantics.";
        return Err(Failure::bad_request(text));
    }
    let (store, index) = query.wait(api, CONSUL, index).await?;
    let consistency = if query.has("stale") {
        "stale"
    } else if query.has("consistent") {
        "consistent"
    } else {
        "leader"
    };
    let mut response = view(&store);
    tell_index(&mut response, api, ApiKind::Consul, index);
    let consistency = HeaderValue::from_static(consistency);
    headers(
        &mut response,
        [("x-consul-effective-consistency", consistency)],
    );
    Ok(response)
}

/// The headers of every read: what it is of, and how fresh that is.
pub(super) fn tell_index(response: &mut Response, api: &Api, kind: ApiKind, index: u64) {
    let names = match kind {
        ApiKind::Nomad => [
            "x-nomad-index",
            "x-nomad-knownleader",
            "x-nomad-lastcontact",
        ],
        ApiKind::Consul => [
            "x-consul-index",
            "x-consul-knownleader",
            "x-consul-lastcontact",
        ],
    };
    let values = [
        HeaderValue::from(index),
        known_leader(api),
        last_contact(api),
    ];
    for (name, value) in names.into_iter().zip(values) {
        headers(response, [(name, value)]);
    }
}

/// Whether this server knows who leads.
fn known_leader(api: &Api) -> HeaderValue {
    let known = api.server.as_ref().and_then(Server::leader).is_some();
    HeaderValue::from_static(if known { "true" } else { "false" })
}

/// How many milliseconds ago this server last heard from the leader.
fn last_contact(api: &Api) -> HeaderValue {
    let since = api.server.as_ref().map(Server::last_contact);
    let since = since.unwrap_or_default().as_millis();
    HeaderValue::from(u64::try_from(since).unwrap_or(u64::MAX))
}

/// A write's answer: it carries the index it happened at.
pub(super) fn written(query: &Query, index: u64, value: &Value) -> Response {
    let mut response = query.json(value);
    headers(&mut response, [("x-nomad-index", HeaderValue::from(index))]);
    response
}

fn headers<const N: usize>(response: &mut Response, headers: [(&'static str, HeaderValue); N]) {
    for (name, value) in headers {
        response
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/v1/x?{text}").parse().unwrap())
    }

    #[test]
    fn a_switch_without_a_value_is_on() {
        for (text, expected) in [
            ("", Ok(false)),
            ("passing", Ok(true)),
            ("passing=", Ok(true)),
            ("passing=1", Ok(true)),
            ("passing=false", Ok(false)),
        ] {
            assert_eq!(query(text).flag("passing"), expected, "{text}");
        }
        assert!(query("passing=maybe").flag("passing").is_err());
    }

    #[test]
    fn waits_are_capped_and_checked() {
        for (text, secs) in [
            ("", 300),
            ("wait=2s", 2),
            ("wait=0", 300),
            ("wait=99m", 600),
        ] {
            assert_eq!(
                query(text).within(CONSUL).unwrap(),
                Duration::from_secs(secs),
                "{text}"
            );
        }
        assert_eq!(
            query("wait=99m").within(NOMAD).unwrap(),
            Duration::from_secs(300)
        );
        for text in ["wait=zz", "wait=10", "wait=-1s"] {
            let failure = query(text).within(NOMAD).unwrap_err();
            assert_eq!(
                failure.into_response().status(),
                axum::http::StatusCode::BAD_REQUEST,
                "{text}"
            );
        }
    }
}

//! Consul's `/v1/kv/*`: the key-value store.

use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use logic::model::{KvChange, KvPair};
use logic::percent;
use logic::state::{Command, Reply, Store};
use serde_json::{Value, json};

use super::Api;
use super::errors::Failure;
use super::query::{self, Query};

const PATH: &str = "/v1/kv";
/// No value is larger.
pub(super) const VALUE_MAX: usize = 512 << 10;

pub(super) fn route() -> MethodRouter<Api> {
    // `value_of` has its own limit, and Consul's words for it.
    let unlimited = DefaultBodyLimit::disable();
    get(read).put(write).delete(delete).layer(unlimited)
}

/// The key that a request's path names; empty for the root.
fn key_of(uri: &Uri) -> Result<String, Failure> {
    let path = uri.path();
    let key = path.strip_prefix(PATH).unwrap_or(path);
    let key = key.strip_prefix('/').unwrap_or(key);
    let key = percent::decoded(key)
        .ok_or_else(|| Failure::bad_request(format!("Invalid key `{key}`: it isn't UTF-8")))?;
    if key.starts_with('/') {
        let text = format!("Invalid key. Key must not begin with a '/': {key}");
        return Err(Failure::bad_request(text));
    }
    Ok(key)
}

fn named(key: String) -> Result<String, Failure> {
    if key.is_empty() {
        return Err(Failure::bad_request("Missing key name"));
    }
    Ok(key)
}

/// A parameter that must be a number where it is given.
fn number(query: &Query, name: &str) -> Result<Option<u64>, Failure> {
    match query.number(name)? {
        None if query.has(name) => Err(Failure::bad_request(format!(
            "Invalid {name}: a number is expected, such as ?{name}=0"
        ))),
        given => Ok(given),
    }
}

async fn read(State(api): State<Api>, uri: Uri, query: Query) -> Result<Response, Failure> {
    let key = key_of(&uri)?;
    if query.has("keys") {
        let index = |store: &Store| store.kv_index_under(&key);
        return query::consul_response(&api, &query, index, |store| {
            let separator = query.get("separator").unwrap_or_default();
            let keys = keys_under(store, &key, separator);
            // The root is always there.
            if keys.is_empty() && !key.is_empty() {
                return nothing();
            }
            query.json(&keys)
        })
        .await;
    }
    if query.has("recurse") {
        let index = |store: &Store| store.kv_index_under(&key);
        return query::consul_response(&api, &query, index, |store| {
            let rows: Vec<Value> = store.kv_under(&key).map(|row| shown(row)).collect();
            if rows.is_empty() {
                return nothing();
            }
            query.json(&rows)
        })
        .await;
    }
    let key = named(key)?;
    let index = |store: &Store| store.kv_index_of(&key);
    query::consul_response(&api, &query, index, |store| match store.kv(&key) {
        None => nothing(),
        Some(row) if query.has("raw") => raw(row),
        Some(row) => query.json(&[shown(row)]),
    })
    .await
}

/// Keys that begin so; those that go on after a separator are told once, up to it.
fn keys_under<'a>(store: &'a Store, prefix: &'a str, separator: &str) -> Vec<&'a str> {
    let mut keys: Vec<&str> = Vec::new();
    for row in store.kv_under(prefix) {
        let end = match row.key[prefix.len()..].find(separator) {
            Some(at) if !separator.is_empty() => prefix.len() + at + separator.len(),
            Some(_) | None => row.key.len(),
        };
        let key = &row.key[..end];
        if keys.last() != Some(&key) {
            keys.push(key);
        }
    }
    keys
}

pub(super) fn shown(row: &KvPair) -> Value {
    // Consul's word for an empty value.
    let value = (!row.value.is_empty()).then(|| STANDARD.encode(&row.value));
    let mut shown = json!({
        "LockIndex": row.lock_index,
        "Key": row.key,
        "Flags": row.flags,
        "Value": value,
        "CreateIndex": row.create_index,
        "ModifyIndex": row.modify_index,
    });
    if !row.session.is_empty() {
        shown["Session"] = json!(row.session);
    }
    shown
}

/// A value as it is. No browser is to take it for a page.
fn raw(row: &KvPair) -> Response {
    let mut response = Response::new(Body::from(row.value.clone()));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/plain"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "sandbox"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn nothing() -> Response {
    StatusCode::NOT_FOUND.into_response()
}

async fn write(
    State(api): State<Api>,
    uri: Uri,
    query: Query,
    body: Body,
) -> Result<Response, Failure> {
    let key = named(key_of(&uri)?)?;
    let (flags, cas) = (number(&query, "flags")?, number(&query, "cas")?);
    let flags = flags.unwrap_or(0);
    let lock = lock_of(&query)?;
    if lock.is_some() && cas.is_some() {
        return Err(conflicting("cas", "acquire or release"));
    }
    let value = value_of(body).await?;
    let put = match lock {
        Some(Lock::Acquire(session)) => KvChange::Acquire {
            key,
            value,
            flags,
            session,
        },
        Some(Lock::Release(session)) => KvChange::Release {
            key,
            value,
            flags,
            session,
        },
        None => KvChange::Put {
            key,
            value,
            flags,
            cas,
        },
    };
    change(&api, &query, put).await
}

/// What a write does to its key's lock, and for which session.
enum Lock {
    Acquire(String),
    Release(String),
}

fn lock_of(query: &Query) -> Result<Option<Lock>, Failure> {
    let session = |name: &str| match query.get(name) {
        Some(session) => Ok(Some(session.to_owned())),
        None if query.has(name) => Err(Failure::bad_request(format!(
            "?{name} needs the id of a session"
        ))),
        None => Ok(None),
    };
    match (session("acquire")?, session("release")?) {
        (Some(_), Some(_)) => Err(conflicting("acquire", "release")),
        (Some(acquire), None) => Ok(Some(Lock::Acquire(acquire))),
        (None, release) => Ok(release.map(Lock::Release)),
    }
}

fn conflicting(one: &str, other: &str) -> Failure {
    Failure::bad_request(format!("Conflicting flags: {one} and {other}"))
}

/// What is to be written.
async fn value_of(body: Body) -> Result<Bytes, Failure> {
    let too_large = |size: Option<u64>| {
        let size = size.map_or_else(String::new, |size| format!("({size} bytes)"));
        let text = format!("Request body{size} too large, max size: {VALUE_MAX} bytes.");
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    let size = body.size_hint().exact();
    if size.is_some_and(|size| size > VALUE_MAX as u64) {
        return Err(too_large(size));
    }
    match Limited::new(body, VALUE_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(too_large(None)),
        Err(error) => Err(Failure::bad_request(format!("the request's body: {error}"))),
    }
}

async fn delete(State(api): State<Api>, uri: Uri, query: Query) -> Result<Response, Failure> {
    let key = key_of(&uri)?;
    let cas = number(&query, "cas")?;
    if !query.has("recurse") {
        let key = named(key)?;
        return change(&api, &query, KvChange::Delete { key, cas }).await;
    }
    if cas.is_some() {
        let text = "Conflicting flags: cas and recurse (a tree has no index to check)";
        return Err(Failure::bad_request(text));
    }
    change(&api, &query, KvChange::DeleteTree { prefix: key }).await
}

async fn change(api: &Api, query: &Query, change: KvChange) -> Result<Response, Failure> {
    let (_, reply) = api.propose(Command::Kv { change }).await?;
    Ok(query.json(&matches!(reply, Reply::Kv { happened: true })))
}

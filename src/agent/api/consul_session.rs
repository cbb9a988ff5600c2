//! Consul's `/v1/session/*`: who may hold locks.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use jobspec::Fields;
use logic::duration::{self, SECOND};
use logic::model::{SERF_HEALTH, Session, SessionBehavior};
use logic::state::{Command, Reply, Store, Topic};
use serde_json::{Value, json};

use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, forward};
use crate::rpc::{ApiKind, HttpRequest};

const LOCK_DELAY: i64 = 15 * SECOND;
const LOCK_DELAY_MAX: i64 = 60 * SECOND;
const TTL_MIN: i64 = 10 * SECOND;
const TTL_MAX: i64 = 24 * 3_600 * SECOND;

fn index(store: &Store) -> u64 {
    store.index_of(Topic::Sessions)
}

fn shown(session: &Session) -> Value {
    let ttl = if session.ttl == 0 {
        String::new()
    } else {
        duration::format(session.ttl)
    };
    json!({
        "ID": session.id,
        "Name": session.name,
        "Node": session.node,
        "LockDelay": session.lock_delay,
        "Behavior": match session.behavior {
            SessionBehavior::Release => "release",
            SessionBehavior::Delete => "delete",
        },
        "TTL": ttl,
        "NodeChecks": session.node_checks,
        "ServiceChecks": services(session),
        // The name both had before Consul 1.7, which clients still read.
        "Checks": session.node_checks,
        "CreateIndex": session.create_index,
        "ModifyIndex": session.modify_index,
    })
}

fn services(session: &Session) -> Option<Vec<Value>> {
    let checks = session.service_checks.iter();
    let listed: Vec<Value> = checks
        .map(|id| json!({ "ID": id, "Namespace": "" }))
        .collect();
    (!listed.is_empty()).then_some(listed)
}

fn wanted(body: &[u8], own_node: &str) -> Result<Session, String> {
    let fields = Fields::parse(body)?;
    let behavior = match fields.text("Behavior")?.as_str() {
        "" | "release" => SessionBehavior::Release,
        "delete" => SessionBehavior::Delete,
        other => {
            return Err(format!(
                "Invalid Behavior setting '{other}': it is release or delete"
            ));
        }
    };
    let ttl = fields.nanos("TTL")?.unwrap_or(0);
    if ttl != 0 && !(TTL_MIN..=TTL_MAX).contains(&ttl) {
        let ttl = duration::format(ttl);
        return Err(format!(
            "Invalid Session TTL '{ttl}', must be between [10s=24h0m0s]"
        ));
    }
    let lock_delay = fields.nanos("LockDelay")?.unwrap_or(LOCK_DELAY);
    let node = fields.text("Node")?;
    let mut node_checks = fields.texts("Checks")?;
    node_checks.extend(fields.texts("NodeChecks")?);
    node_checks.retain(|id| !id.is_empty());
    if !fields.has("Checks") && !fields.has("NodeChecks") {
        node_checks.push(SERF_HEALTH.to_owned());
    }
    node_checks.dedup();
    let mut service_checks = Vec::new();
    for check in fields.objects("ServiceChecks")? {
        service_checks.push(check.text("ID")?);
    }
    Ok(Session {
        name: fields.text("Name")?,
        node: if node.is_empty() {
            own_node.to_owned()
        } else {
            node
        },
        lock_delay: lock_delay.min(LOCK_DELAY_MAX),
        behavior,
        ttl,
        node_checks,
        service_checks,
        ..Session::default()
    })
}

/// A session is its agent's unless it says otherwise: agents that are no servers say so when they
/// pass it on.
pub(super) async fn create(
    State(api): State<Api>,
    uri: Uri,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    forward::meant_for_us(&api, ApiKind::Consul, &query)?;
    let session = wanted(&body, &api.identity.name).map_err(Failure::bad_request)?;
    if api.server.is_none() {
        let mut asked = shown(&session);
        // What isn't said is as it would be here.
        asked["Checks"] = json!([]);
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let request = HttpRequest {
            api: ApiKind::Consul,
            method: "PUT".to_owned(),
            path: path.to_owned(),
            body: asked.to_string().into_bytes(),
        };
        return forward::ask(&api, request).await.map(forward::restore);
    }
    match api.propose(Command::CreateSession { session }).await? {
        (_, Reply::Session { id }) => Ok(query.json(&json!({ "ID": id }))),
        (_, other) => Err(Failure::no_leader(&format!("it answers {other:?}"))),
    }
}

pub(super) async fn destroy(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    api.propose(Command::DestroySession { id }).await?;
    Ok(query.json(&true))
}

pub(super) async fn info(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    query::consul(&api, &query, index, |store| {
        Ok(store
            .session(&id)
            .map(|session| shown(session))
            .into_iter()
            .collect())
    })
    .await
}

pub(super) async fn of_node(
    State(api): State<Api>,
    Path(node): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    query::consul(&api, &query, index, |store| {
        Ok(store
            .sessions_on(&node)
            .map(|session| shown(session))
            .collect())
    })
    .await
}

pub(super) async fn list(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::consul(&api, &query, index, |store| {
        Ok(store.sessions().map(|session| shown(session)).collect())
    })
    .await
}

pub(super) async fn renew(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let server = api.server()?;
    let renewed = server.renew_session(id.clone()).await;
    let there = renewed.map_err(|why| Failure::no_leader(&why))?;
    let gone = || Failure::not_found(format!("Session id '{id}' not found"));
    if !there {
        return Err(gone());
    }
    // It is there, whether or not this server has heard of it yet.
    let caught_up = server.linearize().await;
    caught_up.map_err(|why| Failure::no_leader(&why))?;
    let state = server.state.now();
    let session = state.session(&id).ok_or_else(gone)?;
    Ok(query.json(&[shown(session)]).into_response())
}

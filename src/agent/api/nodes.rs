//! `/v1/nodes` and `/v1/node/:id`.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::Response;
use logic::model::{NODE_ELIGIBLE, NODE_INELIGIBLE};
use logic::state::{Command, Store, Topic};
use serde::Deserialize;
use serde_json::json;

use super::allocations::{self, missing};
use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, jobs, json};

pub(super) async fn list(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::nomad(&api, &query, index, |store| {
        let nodes = store.nodes().filter(|node| query.prefixed(&node.id));
        Ok(nodes.map(|node| json::node_stub(node)).collect())
    })
    .await
}

pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let changed = |store: &Store| store.node(&id).map_or(index(store), |row| row.modify_index);
    query::nomad(&api, &query, changed, |store| match store.node(&id) {
        Some(node) => Ok(json::node(node)),
        None => Err(missing("node", &id)),
    })
    .await
}

pub(super) async fn allocations(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    query::nomad(&api, &query, allocations::index, |store| {
        if store.node(&id).is_none() {
            return Err(missing("node", &id));
        }
        Ok(store
            .allocs_on_node(&id)
            .map(|alloc| json::alloc(alloc))
            .collect())
    })
    .await
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SetEligibility {
    eligibility: String,
}

pub(super) async fn set_eligibility(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    let wanted: SetEligibility = jobs::read(&body)?;
    let eligible = match wanted.eligibility.as_str() {
        NODE_ELIGIBLE => true,
        NODE_INELIGIBLE => false,
        other => {
            return Err(Failure::bad_request(format!(
                "invalid eligibility `{other}`: it must be `{NODE_ELIGIBLE}` or `{NODE_INELIGIBLE}`"
            )));
        }
    };
    let command = Command::SetNodeEligibility {
        node_id: id,
        eligible,
    };
    let (index, _) = api.propose(command).await?;
    let answer = json!({
        "EvalCreateIndex": 0,
        "EvalIDs": null,
        "Index": index,
        "KnownLeader": false,
        "LastContact": 0,
        "NodeModifyIndex": index,
    });
    Ok(query::written(&query, index, &answer))
}

pub(super) fn index(store: &Store) -> u64 {
    store.index_of(Topic::Nodes)
}

//! `/v1/deployments`: rolling updates aren't recorded as deployments yet, so there are none.

use axum::extract::State;
use axum::response::Response;
use logic::state::{Store, Topic};
use serde_json::json;

use super::Api;
use super::errors::Failure;
use super::query::{self, Query};

pub(super) async fn list(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::nomad(&api, &query, index, |_| Ok(json!([]))).await
}

pub(super) async fn show(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::nomad(&api, &query, index, |_| {
        Err(Failure::not_found("deployment not found"))
    })
    .await
}

pub(super) fn index(store: &Store) -> u64 {
    store.index_of(Topic::Jobs)
}

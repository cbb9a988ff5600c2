//! `/v1/allocations` and `/v1/allocation/:id`.

use axum::extract::{Path, State};
use axum::response::Response;
use logic::model::Allocation;
use logic::state::{Store, Topic};
use serde_json::Value;

use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, json};

pub(super) async fn list(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::nomad(&api, &query, index, |store| {
        Ok(stubs(
            store.allocs().filter(|alloc| query.prefixed(&alloc.id)),
        ))
    })
    .await
}

pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let changed = |store: &Store| {
        store
            .alloc(&id)
            .map_or(index(store), |row| row.modify_index)
    };
    query::nomad(&api, &query, changed, |store| match store.alloc(&id) {
        Some(alloc) => Ok(json::alloc(alloc)),
        None => Err(missing("alloc", &id)),
    })
    .await
}

pub(super) fn index(store: &Store) -> u64 {
    store.index_of(Topic::Allocs)
}

pub(super) fn stubs<'a>(allocs: impl Iterator<Item = &'a std::sync::Arc<Allocation>>) -> Value {
    allocs.map(|alloc| json::alloc_stub(alloc)).collect()
}

/// For an id that nothing has, or that can't be one.
pub(super) fn missing(what: &str, id: &str) -> Failure {
    if id.len() == 36 {
        Failure::not_found(format!("{what} not found"))
    } else {
        Failure::not_found(format!(
            "{what} lookup failed: index error: UUID must be 36 characters"
        ))
    }
}

//! `/v1/evaluations` and `/v1/evaluation/:id`.

use axum::extract::{Path, State};
use axum::response::Response;
use logic::state::{Store, Topic};

use super::allocations::{self, missing};
use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, json};

pub(super) async fn list(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    query::nomad(&api, &query, index, |store| {
        let evals = store.evals().filter(|eval| query.prefixed(&eval.id));
        Ok(evals.map(|eval| json::eval(eval)).collect())
    })
    .await
}

pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let changed = |store: &Store| store.eval(&id).map_or(index(store), |row| row.modify_index);
    query::nomad(&api, &query, changed, |store| match store.eval(&id) {
        Some(eval) => Ok(json::eval(eval)),
        None => Err(missing("eval", &id)),
    })
    .await
}

pub(super) async fn allocations(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    query::nomad(&api, &query, allocations::index, |store| {
        if store.eval(&id).is_none() {
            return Err(missing("eval", &id));
        }
        Ok(allocations::stubs(
            store.allocs().filter(|alloc| alloc.eval_id == id),
        ))
    })
    .await
}

pub(super) fn index(store: &Store) -> u64 {
    store.index_of(Topic::Evals)
}

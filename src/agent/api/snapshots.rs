//! `/v1/operator/snapshot` and `/v1/snapshot`: the whole state as a file, and back.

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};

use super::Api;
use super::errors::Failure;
use super::query::{self, Query};
use crate::rpc::ApiKind;

/// No snapshot is larger.
const SNAPSHOT_MAX: usize = 1 << 30;

pub(super) fn route(kind: ApiKind) -> MethodRouter<Api> {
    let save =
        move |State(api): State<Api>, query: Query| async move { save(&api, &query, kind).await };
    get(save)
        .put(restore)
        .post(restore)
        .layer(DefaultBodyLimit::max(SNAPSHOT_MAX))
}

async fn save(api: &Api, query: &Query, kind: ApiKind) -> Result<Response, Failure> {
    let server = api.server()?;
    query.current(server).await?;
    let bytes = server.save_snapshot().await.map_err(failed)?;
    let index = server.state.now().index();
    let mut response = Response::new(Body::from(bytes));
    let binary = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, binary);
    query::tell_index(&mut response, api, kind, index);
    Ok(response)
}

/// Replaces everything.
async fn restore(State(api): State<Api>, body: Bytes) -> Result<Response, Failure> {
    if body.is_empty() {
        return Err(Failure::bad_request("a snapshot is expected as the body"));
    }
    let server = api.server()?;
    server
        .restore_snapshot(body.to_vec())
        .await
        .map_err(failed)?;
    Ok(StatusCode::OK.into_response())
}

fn failed(reason: String) -> Failure {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
}

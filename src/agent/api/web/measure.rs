//! How busy an allocation or a client is: asked of its node, which may be another machine.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use logic::model::CLIENT_RUNNING;
use logic::percent;
use serde_json::Value;

use super::super::query::Query;
use super::super::{Api, client_stats};
use super::place::Place;
use super::seen::Seen;

/// A page waits no longer for a node.
const WITHIN: Duration = Duration::from_millis(800);
const BYTES_MAX: usize = 1 << 20;

/// Nothing where there is nothing to measure, or the node doesn't answer in time.
pub(super) async fn usage(api: &Api, seen: &Seen, place: &Place) -> Option<Value> {
    tokio::time::timeout(WITHIN, ask(api, seen, place))
        .await
        .ok()
        .flatten()
}

async fn ask(api: &Api, seen: &Seen, place: &Place) -> Option<Value> {
    match place {
        Place::Allocation(id) => {
            let alloc = seen.alloc(id)?;
            if alloc.client_status != CLIENT_RUNNING || seen.node(&alloc.node_id)?.away() {
                return None;
            }
            let uri: Uri = format!(
                "/v1/client/allocation/{}/stats",
                percent::segment(&alloc.id)
            )
            .parse()
            .ok()?;
            let (state, id) = (State(api.clone()), Path(alloc.id.clone()));
            let query = Query::of(&uri);
            let answer = client_stats::allocation(state, id, query, uri, HeaderMap::new());
            json(answer.await.ok()?).await
        }
        Place::Client(id) => {
            let node = seen.node(id).filter(|node| !node.away())?;
            let uri: Uri = format!("/v1/client/stats?node_id={}", percent::segment(&node.id))
                .parse()
                .ok()?;
            let query = Query::of(&uri);
            let answer = client_stats::node(State(api.clone()), query, uri, HeaderMap::new());
            json(answer.await.ok()?).await
        }
        _ => None,
    }
}

async fn json(answer: Response<Body>) -> Option<Value> {
    let found = answer.status().is_success();
    let body = Limited::new(answer.into_body(), BYTES_MAX).collect().await;
    let bytes = body.ok()?.to_bytes();
    serde_json::from_slice(&bytes).ok().filter(|_| found)
}

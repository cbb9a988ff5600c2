//! Consul's `/v1/event/*`: users' events. Here all servers keep them, in one order.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use logic::model::UserEvent;
use logic::state::{Command, Reply, Store, Topic};
use serde_json::{Value, json};

use super::Api;
use super::errors::Failure;
use super::query::{self, Query};

/// What Consul's gossip has room for.
const PAYLOAD_MAX: usize = 512;

fn index(store: &Store) -> u64 {
    store.index_of(Topic::Events)
}

fn shown(event: &UserEvent) -> Value {
    json!({
        "ID": event.id,
        "Name": event.name,
        "Payload": (!event.payload.is_empty()).then(|| STANDARD.encode(&event.payload)),
        "NodeFilter": event.node_filter,
        "ServiceFilter": event.service_filter,
        "TagFilter": event.tag_filter,
        "Version": 1,
        "LTime": event.index,
    })
}

pub(super) async fn fire(
    State(api): State<Api>,
    Path(name): Path<String>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    if body.len() > PAYLOAD_MAX {
        let text = format!(
            "the payload has {} bytes: at most {PAYLOAD_MAX}",
            body.len()
        );
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let filter = |name| query.get(name).unwrap_or_default().to_owned();
    let event = UserEvent {
        name,
        payload: body,
        node_filter: filter("node"),
        service_filter: filter("service"),
        tag_filter: filter("tag"),
        ..UserEvent::default()
    };
    if !event.tag_filter.is_empty() && event.service_filter.is_empty() {
        return Err(Failure::bad_request("a tag filter needs a service filter"));
    }
    let fired = Command::FireEvent {
        event: event.clone(),
    };
    match api.propose(fired).await? {
        (_, Reply::Fired { id }) => {
            // As in Consul, when it was fired isn't known to the one who fires it.
            Ok(query.json(&shown(&UserEvent { id, ..event })))
        }
        (_, other) => Err(Failure::no_leader(&format!("it answers {other:?}"))),
    }
}

pub(super) async fn list(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let name = query.get("name");
    query::consul(&api, &query, index, |store| {
        let events = store.events();
        let wanted = events.filter(|event| name.is_none_or(|name| event.name == name));
        Ok(wanted.map(|event| shown(event)).collect())
    })
    .await
}

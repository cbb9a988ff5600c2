//! Consul's `/v1/event/*`: users' events. Here all servers keep them, in one order.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use logic::model::{ServiceInstance, UserEvent};
use logic::state::{Command, Reply, Store, Topic};
use regex_lite::Regex;
use serde_json::{Value, json};

use super::errors::Failure;
use super::query::{self, Query};
use super::{Api, consul_local, forward};
use crate::rpc::{ApiKind, HttpRequest};

/// What Consul's gossip has room for.
const PAYLOAD_MAX: usize = 512;
/// In a query: whoever the events are for.
const EVERYBODYS: &str = "everybodys";

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
    for (what, filter) in [
        ("node", &event.node_filter),
        ("service", &event.service_filter),
        ("tag", &event.tag_filter),
    ] {
        if let Err(error) = Regex::new(filter) {
            let text = format!("Invalid {what} filter `{filter}`: {error}");
            return Err(Failure::bad_request(text));
        }
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

/// Who is asked about events: only what is for its node and its services is shown.
struct Listener {
    node: String,
    services: Vec<ServiceInstance>,
}

impl Listener {
    fn of(api: &Api) -> Self {
        let local = api.local.borrow().clone();
        Self {
            node: api.identity.name.clone(),
            services: consul_local::offered(&local).cloned().collect(),
        }
    }

    fn is_meant(&self, event: &Value) -> bool {
        let filter = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let fits = |filter: &str, text: &str| {
            let filter = Regex::new(filter);
            filter.is_ok_and(|filter| filter.is_match(text))
        };
        let (service, tag) = (filter("ServiceFilter"), filter("TagFilter"));
        let serves = |own: &ServiceInstance| {
            let mut tags = own.tags.iter();
            let tagged = tag.is_empty() || tags.any(|own| fits(&tag, own));
            tagged && fits(&service, &own.service)
        };
        let here = fits(&filter("NodeFilter"), &self.node);
        here && (service.is_empty() || self.services.iter().any(serves))
    }
}

pub(super) async fn list(
    State(api): State<Api>,
    uri: Uri,
    query: Query,
) -> Result<Response, Failure> {
    forward::meant_for_us(&api, ApiKind::Consul, &query)?;
    if api.server.is_none() {
        return listed_by_a_server(&api, &uri).await;
    }
    let name = query.get("name");
    // Another agent sees to it itself what is for it.
    let all = query.has(EVERYBODYS);
    query::consul(&api, &query, index, |store| {
        let listener = Listener::of(&api);
        let events = store.events();
        let wanted = events.filter(|event| name.is_none_or(|name| event.name == name));
        let rows = wanted.map(|event| shown(event));
        Ok(rows.filter(|row| all || listener.is_meant(row)).collect())
    })
    .await
}

/// All that a server has, without what isn't for this agent.
async fn listed_by_a_server(api: &Api, uri: &Uri) -> Result<Response, Failure> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let more = if path.contains('?') { '&' } else { '?' };
    let request = HttpRequest {
        api: ApiKind::Consul,
        method: "GET".to_owned(),
        path: format!("{path}{more}{EVERYBODYS}"),
        body: Vec::new(),
    };
    let mut answer = forward::ask(api, request).await?;
    if let Ok(Value::Array(mut rows)) = serde_json::from_slice(&answer.body) {
        let listener = Listener::of(api);
        rows.retain(|row| listener.is_meant(row));
        answer.body = Value::Array(rows).to_string().into_bytes();
    }
    Ok(forward::restore(answer))
}

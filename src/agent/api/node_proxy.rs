//! Requests that only the node with the allocation can answer: finding that node, and passing the
//! request on to its agent. The answer streams through.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use axum::response::Response;
use futures_util::stream;
use http_body_util::Empty;
use hyper::body::{Body as _, Incoming};
use hyper_util::rt::TokioIo;
use logic::model::{Allocation, Node};
use ports::Stream;
use serde::de::DeserializeOwned;

use super::allocations::missing;
use super::errors::Failure;
use super::{Api, forward};
use crate::rpc::{ApiKind, HttpRequest};

/// How long a node may take to begin its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Marks a request that an agent has passed on: it isn't passed on again.
const PASSED_ON: HeaderName = HeaderName::from_static("x-drover-passed-on");

/// An allocation, from the state or from a server. Nothing if no server can be asked.
pub(super) async fn allocation(api: &Api, id: &str) -> Result<Option<Arc<Allocation>>, Failure> {
    if let Some(server) = &api.server {
        let mut found = server.state.now().alloc(id).cloned();
        if found.is_none() && server.linearize().await.is_ok() {
            found = server.state.now().alloc(id).cloned();
        }
        return found.map(Some).ok_or_else(|| no_alloc(id));
    }
    match fetch(api, &format!("/v1/allocation/{id}")).await {
        Ok(Some(alloc)) => Ok(Some(Arc::new(alloc))),
        Ok(None) => Err(no_alloc(id)),
        Err(failure) => {
            tracing::debug!(?failure, "no server tells where an allocation is");
            Ok(None)
        }
    }
}

fn no_alloc(id: &str) -> Failure {
    match missing("alloc", id) {
        failure if id.len() != 36 => failure,
        _ => Failure::not_found(format!("alloc lookup failed: there is no allocation {id}")),
    }
}

async fn node(api: &Api, id: &str) -> Result<Arc<Node>, Failure> {
    let found = if let Some(server) = &api.server {
        server.state.now().node(id).cloned()
    } else {
        fetch(api, &format!("/v1/node/{id}")).await?.map(Arc::new)
    };
    found.ok_or_else(|| missing("node", id))
}

/// A row of the Nomad API from a server; nothing if there is no such row.
async fn fetch<T: DeserializeOwned>(api: &Api, path: &str) -> Result<Option<T>, Failure> {
    let request = HttpRequest {
        api: ApiKind::Nomad,
        method: "GET".to_owned(),
        path: path.to_owned(),
        body: Vec::new(),
    };
    let answer = forward::ask(api, request).await?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body)
            .map(Some)
            .map_err(|error| {
                Failure::no_leader(&format!(
                    "the server's answer to {path} makes no sense: {error}"
                ))
            }),
        404 => Ok(None),
        _ => Err(Failure::no_leader(&String::from_utf8_lossy(&answer.body))),
    }
}

/// Passes a GET request on to a node's agent.
pub(super) async fn pass_on(
    api: &Api,
    node_id: &str,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let node = node(api, node_id).await?;
    let unreachable = |reason: String| {
        let text = format!(
            "No path to node {} at {}: {reason}",
            node.name, node.http_addr
        );
        Failure::new(StatusCode::BAD_GATEWAY, text)
    };
    if headers.contains_key(PASSED_ON) {
        return Err(unreachable("another agent answers there".to_owned()));
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(header::HOST, &node.http_addr)
        .header(PASSED_ON, HeaderValue::from_static("1"))
        .body(Empty::new())
        .map_err(|error| unreachable(error.to_string()))?;
    match tokio::time::timeout(ANSWER_WITHIN, exchange(api, &node.http_addr, request)).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(reason)) => Err(unreachable(reason)),
        Err(_) => Err(unreachable("it doesn't answer".to_owned())),
    }
}

async fn exchange(
    api: &Api,
    address: &str,
    request: Request<Empty<Bytes>>,
) -> Result<Response, String> {
    let io = api.world.network.connect(address.to_owned()).await;
    let io = TokioIo::new(io.map_err(|error| error.to_string())?);
    let shaken = hyper::client::conn::http1::handshake(io).await;
    let (mut sender, connection) = shaken.map_err(|error| error.to_string())?;
    let mut connection: Driven = Some(Box::pin(connection));
    let answer = {
        let mut answer = std::pin::pin!(sender.send_request(request));
        std::future::poll_fn(|cx| {
            drive(&mut connection, cx);
            answer.as_mut().poll(cx)
        })
        .await
    };
    let (head, body) = answer.map_err(|error| error.to_string())?.into_parts();
    let mut response = Response::new(streamed(connection, body));
    *response.status_mut() = head.status;
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        if let Some(value) = head.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}

type Connection = hyper::client::conn::http1::Connection<TokioIo<Box<dyn Stream>>, Empty<Bytes>>;

/// A connection until it has ended. Nobody else drives it, so it is closed when it's dropped.
type Driven = Option<Pin<Box<Connection>>>;

fn drive(driven: &mut Driven, cx: &mut Context<'_>) {
    if let Some(connection) = driven
        && connection.as_mut().poll(cx).is_ready()
    {
        *driven = None;
    }
}

fn streamed(mut connection: Driven, mut body: Incoming) -> Body {
    Body::from_stream(stream::poll_fn(move |cx| {
        loop {
            drive(&mut connection, cx);
            return match Pin::new(&mut body).poll_frame(cx) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => Poll::Ready(Some(Ok(data))),
                    // Trailers: nothing for us.
                    Err(_) => continue,
                },
            };
        }
    }))
}

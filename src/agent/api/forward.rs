//! Requests that another agent passes on: the same router answers them.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt, Limited};
use tower_service::Service;

use super::errors::Failure;
use super::query::{NEAR_AGENT, Query, TEXT};
use super::{Api, BODY_MAX};
use crate::rpc::{self, ApiKind, HttpRequest, HttpResponse};
use crate::wire;

/// Headers that describe one connection, not the answer.
const HOP_BY_HOP: [&str; 3] = ["connection", "transfer-encoding", "content-length"];

/// No answer is larger that is passed on: it goes into one message, with its headers.
const ANSWER_MAX: usize = wire::FRAME_BYTES_MAX - (1 << 20);

fn too_large(bytes: usize) -> HttpResponse {
    let text = format!(
        "The answer of {bytes} bytes is too large to be passed on by an agent that is no server \
         (at most {ANSWER_MAX}): ask a server, or for less."
    );
    HttpResponse {
        status: StatusCode::INSUFFICIENT_STORAGE.as_u16(),
        headers: vec![("content-type".to_owned(), TEXT.to_owned())],
        body: text.into_bytes(),
    }
}

/// Answers a passed-on request with `router`.
pub async fn answer(mut router: Router, request: HttpRequest) -> Result<HttpResponse, String> {
    let request = Request::builder()
        .method(request.method.as_str())
        .uri(&request.path)
        .body(Body::from(request.body))
        .map_err(|error| error.to_string())?;
    // A router is always ready, and answers whatever it is asked.
    let Ok(response) = router.call(request).await;
    let (head, body) = response.into_parts();
    let body = body
        .collect()
        .await
        .map_err(|error| error.to_string())?
        .to_bytes();
    if body.len() > ANSWER_MAX {
        return Ok(too_large(body.len()));
    }
    let headers = head
        .headers
        .iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(&name.as_str()))
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect();
    Ok(HttpResponse {
        status: head.status.as_u16(),
        headers,
        body: body.to_vec(),
    })
}

/// The other way: what came back, as an answer of this agent's own.
pub fn restore(answer: HttpResponse) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Asks a server for a path of an API; its answer whole.
pub(super) async fn ask(api: &Api, request: HttpRequest) -> Result<HttpResponse, Failure> {
    match api.rpc.ask(rpc::Request::Http(request)).await {
        Ok(rpc::Response::Http(answer)) => Ok(answer),
        Ok(rpc::Response::Refused(reason)) => Err(Failure::no_leader(&reason)),
        Ok(other) => {
            tracing::warn!(
                ?other,
                "a server answered an HTTP request with something else"
            );
            Err(Failure::no_leader(
                "the server's answer makes no sense: is it of another version?",
            ))
        }
        Err(error) => Err(Failure::no_leader(&error.to_string())),
    }
}

/// Wraps the routes that only a server can answer: checks that the request is for this cluster,
/// and on other agents passes it on.
pub(super) async fn to_server(
    State((api, kind)): State<(Api, ApiKind)>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(failure) = meant_for_us(&api, kind, &Query::of(request.uri())) {
        return failure.into_response();
    }
    if api.server.is_some() {
        return next.run(request).await;
    }
    match pass_on(&api, kind, request).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

async fn pass_on(api: &Api, kind: ApiKind, request: Request) -> Result<Response, Failure> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_MAX)
        .collect()
        .await
        .map_err(|error| {
            Failure::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the request's body: {error}"),
            )
        })?;
    let request = HttpRequest {
        api: kind,
        method: head.method.to_string(),
        path: as_if_asked_here(api, &head.uri),
        body: body.to_bytes().to_vec(),
    };
    ask(api, request).await.map(restore)
}

/// What is asked for, with this agent's name for itself: the server has another.
fn as_if_asked_here(api: &Api, uri: &Uri) -> String {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let Some((path, query)) = path.split_once('?') else {
        return path.to_owned();
    };
    let pairs = query.split('&').map(|pair| {
        let is_own = pair.strip_prefix("near=") == Some(NEAR_AGENT);
        if is_own {
            format!("near={}", logic::percent::segment(&api.identity.name))
        } else {
            pair.to_owned()
        }
    });
    format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"))
}

pub(super) fn meant_for_us(api: &Api, kind: ApiKind, query: &Query) -> Result<(), Failure> {
    match kind {
        ApiKind::Nomad => match query.get("region") {
            Some(region) if region != api.config.region => {
                let text = format!("No path to region: there is only `{}`", api.config.region);
                Err(Failure::bad_request(text))
            }
            Some(_) | None => Ok(()),
        },
        // 500 is what clients take for "try another datacenter".
        ApiKind::Consul => match query.get("dc") {
            Some(datacenter) if datacenter != api.config.datacenter => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                Err(Failure::new(status, "No path to datacenter"))
            }
            Some(_) | None => Ok(()),
        },
    }
}

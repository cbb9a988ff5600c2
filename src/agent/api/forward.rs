//! Requests that another agent passes on: the same router answers them.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;

use crate::rpc::{HttpRequest, HttpResponse};

/// Headers that describe one connection, not the answer.
const HOP_BY_HOP: [&str; 3] = ["connection", "transfer-encoding", "content-length"];

/// Answers a passed-on request with `router`.
pub async fn answer(mut router: Router, request: HttpRequest) -> Result<HttpResponse, String> {
    let request = Request::builder()
        .method(request.method.as_str())
        .uri(&request.path)
        .body(Body::from(request.body))
        .map_err(|error| error.to_string())?;
    let Ok(response) = std::future::poll_fn(|cx| tower_ready(&mut router, cx)).await.call(request).await;
    let (head, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?.to_bytes();
    let headers = head
        .headers
        .iter()
        .filter(|(name, _)| !HOP_BY_HOP.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    Ok(HttpResponse { status: head.status.as_u16(), headers, body: body.to_vec() })
}

/// The other way: what came back, as an answer of this agent's own.
pub fn restore(answer: HttpResponse) -> axum::response::Response {
    let mut response = axum::response::Response::new(Body::from(answer.body));
    *response.status_mut() = axum::http::StatusCode::from_u16(answer.status).unwrap_or_default();
    for (name, value) in answer.headers {
        let name = HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

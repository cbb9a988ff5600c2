//! Answers that aren't what was asked for: a status, and a sentence on what to do about it.

use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use logic::state::Refusal;

use super::query::TEXT;

/// How every answer begins that needs a leader where there is none: clients look for it.
pub(super) const NO_LEADER: &str = "No cluster leader";

/// A refused request. The body is plain text, as clients of both APIs expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    status: StatusCode,
    text: String,
    /// The `Allow` header.
    allow: Option<&'static str>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self {
            status,
            text: text.into(),
            allow: None,
        }
    }

    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(super) fn not_allowed(method: &Method, allow: &'static str) -> Self {
        let text = format!("Invalid method: {method} (allowed: {allow})");
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            text,
            allow: Some(allow),
        }
    }

    /// For what the anchors have and this build hasn't.
    pub(super) fn not_yet(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            format!("{what} isn't supported yet"),
        )
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn no_leader(reason: &str) -> Self {
        let text = if reason.starts_with(NO_LEADER) {
            reason.to_owned()
        } else {
            format!("{NO_LEADER}: {reason}")
        };
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, text)
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, refusal.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.text.into_response();
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        response
    }
}

/// For a path that no route has.
pub(super) async fn no_such_path(uri: Uri) -> Failure {
    Failure::not_found(format!("no such path: {}", uri.path()))
}

/// For a path that has routes, but none for the method; axum adds `Allow`.
pub(super) async fn no_such_method(method: Method) -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("Invalid method: {method}"),
    )
}

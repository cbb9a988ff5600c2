//! What the pages need besides themselves, built into the binary: looks, the script, the icon.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::OnceLock;

use axum::extract::Path;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::super::errors::Failure;

const FILES: [(&str, &str, &str); 3] = [
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("style.css"),
    ),
    (
        "live.js",
        "text/javascript; charset=utf-8",
        include_str!("live.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// Changes with what is built in, so that browsers may keep files for ever, and open pages notice
/// that the agent behind them has become another.
pub(super) fn build() -> &'static str {
    static BUILD: OnceLock<String> = OnceLock::new();
    BUILD.get_or_init(|| {
        let mut hasher = DefaultHasher::new();
        crate::VERSION.hash(&mut hasher);
        FILES.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    })
}

pub(super) fn href(name: &str) -> String {
    format!("/ui/assets/{}/{name}", build())
}

pub(super) async fn serve(Path((asked, name)): Path<(String, String)>) -> Response {
    let Some((_, kind, text)) = FILES.iter().find(|(file, ..)| *file == name) else {
        return Failure::not_found(format!("the web page has no file `{name}`")).into_response();
    };
    // An agent of another build answers with what it has, for now.
    let kept = if asked == build() {
        "public, max-age=31536000, immutable"
    } else {
        "no-store"
    };
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
    response
}

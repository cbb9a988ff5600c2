//! What the edge tells about itself, on a port of its own: fabio's `/api/routes`, `/routes`,
//! `/health`, and counters for Prometheus.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use logic::config::UiOptions;
use logic::routes::Table;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::consul::Manual;
use super::{Counters, pages};

const TEXT: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json; charset=utf-8")];

#[derive(Clone)]
pub(super) struct Shown {
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) counters: Arc<Counters>,
    pub(super) config: Value,
    pub(super) ui: UiOptions,
    pub(super) manual: Option<Manual>,
}

pub(super) fn router(shown: Shown) -> Router {
    Router::new()
        .route("/", get(root))
        .route("/health", get(|| async { (TEXT, "OK\n") }))
        .route("/routes", get(routes_page))
        .route("/metrics", get(metrics))
        .route("/api/routes", get(routes))
        .route("/api/config", get(config))
        .route(
            "/api/version",
            get(|| async { (TEXT, env!("CARGO_PKG_VERSION")) }),
        )
        .route("/api/paths", get(paths))
        .route("/api/manual", get(read_manual).put(write_manual))
        .route("/api/manual/{*path}", get(read_manual).put(write_manual))
        .route("/manual", get(manual_page))
        .route("/manual/{*path}", get(manual_page))
        .with_state(shown)
}

async fn root() -> impl IntoResponse {
    let body = "<a href=\"/routes\">See Other</a>.\n\n";
    (StatusCode::SEE_OTHER, [(LOCATION, "/routes")], Html(body))
}

async fn routes(State(shown): State<Shown>, RawQuery(query): RawQuery) -> impl IntoResponse {
    let table = shown.table.load_full();
    let query = query.unwrap_or_default();
    let raw = query
        .split('&')
        .any(|part| part == "raw" || part.starts_with("raw="));
    if raw {
        let mut lines = table.commands().join("\n");
        lines.push('\n');
        return (TEXT, lines).into_response();
    }
    let rows = table.rows();
    // Clients of fabio expect null, not an empty list.
    let rows = (!rows.is_empty()).then_some(rows);
    (JSON, Json(rows)).into_response()
}

async fn config(State(shown): State<Shown>) -> impl IntoResponse {
    (JSON, Json(shown.config))
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let Counters {
        requests,
        no_route,
        upstream_errors,
        retried,
        connections,
    } = &*shown.counters;
    let mut text = String::new();
    let mut count = |name: &str, help: &str, value: u64| {
        let name = format!("drover_edge_{name}_total");
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n"
        );
    };
    count("requests", "Requests received.", requests.load(Relaxed));
    count(
        "connections",
        "TCP connections passed on to an upstream.",
        connections.load(Relaxed),
    );
    count(
        "no_route",
        "Requests and connections that no route matched.",
        no_route.load(Relaxed),
    );
    count(
        "upstream_errors",
        "Requests and connections that no upstream took.",
        upstream_errors.load(Relaxed),
    );
    count(
        "retries",
        "Times another upstream or connection was tried.",
        retried.load(Relaxed),
    );
    (TEXT, text)
}

async fn routes_page(State(shown): State<Shown>) -> Html<String> {
    let table = shown.table.load_full();
    Html(pages::routes(&table, &shown.ui.title, shown.writable()))
}

/// As fabio's clients know it: the version is text.
#[derive(Serialize, Deserialize)]
struct Override {
    value: String,
    version: String,
}

type Refused = (StatusCode, [(HeaderName, &'static str); 1], String);

fn refuse(status: StatusCode, why: impl Into<String>) -> Refused {
    (status, TEXT, format!("{}\n", why.into()))
}

impl Shown {
    fn writable(&self) -> bool {
        self.ui.writable && self.manual.is_some()
    }

    /// Where overrides are, if they may be looked at.
    fn manual(&self) -> Result<&Manual, Refused> {
        match &self.manual {
            Some(manual) if self.ui.writable => Ok(manual),
            Some(_) => Err(refuse(StatusCode::FORBIDDEN, "Forbidden")),
            None => Err(refuse(
                StatusCode::NOT_FOUND,
                "routes of this edge can't be overridden here",
            )),
        }
    }
}

/// What follows `/manual` or `/api/manual`.
fn below(uri: &Uri) -> String {
    let path = uri.path();
    let path = path.strip_prefix("/api").unwrap_or(path);
    path.strip_prefix("/manual").unwrap_or_default().to_owned()
}

async fn read_manual(State(shown): State<Shown>, uri: Uri) -> Result<Response, Refused> {
    let read = shown.manual()?.read(&below(&uri)).await;
    let (value, version) = read.map_err(|why| refuse(StatusCode::BAD_GATEWAY, why))?;
    let version = version.to_string();
    Ok((JSON, Json(Override { value, version })).into_response())
}

async fn write_manual(
    State(shown): State<Shown>,
    uri: Uri,
    body: Bytes,
) -> Result<StatusCode, Refused> {
    let manual = shown.manual()?;
    let bad = |why: String| refuse(StatusCode::BAD_REQUEST, why);
    let Override { value, version } =
        serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?;
    let version = version
        .parse()
        .map_err(|_| bad("version: not a number".to_owned()))?;
    match manual.write(&below(&uri), value, version).await {
        Ok(true) => Ok(StatusCode::OK),
        Ok(false) => Err(refuse(StatusCode::CONFLICT, "version mismatch")),
        Err(why) => Err(refuse(StatusCode::BAD_GATEWAY, why)),
    }
}

async fn paths(State(shown): State<Shown>) -> Result<Response, Refused> {
    let paths = shown.manual()?.paths().await;
    let paths = paths.map_err(|why| refuse(StatusCode::BAD_GATEWAY, why))?;
    // Clients of fabio expect null, not an empty list.
    let paths = (!paths.is_empty()).then_some(paths);
    Ok((JSON, Json(paths)).into_response())
}

async fn manual_page(State(shown): State<Shown>, uri: Uri) -> Result<Html<String>, Refused> {
    let read = shown.manual()?.read(&below(&uri)).await;
    let (value, version) = read.map_err(|why| refuse(StatusCode::BAD_GATEWAY, why))?;
    Ok(Html(pages::manual(&value, version, &shown.ui.title)))
}

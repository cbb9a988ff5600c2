//! What the edge tells about itself, on a port of its own: fabio's `/api/routes`, `/routes`,
//! `/health`, and counters for Prometheus.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use axum::extract::{RawQuery, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderName, StatusCode};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use axum::{Json, Router};
use logic::config::{EdgeConfig, EdgeListener};
use logic::routes::{Row, Table};
use serde_json::json;

use super::Counters;

const TEXT: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "text/plain; charset=utf-8")];
const JSON: [(HeaderName, &str); 1] = [(CONTENT_TYPE, "application/json; charset=utf-8")];

#[derive(Clone)]
pub(super) struct Shown {
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) counters: Arc<Counters>,
    pub(super) config: EdgeConfig,
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
    let EdgeConfig {
        listeners,
        ui_port,
        tag_prefix,
        no_route_status,
        ..
    } = shown.config;
    let listener = |listener: EdgeListener| {
        let EdgeListener { address, port, .. } = listener;
        let address = address.map(|address| SocketAddr::new(address, port));
        let address = address.map_or_else(|| format!(":{port}"), |address| address.to_string());
        json!({ "Addr": address, "Proto": listener.protocol.name() })
    };
    let listeners: Vec<_> = listeners.into_iter().map(listener).collect();
    let config = json!({
        "Proxy": { "Strategy": "rnd", "Matcher": "prefix", "NoRouteStatus": no_route_status },
        "Registry": { "Consul": { "TagPrefix": tag_prefix } },
        "Listen": listeners,
        "UI": { "Listen": listener(EdgeListener::http(ui_port)) },
    });
    (JSON, Json(config))
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
    let mut count = |name: &str, help: &str, value: &AtomicU64| {
        let value = value.load(Ordering::Relaxed);
        let name = format!("drover_edge_{name}_total");
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n"
        );
    };
    count("requests", "Requests received.", requests);
    count(
        "connections",
        "TCP connections passed on to an upstream.",
        connections,
    );
    count(
        "no_route",
        "Requests and connections that no route matched.",
        no_route,
    );
    count(
        "upstream_errors",
        "Requests and connections that no upstream took.",
        upstream_errors,
    );
    count(
        "retries",
        "Times another upstream or connection was tried.",
        retried,
    );
    (TEXT, text)
}

async fn routes_page(State(shown): State<Shown>) -> Html<String> {
    Html(page(&shown.table.load_full().rows()))
}

fn page(rows: &[Row]) -> String {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>Routes</title>\n<style>\n\
         body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 75em;\n\
         padding: 0 1em }\n\
         table { border-collapse: collapse; width: 100% }\n\
         th, td { border-bottom: 1px solid #ccc; padding: .3em .6em; text-align: left }\n\
         </style>\n</head>\n<body>\n<h1>Routes</h1>\n",
    );
    if rows.is_empty() {
        page.push_str("<p>No service has a route: tag one with <code>urlprefix-HOST/PATH</code> and give it a check.</p>\n");
    } else {
        page.push_str(
            "<table>\n<tr><th>Service</th><th>Source</th><th>Destination</th><th>Options</th><th>Weight</th></tr>\n",
        );
        for row in rows {
            let cells = [&row.service, &row.src, &row.dst, &row.opts].map(|cell| escape(cell));
            let weight = row.weight * 100.0;
            // Writing to a string can't fail.
            let _ = writeln!(
                page,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{weight:.2}%</td></tr>",
                cells[0], cells[1], cells[2], cells[3],
            );
        }
        page.push_str("</table>\n");
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

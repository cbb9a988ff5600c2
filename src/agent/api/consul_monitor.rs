//! Consul's `/v1/agent/monitor`: the agent's log as it is written.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::stream;
use tokio::sync::mpsc;

use super::Api;
use super::errors::Failure;
use super::query::{Query, TEXT};
use crate::wishes::Follow;

/// Lines that a slow reader may be behind.
const LINES_MAX: usize = 512;

/// A level under the names that Consul has for it, too.
fn level(named: &str) -> Result<&'static str, Failure> {
    Ok(match named.to_lowercase().as_str() {
        "trace" => "trace",
        "debug" => "debug",
        "" | "info" => "info",
        "warn" | "warning" => "warn",
        "err" | "error" => "error",
        _ => {
            let text =
                format!("Unknown log level: {named}: it is trace, debug, info, warn or error");
            return Err(Failure::bad_request(text));
        }
    })
}

pub(super) async fn follow(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let level = level(query.get("loglevel").unwrap_or_default())?;
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let asked = Follow {
        level: level.to_owned(),
        json: query.flag("logjson")?,
        lines: sender,
    };
    if !api.owner.follows.tell(asked) {
        return Err(Failure::not_yet("following the log of this agent"));
    }
    let lines = stream::unfold(lines, |mut lines| async move {
        let line = lines.recv().await?;
        Some((Ok::<_, Infallible>(line), lines))
    });
    let mut response = Response::new(Body::from_stream(lines));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_consuls_names_too() {
        assert_eq!(level(""), Ok("info"));
        assert_eq!(level("ERR"), Ok("error"));
        assert_eq!(level("Debug"), Ok("debug"));
        assert!(level("loud").is_err());
    }
}

//! What is logged about requests: the access log, and how a traced one was routed.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::prelude::*;

use super::*;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    /// What was logged for this target, in a line each.
    fn lines(&self, target: &str) -> Vec<String> {
        let bytes = self.0.lock().expect("no panic");
        let text = String::from_utf8(bytes.clone()).expect("text");
        let lines = text.lines().filter_map(|line| line.split_once(": "));
        let lines = lines.filter(|(head, _)| head.ends_with(target));
        lines.map(|(_, line)| line.to_owned()).collect()
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Write::write(&mut *self.0.lock().expect("no panic"), bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Kept {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Keeps what this thread logs as long as the guard lives.
fn kept() -> (Kept, tracing::subscriber::DefaultGuard) {
    let kept = Kept::default();
    let logs = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(kept.clone());
    let logs = tracing_subscriber::registry().with(logs.with_filter(LevelFilter::TRACE));
    (kept, logs.set_default())
}

async fn logged_edge(format: Option<AccessFormat>, backend: SocketAddr) -> Running {
    let settings = Settings {
        access_log: format,
        ..patient()
    };
    edge_with(&[("urlprefix-mysite.com:9999/", backend)], settings, 1).await
}

const ASKED: &str = "GET /a HTTP/1.1\r\nHost: mysite.com:9999\r\nUser-Agent: test\r\n\r\n";

#[test]
fn requests_are_logged_when_their_answers_are_over() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        for (format, end) in [
            (AccessFormat::Common, ""),
            (AccessFormat::Combined, " \"\" \"test\""),
        ] {
            let (kept, _guard) = kept();
            let running = logged_edge(Some(format), backend).await;
            let (_, body) = running.ask(ASKED).await;
            running
                .ask("POST /no HTTP/1.0\r\nUser-Agent: test\r\n\r\n")
                .await;
            while kept.lines("access").len() < 2 {
                tokio::task::yield_now().await;
            }
            let at = "127.0.0.1 - - [24/Nov/2026:13:12:55 +0000]";
            let length = body.len();
            assert_eq!(
                kept.lines("access"),
                [
                    format!("{at} \"GET /a HTTP/1.1\" 200 {length}{end}"),
                    format!("{at} \"POST /no HTTP/1.0\" 404 0{end}"),
                ]
            );
        }
        let (kept, _guard) = kept();
        logged_edge(None, backend).await.ask(ASKED).await;
        assert!(kept.lines("access").is_empty());
    });
}

#[test]
fn a_traced_request_tells_how_it_was_routed() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let (kept, _guard) = kept();
        let running = logged_edge(None, backend).await;
        let traced = "Trace: abc\r\nHost: mysite.com:9999\r\n\r\n";
        running.ask(&format!("GET / HTTP/1.1\r\n{traced}")).await;
        running.ask(ASKED).await;
        assert_eq!(
            kept.lines("edge::forward"),
            [
                "abc Tracing mysite.com:9999/".to_owned(),
                "abc Matching hosts: [mysite.com:9999]".to_owned(),
                "abc Match mysite.com:9999/".to_owned(),
                format!("abc Routing to service web on http://{backend}/"),
            ]
        );
    });
}

#[test]
fn a_redirect_to_where_a_request_came_from_gives_way_to_the_next_route() {
    story(async {
        let (backend, _) = telling_backend("a").await;
        let running = edge(&[
            ("urlprefix-a.com/ redirect=301,https://a.com$path", backend),
            ("urlprefix-/", backend),
        ])
        .await;
        let get = |more: &str| format!("GET /x HTTP/1.1\r\nHost: a.com\r\n{more}\r\n");
        let (head, _) = running.ask(&get("")).await;
        assert_eq!(header(&head, "location"), Some("https://a.com/x"));
        let (head, _) = running.ask(&get("X-Forwarded-Proto: https\r\n")).await;
        assert_eq!(status(&head), "200");
    });
}

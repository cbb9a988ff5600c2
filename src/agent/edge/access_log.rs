//! The access log: a line for each request that was answered, as Apache writes it.
//!
//! Lines are events of the target `access`; where they go is up to who listens.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderName, REFERER, USER_AGENT};
use hyper::{HeaderMap, Request, StatusCode, Version};
use logic::config::AccessFormat;
use logic::time::Time;

/// The target of the log's events.
pub const TARGET: &str = "access";

/// A request that is being answered.
pub(super) struct Entry {
    client: IpAddr,
    request: String,
    /// The end of its line in the combined format.
    sender: String,
}

impl Entry {
    pub(super) fn new<B>(request: &Request<B>, from: SocketAddr, format: AccessFormat) -> Self {
        let method = request.method();
        let path = request.uri().path_and_query();
        let asked = match (request.version(), path) {
            // HTTP/2 tells the host and the path apart, as a Host header does.
            (version @ Version::HTTP_2, Some(path)) => format!("{method} {path} {version:?}"),
            (version, _) => format!("{method} {} {version:?}", request.uri()),
        };
        Self::of(&asked, from, format, |name| header(request.headers(), name))
    }

    /// The same for a request that was read otherwise: its first line, and its headers.
    pub(super) fn of<'h>(
        asked: &str,
        from: SocketAddr,
        format: AccessFormat,
        header: impl Fn(&HeaderName) -> &'h [u8],
    ) -> Self {
        let mut line = String::new();
        put_quoted(&mut line, asked.as_bytes());
        let mut sender = String::new();
        if format == AccessFormat::Combined {
            for name in [REFERER, USER_AGENT] {
                sender.push(' ');
                put_quoted(&mut sender, header(&name));
            }
        }
        Self {
            client: from.ip().to_canonical(),
            request: line,
            sender,
        }
    }

    /// Writes the line once the answer is over.
    pub(super) fn log(&self, status: StatusCode, bytes: u64, now: Time) {
        tracing::info!(target: TARGET, "{}", self.line(status, bytes, now));
    }

    fn line(&self, status: StatusCode, bytes: u64, now: Time) -> String {
        let Self {
            client,
            request,
            sender,
        } = self;
        let (at, status) = (now.common_log(), status.as_u16());
        format!("{client} - - [{at}] {request} {status} {bytes}{sender}")
    }
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> &'h [u8] {
    headers.get(name).map_or(b"", |value| value.as_bytes())
}

/// What clients send can't end a field or a line.
fn put_quoted(line: &mut String, text: &[u8]) {
    line.push('"');
    for byte in text {
        match byte {
            b'"' | b'\\' => line.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => line.push(char::from(*byte)),
            // Writing to a string can't fail.
            other => drop(write!(line, "\\x{other:02x}")),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_apache_and_fabio_write_them() {
        let request = Request::get("/a?b=1")
            .header("referer", "http://x/")
            .header("user-agent", "curl \"7\\\" \u{e9}");
        let request = request.body(()).expect("a request");
        let from = "[::ffff:127.0.0.1]:4711".parse().expect("an address");
        let line = |format| {
            let entry = Entry::new(&request, from, format);
            entry.line(StatusCode::OK, 44, Time::from_secs(1_795_525_975))
        };
        let common = "127.0.0.1 - - [24/Nov/2026:13:12:55 +0000] \"GET /a?b=1 HTTP/1.1\" 200 44";
        assert_eq!(line(AccessFormat::Common), common);
        let sender = "\"http://x/\" \"curl \\\"7\\\\\\\" \\xc3\\xa9\"";
        assert_eq!(line(AccessFormat::Combined), format!("{common} {sender}"));
    }
}

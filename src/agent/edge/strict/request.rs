//! Requests that leave no doubt: what is read of them, and what their upstream is sent.
//!
//! Whatever isn't plain is hyper's: another version, other methods, bodies that are chunked or
//! long, headers that a proxy decides by, characters that mean something to somebody.

use std::mem::MaybeUninit;
use std::ops::Range;

use httparse::Header;
use hyper::HeaderMap;
use hyper::header::{HOST, HeaderValue};
use logic::routes::Target;

use super::super::headers::{Sender, is_for_one_hop};

/// A longer head is hyper's.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;
/// A longer body is hyper's, which passes it on while it comes.
const BODY_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

/// What is at the start of the bytes that a client has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// More has to come.
    Partial,
    /// Something for hyper.
    Other,
    Plain(Request),
}

/// Where the parts of a request are among the bytes it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) head: usize,
    pub(super) body: usize,
    method: Range<usize>,
    target: Range<usize>,
    path: Range<usize>,
    host: Range<usize>,
    /// No other request follows on this connection.
    pub(super) closes: bool,
}

impl Request {
    pub(super) fn whole(&self) -> usize {
        self.head + self.body
    }

    pub(super) fn method<'b>(&self, bytes: &'b [u8]) -> &'b str {
        text(bytes, &self.method)
    }

    /// The path and the query.
    pub(super) fn target<'b>(&self, bytes: &'b [u8]) -> &'b str {
        text(bytes, &self.target)
    }

    pub(super) fn path<'b>(&self, bytes: &'b [u8]) -> &'b str {
        text(bytes, &self.path)
    }

    pub(super) fn host<'b>(&self, bytes: &'b [u8]) -> &'b str {
        text(bytes, &self.host)
    }

    /// Whether only the head of an answer is wanted.
    pub(super) fn wants_head(&self, bytes: &[u8]) -> bool {
        self.method(bytes) == "HEAD"
    }

    /// Whether asking twice is as good as asking once.
    pub(super) fn is_repeatable(&self, bytes: &[u8]) -> bool {
        self.body == 0 && !matches!(self.method(bytes), "POST" | "PATCH")
    }

    /// Writes the request for this target. `lines` are what [`read`] has kept of the headers.
    pub(super) fn write(
        &self,
        bytes: &[u8],
        target: &Target,
        lines: &[u8],
        introduction: &[u8],
        out: &mut Vec<u8>,
    ) {
        let path = self.path(bytes);
        let query = &bytes[self.path.end..self.target.end];
        out.clear();
        out.extend_from_slice(self.method(bytes).as_bytes());
        out.push(b' ');
        out.extend_from_slice(target.rewrite(path).as_bytes());
        out.extend_from_slice(query);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        put_line(out, "Host", self.host(bytes).as_bytes());
        out.extend_from_slice(lines);
        out.extend_from_slice(introduction);
        if !target.strip.is_empty() {
            put_line(out, "x-forwarded-prefix", target.strip.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(&bytes[self.head..self.whole()]);
    }
}

fn text<'b>(bytes: &'b [u8], part: &Range<usize>) -> &'b str {
    // It was text when it was read.
    std::str::from_utf8(&bytes[part.clone()]).unwrap_or_default()
}

pub(super) fn put_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Reads the head of a request, and keeps in `lines` the headers that the upstream gets as they
/// are.
pub(super) fn read(bytes: &[u8], sender: &Sender, lines: &mut Vec<u8>) -> Read {
    lines.clear();
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let head = match parsed.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(head)) if head <= HEAD_BYTES_MAX => head,
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => return Read::Partial,
        Ok(_) | Err(_) => return Read::Other,
    };
    let (Some(method), Some(target), Some(1)) = (parsed.method, parsed.path, parsed.version) else {
        return Read::Other;
    };
    let path = target.split('?').next().unwrap_or(target);
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];
    if !known.contains(&method) || !is_plain_target(target) {
        return Read::Other;
    }
    let Some(found) = keep(parsed.headers, sender, lines) else {
        return Read::Other;
    };
    let place = |part: &str| {
        let start = part.as_ptr() as usize - bytes.as_ptr() as usize;
        start..start + part.len()
    };
    Read::Plain(Request {
        head,
        body: found.body,
        method: place(method),
        target: place(target),
        path: place(path),
        host: place(found.host),
        closes: found.closes,
    })
}

/// What the headers say about the request itself.
struct Found<'b> {
    host: &'b str,
    body: usize,
    closes: bool,
}

/// None if one of them isn't for us.
fn keep<'b>(headers: &[Header<'b>], sender: &Sender, lines: &mut Vec<u8>) -> Option<Found<'b>> {
    let (mut host, mut length, mut connection) = (None, None, None);
    for Header { name, value } in headers {
        match kind(name, sender) {
            Kind::EndToEnd => put_line(lines, name, value),
            Kind::Length => {
                once(&mut length, value)?;
                put_line(lines, name, value);
            }
            Kind::Host => once(&mut host, value)?,
            Kind::Connection => once(&mut connection, value)?,
            Kind::OneHop => {}
            Kind::NotOurs => return None,
        }
    }
    let host = std::str::from_utf8(host?).ok()?;
    let closes = match connection {
        None => false,
        Some(value) if value.eq_ignore_ascii_case(b"keep-alive") => false,
        Some(value) if value.eq_ignore_ascii_case(b"close") => true,
        Some(_) => return None,
    };
    let body = length.map_or(Some(0), body_length)?;
    is_plain_host(host).then_some(Found { host, body, closes })
}

/// None if there is one already.
fn once<'b>(known: &mut Option<&'b [u8]>, value: &'b [u8]) -> Option<()> {
    known.replace(value).is_none().then_some(())
}

/// How a header is dealt with.
enum Kind {
    EndToEnd,
    Host,
    Length,
    Connection,
    /// Not passed on.
    OneHop,
    NotOurs,
}

fn kind(name: &str, sender: &Sender) -> Kind {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 if is("te") => Kind::NotOurs,
        4 if is("host") => Kind::Host,
        5 if is("trace") => Kind::NotOurs,
        6 if is("expect") => Kind::NotOurs,
        7 if is("trailer") || is("upgrade") => Kind::NotOurs,
        9 if is("forwarded") || is("x-real-ip") => Kind::NotOurs,
        10 if is("connection") => Kind::Connection,
        14 if is("content-length") => Kind::Length,
        17 if is("transfer-encoding") => Kind::NotOurs,
        // Proxies before us say such things.
        13.. if name.as_bytes()[..12].eq_ignore_ascii_case(b"x-forwarded-") => Kind::NotOurs,
        _ if sender.sets(name) => Kind::NotOurs,
        _ if is_for_one_hop(name) => Kind::OneHop,
        _ => Kind::EndToEnd,
    }
}

fn body_length(value: &[u8]) -> Option<usize> {
    let digits = !value.is_empty() && value.len() <= 5 && value.iter().all(u8::is_ascii_digit);
    let canonical = digits && (value[0] != b'0' || value.len() == 1);
    let length = std::str::from_utf8(value).ok().filter(|_| canonical)?;
    length
        .parse()
        .ok()
        .filter(|length| *length <= BODY_BYTES_MAX)
}

fn is_plain_host(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !host.is_empty() && host.bytes().all(plain)
}

fn is_plain_target(target: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~?&=%:@!$'()*+,;".contains(&byte);
    target.starts_with('/') && target.bytes().all(plain)
}

/// What upstreams are told about a connection whose requests ask for this host.
pub(super) fn introduction(sender: &Sender, host: &str) -> Vec<u8> {
    let mut out = Vec::new();
    if let Ok(host) = HeaderValue::from_str(host) {
        let mut head = hyper::Request::new(()).into_parts().0;
        head.headers.insert(HOST, host.clone());
        let mut headers = HeaderMap::new();
        sender.introduce(&head, &host, &mut headers);
        for (name, value) in &headers {
            put_line(&mut out, name.as_str(), value.as_bytes());
        }
    }
    out
}

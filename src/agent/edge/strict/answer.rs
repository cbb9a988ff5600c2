//! The head of an upstream's answer: read as hyper reads it, written as it goes to the client.

use std::mem::MaybeUninit;

use httparse::Header;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use ports::Clock;

use super::super::headers::{PROTECTED, is_for_one_hop};
use super::framing::{Body, Malformed, agreed_length};
use super::request::put_line;

/// As many as hyper reads.
const HEADERS_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 0xffff;

/// What is at the start of the bytes that an upstream has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    Partial,
    /// Not the answer yet: so many bytes to skip.
    Informational(usize),
    Final(Answer),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// How long its head is.
    pub(super) head: usize,
    pub(super) status: StatusCode,
    pub(super) body: Body,
    /// Whether the connection can be used again.
    pub(super) lasts: bool,
}

/// What the client is owed beside the answer.
pub(super) struct Manner<'a> {
    /// Only a head was asked for.
    pub(super) head_only: bool,
    /// The last answer on this connection.
    pub(super) closes: bool,
    pub(super) strict_transport: Option<&'a HeaderValue>,
    pub(super) clock: &'a dyn Clock,
}

/// Reads an answer's head, and writes the client's. Fails with what is wrong with it.
pub(super) fn read(bytes: &[u8], manner: &Manner<'_>, out: &mut Vec<u8>) -> Result<Read, String> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut headers);
    let head = match status.map_err(|error| error.to_string())? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(Read::Partial),
    };
    if parsed
        .headers
        .iter()
        .any(|header| header.name.len() > NAME_BYTES_MAX)
    {
        return Err("the name of a header is too long".to_owned());
    }
    let code = parsed.code.unwrap_or_default();
    let status = StatusCode::from_u16(code).map_err(|error| error.to_string())?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err("it switched to a protocol that wasn't asked for".to_owned());
    }
    if status.is_informational() {
        return Ok(Read::Informational(head));
    }
    let version_11 = parsed.version == Some(1);
    let body = if manner.head_only || matches!(code, 204 | 304) {
        Body::Empty
    } else {
        body(parsed.headers, version_11)?
    };
    let length = if manner.head_only {
        length_of_missing(parsed.headers)
    } else {
        None
    };
    out.clear();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(parsed.reason.unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    let closed = put_end_to_end(parsed.headers, manner, out);
    put_framing(body, length, manner, out);
    Ok(Read::Final(Answer {
        head,
        status,
        body,
        lasts: version_11 && !closed && body != Body::UntilClose,
    }))
}

fn values<'h>(headers: &'h [Header<'h>], name: &str) -> impl Iterator<Item = &'h [u8]> {
    let named = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
    headers.iter().filter(named).map(|header| header.value)
}

/// How long a body that isn't sent would have been, if that is told.
fn length_of_missing(headers: &[Header<'_>]) -> Option<u64> {
    if values(headers, "transfer-encoding").next().is_some() {
        return None;
    }
    let length = agreed_length(values(headers, "content-length"));
    // Nothing depends on it: what makes no sense isn't told.
    length.ok().flatten()
}

fn body(headers: &[Header<'_>], version_11: bool) -> Result<Body, String> {
    if let Some(encoding) = values(headers, "transfer-encoding").last() {
        if !version_11 {
            return Err("its Transfer-Encoding isn't of its version".to_owned());
        }
        let last = encoding.rsplit(|byte| *byte == b',').next();
        let chunked = last.is_some_and(|last| last.trim_ascii().eq_ignore_ascii_case(b"chunked"));
        return Ok(if chunked {
            Body::Chunked
        } else {
            Body::UntilClose
        });
    }
    let length = agreed_length(values(headers, "content-length"));
    let length = length.map_err(|Malformed| "its Content-Length can't be read")?;
    Ok(length.map_or(Body::UntilClose, Body::Length))
}

/// Writes all that isn't about the upstream's connection or the body's frame. Returns whether
/// the upstream closes its connection.
fn put_end_to_end(headers: &[Header<'_>], manner: &Manner<'_>, out: &mut Vec<u8>) -> bool {
    let connection = values(headers, "connection").flat_map(|v| v.split(|byte| *byte == b','));
    let listed: Vec<&[u8]> = connection.map(<[u8]>::trim_ascii).collect();
    let is_listed = |name: &str| {
        let protected = || {
            PROTECTED
                .iter()
                .any(|p| p.as_str().eq_ignore_ascii_case(name))
        };
        let mut listed = listed.iter();
        listed.any(|listed| listed.eq_ignore_ascii_case(name.as_bytes())) && !protected()
    };
    let mut dated = false;
    for Header { name, value } in headers {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        let kept = match name.len() {
            // Written anew, from what was understood of it.
            14 if is("content-length") => false,
            // Trailers don't get through.
            7 if is("trailer") => false,
            25 if is("strict-transport-security") => manner.strict_transport.is_none(),
            _ => !is_for_one_hop(name) && !is_listed(name),
        };
        if kept {
            dated |= is("date");
            put_line(out, name, value);
        }
    }
    if let Some(strict) = manner.strict_transport {
        put_line(out, "strict-transport-security", strict.as_bytes());
    }
    if !dated {
        put_line(out, "date", manner.clock.now().http_date().as_bytes());
    }
    listed
        .iter()
        .any(|listed| listed.eq_ignore_ascii_case(b"close"))
}

/// Writes the last headers: those about the body and the client's connection.
fn put_framing(body: Body, length: Option<u64>, manner: &Manner<'_>, out: &mut Vec<u8>) {
    match body {
        Body::Empty => {
            if let Some(length) = length {
                put_line(out, "content-length", length.to_string().as_bytes());
            }
        }
        Body::Length(length) => put_line(out, "content-length", length.to_string().as_bytes()),
        Body::Chunked | Body::UntilClose => put_line(out, "transfer-encoding", b"chunked"),
    }
    if manner.closes {
        put_line(out, "connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
}

//! What messages mean, however they are written.

use super::super::framing::{Body, Passage};

const REFUSED: &str = "refused";

/// A message without what may differ: the case and the order of headers, how a body is framed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    start: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    whole: bool,
}

/// The requests that upstreams got.
pub(super) fn requests_told(asked: &[Vec<u8>]) -> Vec<Message> {
    let read = |bytes: &Vec<u8>| {
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut parsed = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = parsed.parse(bytes) else {
            panic!("an upstream counts whole requests only")
        };
        let (method, path) = (parsed.method, parsed.path);
        let line = format!("{method:?} {path:?} {:?}", parsed.version);
        Message {
            start: line,
            headers: sorted(parsed.headers, &[]),
            body: bytes[head..].to_vec(),
            whole: true,
        }
    };
    asked.iter().map(read).collect()
}

fn sorted(headers: &[httparse::Header<'_>], without: &[&str]) -> Vec<(String, Vec<u8>)> {
    let headers = headers.iter().map(|header| {
        let name = header.name.to_ascii_lowercase();
        (name, header.value.to_vec())
    });
    let mut headers: Vec<_> = headers
        .filter(|(name, _)| !without.contains(&name.as_str()))
        .collect();
    headers.sort();
    headers
}

/// What a client was told.
#[derive(Debug)]
pub(super) struct Told {
    messages: Vec<Message>,
    /// What couldn't be read.
    rest: Vec<u8>,
    closed: bool,
}

impl Told {
    /// `sent` is what the client had asked.
    pub(super) fn read(got: &[u8], sent: &[u8], closed: bool) -> Self {
        let mut heads_only = heads_only(sent).into_iter();
        let (mut messages, mut rest) = (Vec::new(), got);
        while let Some((message, length)) = answer(rest, heads_only.next().unwrap_or(false)) {
            messages.push(message);
            rest = &rest[length..];
        }
        Self {
            messages,
            rest: rest.to_vec(),
            closed,
        }
    }

    /// How many requests weren't answered by their upstream.
    pub(super) fn failures(&self) -> usize {
        let failed = |message: &&Message| message.start.starts_with("502");
        self.messages.iter().filter(failed).count()
    }

    pub(super) fn agrees_with(&self, other: &Self) -> bool {
        let ((whole, broken), (other_whole, other_broken)) = (self.parts(), other.parts());
        let same_end = match (broken, other_broken) {
            (None, None) => self.rest == other.rest,
            // How much had gone out when an answer broke off is chance.
            (Some(_), None) | (None, Some(_)) => self.closed,
            (Some(one), Some(two)) => {
                let begins = one.body.starts_with(&two.body) || two.body.starts_with(&one.body);
                one.start == two.start && one.headers == two.headers && begins
            }
        };
        // Whether the body of what was refused is read to its end depends on how much has come.
        let refused = whole.last().is_some_and(|last| last.start == REFUSED);
        whole == other_whole && same_end && (refused || self.closed == other.closed)
    }

    /// hyper may break off an answer when it sees that what the client sent after it makes no
    /// sense.
    pub(super) fn outlasts(&self, other: &Self) -> bool {
        let ((whole, _), (before, Some(broken))) = (self.parts(), other.parts()) else {
            return false;
        };
        let Some([first, .., last]) = whole.strip_prefix(before) else {
            return false;
        };
        other.closed && first.start == broken.start && last.start == REFUSED
    }

    /// The whole messages, and what has begun after them.
    fn parts(&self) -> (&[Message], Option<&Message>) {
        match self.messages.split_last() {
            Some((last, before)) if !last.whole => (before, Some(last)),
            _ => (&self.messages, None),
        }
    }
}

/// Whether an upstream sends more than one answer, of which the rest may come at any time.
pub(super) fn has_surplus(mut sent: &[u8], head_only: bool) -> bool {
    while let Some((message, length)) = answer(sent, head_only) {
        sent = &sent[length..];
        if !message.start.starts_with('1') {
            return !sent.is_empty();
        }
    }
    false
}

/// Whether the head of an answer, or of what comes before it, can't become one any more.
pub(super) fn is_wrong(mut sent: &[u8]) -> bool {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut parsed = httparse::Response::new(&mut headers);
        match parsed.parse(sent) {
            Ok(httparse::Status::Complete(head)) if matches!(parsed.code, Some(100..=199)) => {
                sent = &sent[head..];
            }
            Ok(_) => return false,
            Err(_) => return true,
        }
    }
}

/// Which of the requests are for a head only, as far as they can be read.
fn heads_only(sent: &[u8]) -> Vec<bool> {
    let (mut found, mut rest) = (Vec::new(), sent);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 128];
        let mut parsed = httparse::Request::new(&mut headers);
        let Ok(httparse::Status::Complete(head)) = parsed.parse(rest) else {
            return found;
        };
        found.push(parsed.method == Some("HEAD"));
        let mut lengths = parsed.headers.iter();
        let length = lengths.find(|header| header.name.eq_ignore_ascii_case("content-length"));
        let length = length.and_then(|length| std::str::from_utf8(length.value).ok()?.parse().ok());
        let Some(after) = rest.get(head + length.unwrap_or(0)..) else {
            return found;
        };
        rest = after;
    }
}

/// The first answer, and how long it is.
fn answer(bytes: &[u8], head_only: bool) -> Option<(Message, usize)> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut parsed = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = parsed.parse(bytes) else {
        return None;
    };
    let code = parsed.code.unwrap_or_default();
    let mut values = parsed.headers.iter();
    let mut value = |name: &str| {
        let found = values.find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value)
    };
    let framing = if head_only || matches!(code, 204 | 304 | 100..=199) {
        Body::Empty
    } else if let Some(length) = value("content-length") {
        // The first of several that are the same.
        let length = length
            .split(|byte| *byte == b',')
            .next()
            .unwrap_or_default();
        let length = std::str::from_utf8(length).ok()?.trim().parse().ok()?;
        Body::Length(length)
    } else {
        Body::Chunked
    };
    // Why there is no answer may be said otherwise.
    let failed = code == 502;
    let mut without = vec!["transfer-encoding", "trailer"];
    if framing != Body::Empty || failed {
        without.push("content-length");
    }
    let (mut passage, mut gone) = (Passage::new(framing), Vec::new());
    let (taken, _) = passage.push(&bytes[head..], &mut gone).ok()?;
    let body = if framing == Body::Chunked {
        unchunked(&gone)
    } else {
        gone
    };
    let message = Message {
        start: match code {
            // What is wrong may be seen before it is seen to be too long.
            400 | 414 | 431 => REFUSED.to_owned(),
            _ => format!("{code} {:?}", parsed.reason),
        },
        headers: sorted(parsed.headers, &without),
        body: if failed { Vec::new() } else { body },
        whole: passage.is_over(),
    };
    Some((message, head + taken))
}

/// The body in chunks as a [`Passage`] writes them.
fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|at| at == b"\r\n") {
        let size = std::str::from_utf8(&chunks[..end]).unwrap_or_default();
        let size = usize::from_str_radix(size, 16).unwrap_or_default();
        body.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 2 + size + 2..];
    }
    body
}

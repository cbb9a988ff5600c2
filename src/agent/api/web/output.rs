//! A task's output on a page: what there is, and a stream of what is written from then on.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use http_body_util::{BodyExt, Limited};
use logic::percent;
use ports::Clock;
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

use super::super::errors::Failure;
use super::super::query::Query;
use super::super::{Api, client_fs};
use super::allocation::Output;
use super::live::{self, Open};
use super::seen::Asked;

/// How much of the end is shown at first.
const SHOWN: u64 = 96 << 10;
/// A page waits no longer for a node.
const WITHIN: Duration = Duration::from_secs(5);

/// The output asked for.
pub(super) fn kind(query: &Query) -> &'static str {
    match query.get("type") {
        Some("stderr") => "stderr",
        _ => "stdout",
    }
}

/// A frame of the API's output; a heartbeat has nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Frame {
    data: String,
    /// Where the data ends.
    offset: u64,
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        STANDARD.decode(&self.data).unwrap_or_default()
    }
}

async fn asked(api: &Api, alloc: &str, query: &str) -> Response {
    let address = format!("/v1/client/fs/logs/{}?{query}", percent::segment(alloc));
    let Ok(uri) = address.parse::<Uri>() else {
        return Failure::not_found(format!("there is no allocation {alloc}")).into_response();
    };
    let (state, id) = (State(api.clone()), Path(alloc.to_owned()));
    let query = Query::of(&uri);
    let answer = client_fs::logs(state, id, query, uri, HeaderMap::new()).await;
    answer.unwrap_or_else(IntoResponse::into_response)
}

/// The end of what was written so far.
pub(super) async fn so_far(api: &Api, alloc: &str, task: &str, kind: &str) -> Output {
    let task = percent::segment(task);
    let query = format!("task={task}&type={kind}&origin=end&offset={SHOWN}");
    let asking = async {
        let answer = asked(api, alloc, &query).await;
        let found = answer.status().is_success();
        let most = usize::try_from(SHOWN * 4).unwrap_or(usize::MAX);
        let body = Limited::new(answer.into_body(), most).collect().await;
        body.map(|body| (found, body.to_bytes()))
    };
    let none = |trouble: String| Output {
        text: String::new(),
        cut: false,
        end: 0,
        trouble: Some(trouble),
    };
    match timeout(WITHIN, asking).await {
        Ok(Ok((true, body))) => end_of(&body),
        Ok(Ok((false, body))) => none(String::from_utf8_lossy(&body).into_owned()),
        Ok(Err(error)) => none(format!("The output broke off: {error}")),
        Err(_) => none("The client doesn't answer.".to_owned()),
    }
}

fn end_of(body: &[u8]) -> Output {
    let frames = serde_json::Deserializer::from_slice(body).into_iter::<Frame>();
    let mut reader = Reader::default();
    let (mut text, mut end, mut begin) = (String::new(), 0, None);
    for frame in frames
        .map_while(Result::ok)
        .filter(|frame| !frame.data.is_empty())
    {
        let bytes = frame.bytes();
        begin.get_or_insert(frame.offset.saturating_sub(bytes.len() as u64));
        text.push_str(&reader.read(&bytes));
        end = frame.offset.saturating_sub(reader.held());
    }
    let cut = begin.is_some_and(|begin| begin > 0);
    if cut {
        // A piece of a line isn't worth showing.
        let line = text.find('\n').map_or(0, |at| at + 1);
        text.drain(..line);
    }
    Output {
        text,
        cut,
        end,
        trouble: None,
    }
}

/// Follows a task's output from where the page ends.
pub(super) async fn follow(
    api: &Api,
    page: &Asked,
    alloc: &str,
    task: &str,
    headers: &HeaderMap,
    open: Open,
) -> Response {
    let last = headers
        .get("last-event-id")
        .and_then(|last| last.to_str().ok());
    let since = last.or(page.query.get("since"));
    let since: u64 = since.and_then(|since| since.parse().ok()).unwrap_or(0);
    let (task, kind) = (percent::segment(task), kind(&page.query));
    let query = format!("task={task}&type={kind}&origin=start&offset={since}&follow=true");
    let answer = asked(api, alloc, &query).await;
    if !answer.status().is_success() {
        return answer;
    }
    let following = Following {
        body: answer.into_body(),
        unread: Vec::new(),
        reader: Reader::default(),
        next: Some(live::hello(api)),
        clock: api.world.clock.clone(),
        ends: api.world.clock.monotonic().saturating_add(live::LASTS),
        _open: open,
    };
    live::respond(stream::unfold(following, |mut following| async move {
        let event = following.next().await?;
        Some((event, following))
    }))
}

struct Following {
    body: Body,
    /// The beginning of a frame.
    unread: Vec<u8>,
    reader: Reader,
    next: Option<Bytes>,
    clock: Arc<dyn Clock>,
    /// When the stream ends, by the monotonic clock: the page goes on with another.
    ends: Duration,
    _open: Open,
}

impl Following {
    /// The next event; nothing when the output broke off or nobody can say more.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(event) = self.next.take() {
            return Some(event);
        }
        loop {
            if self.clock.monotonic() > self.ends {
                return None;
            }
            let frame = self.body.frame().await?.ok()?;
            let Ok(bytes) = frame.into_data() else {
                continue;
            };
            self.unread.extend_from_slice(&bytes);
            if let Some(event) = self.read() {
                return Some(event);
            }
        }
    }

    /// All whole frames that were received, as one event.
    fn read(&mut self) -> Option<Bytes> {
        let mut frames = serde_json::Deserializer::from_slice(&self.unread).into_iter::<Frame>();
        let (mut text, mut end, mut any) = (String::new(), None, false);
        let mut read = 0;
        while let Some(Ok(frame)) = frames.next() {
            any = true;
            read = frames.byte_offset();
            if !frame.data.is_empty() {
                text.push_str(&self.reader.read(&frame.bytes()));
                end = Some(frame.offset);
            }
        }
        self.unread.drain(..read);
        match end {
            Some(end) => {
                let id = end.saturating_sub(self.reader.held()).to_string();
                Some(live::event("output", Some(&id), &json!(text)))
            }
            None => any.then(live::alive),
        }
    }
}

/// Makes text of output: what terminals take for commands is left out, and what isn't UTF-8 is
/// marked. A character that came in pieces is waited for.
#[derive(Debug, Default)]
struct Reader {
    held: Vec<u8>,
    within: Within,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Text,
    /// After ESC.
    Escape,
    /// After ESC and `[`: until a letter.
    Sequence,
    /// After ESC and `]`: until BEL or another ESC.
    Title,
}

impl Reader {
    /// Bytes that wait for the rest of their character.
    fn held(&self) -> u64 {
        self.held.len() as u64
    }

    fn read(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let whole = match std::str::from_utf8(&held) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) | Ok(_) => held.len() - unfinished(&held),
        };
        self.held = held[whole..].to_vec();
        let text = String::from_utf8_lossy(&held[..whole]);
        text.chars().filter_map(|c| self.character(c)).collect()
    }

    fn character(&mut self, c: char) -> Option<char> {
        match (self.within, c) {
            (Within::Text | Within::Title, '\u{1b}') => self.within = Within::Escape,
            (Within::Text, '\n' | '\t') => return Some(c),
            (Within::Text, c) if !c.is_control() => return Some(c),
            (Within::Escape, '[') => self.within = Within::Sequence,
            (Within::Escape, ']') => self.within = Within::Title,
            (Within::Escape, _) | (Within::Sequence, '@'..='~') | (Within::Title, '\u{7}') => {
                self.within = Within::Text;
            }
            (Within::Text | Within::Sequence | Within::Title, _) => {}
        }
        None
    }
}

/// How many bytes at the end begin a character without ending it.
fn unfinished(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    (tail..bytes.len())
        .find(|at| {
            std::str::from_utf8(&bytes[*at..])
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .map_or(0, |at| bytes.len() - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(pieces: &[(&str, u64)]) -> String {
        let frame = |(text, offset): &(&str, u64)| {
            json!({ "Data": STANDARD.encode(text), "Offset": offset }).to_string()
        };
        pieces.iter().map(frame).collect()
    }

    #[test]
    fn what_is_shown_first_begins_with_a_whole_line() {
        let whole = end_of(frames(&[("one\ntwo\n", 8)]).as_bytes());
        assert_eq!(
            (whole.text.as_str(), whole.cut, whole.end),
            ("one\ntwo\n", false, 8)
        );
        let cut = end_of(frames(&[("ne\ntw", 6), ("o\n", 8)]).as_bytes());
        assert_eq!((cut.text.as_str(), cut.cut, cut.end), ("two\n", true, 8));
        let none = end_of(b"");
        assert_eq!((none.text.as_str(), none.cut, none.end), ("", false, 0));
    }

    #[test]
    fn characters_in_pieces_are_put_together_and_commands_to_terminals_left_out() {
        let mut reader = Reader::default();
        let bytes = "a楼b".as_bytes();
        assert_eq!(reader.read(&bytes[..2]), "a");
        assert_eq!(reader.held(), 1);
        assert_eq!(reader.read(&bytes[2..]), "楼b");
        assert_eq!(reader.held(), 0);
        assert_eq!(reader.read(b"x\xff\xe6\xa5"), "x\u{fffd}");
        assert_eq!(reader.held(), 2);
        assert_eq!(reader.read(b"\xbc"), "楼");
        assert_eq!(reader.read(b"\x1b[1;3"), "");
        assert_eq!(
            reader.read(b"1mred\x1b[0m\r\n\x1b]0;title\x07<b>\x08"),
            "red\n<b>"
        );
    }

    #[test]
    fn a_frame_that_came_in_pieces_is_one_event() {
        let mut following = Following {
            body: Body::empty(),
            unread: Vec::new(),
            reader: Reader::default(),
            next: None,
            clock: crate::edge::loopback::world(1).clock,
            ends: live::LASTS,
            _open: live::Streams::default().open().expect("room"),
        };
        let text = frames(&[("one\n", 4), ("</script>\n", 14)]);
        let (first, second) = text.split_at(10);
        following.unread.extend_from_slice(first.as_bytes());
        assert_eq!(following.read(), None);
        following.unread.extend_from_slice(second.as_bytes());
        let event = following.read().expect("an event");
        assert_eq!(
            event,
            "event: output\nid: 14\ndata: \"one\\n</script>\\n\"\n\n".as_bytes()
        );
        following.unread.extend_from_slice(b"{}");
        assert_eq!(following.read(), Some(live::alive()));
    }
}

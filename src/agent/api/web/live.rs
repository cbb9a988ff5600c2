//! Streams of events that keep open pages up to date: each tells the parts of its page that have
//! changed. There is a limit to how many are open, and to how long.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::super::errors::Failure;
use super::super::{Api, forward};
use super::page::{Rendered, live_address};
use super::place::Place;
use super::seen::{Asked, Seen};
use super::{Web, look, measure, output, rendered};

/// Streams of one port that are open at the same time.
const STREAMS_MAX: usize = 256;
/// A stream doesn't last longer: the page opens another, and nobody keeps one by mistake.
pub(super) const LASTS: Duration = Duration::from_secs(3_600);
/// A page isn't told of changes more often.
const PAUSE: Duration = Duration::from_millis(250);
/// How long changes that come together are waited for.
const GATHER: Duration = Duration::from_millis(50);
/// How long nothing may be said: so much later it is noticed that nobody listens.
const SILENCE: Duration = Duration::from_secs(10);
/// How often pages that show measures get new ones.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
/// How long after servers couldn't be asked they are asked again.
const TROUBLE_PAUSE: Duration = Duration::from_secs(2);

/// Pages that are kept for whoever looks at the same.
const KEPT_MAX: usize = 64;

/// The streams of one port.
#[derive(Clone, Default)]
pub(super) struct Streams {
    open: Arc<AtomicUsize>,
    /// The newest of each page, by its address: a hundred viewers cost no more than one.
    kept: Arc<Mutex<BTreeMap<String, Arc<Rendered>>>>,
}

/// An open stream; closed when it's dropped.
pub(super) struct Open(Arc<AtomicUsize>);

impl Streams {
    pub(super) fn open(&self) -> Option<Open> {
        let open = Open(Arc::clone(&self.open));
        (self.open.fetch_add(1, Ordering::Relaxed) < STREAMS_MAX).then_some(open)
    }

    /// A page as it is now: one that was rendered for another viewer, if it is still the same.
    fn page(&self, seen: &Seen, asked: &Asked) -> Arc<Rendered> {
        let (address, stamp) = (live_address(asked, ""), seen.stamp(&asked.place));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = kept.get(&address).filter(|page| page.stamp == stamp) {
            return Arc::clone(page);
        }
        let page = Arc::new(rendered(seen, asked));
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(address, Arc::clone(&page));
        page
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An event as browsers read it.
pub(super) fn event(name: &str, id: Option<&str>, data: &Value) -> Bytes {
    let id = id.map_or(String::new(), |id| format!("id: {id}\n"));
    Bytes::from(format!("event: {name}\n{id}data: {data}\n\n"))
}

/// Says nothing, to show that the stream is alive.
pub(super) fn alive() -> Bytes {
    Bytes::from_static(b": alive\n\n")
}

/// The first event: what time it is here.
pub(super) fn hello(api: &Api) -> Bytes {
    event(
        "hello",
        None,
        &json!({ "now": api.world.clock.now().millis() }),
    )
}

pub(super) fn respond(events: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    use futures_util::StreamExt;
    let mut response = Response::new(Body::from_stream(events.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Opens the stream of a page.
pub(super) async fn stream(web: Web, asked: Asked, headers: &HeaderMap) -> Response {
    let Some(open) = web.streams.open() else {
        let text =
            format!("{STREAMS_MAX} pages are open at this agent already: reload to see news");
        let mut response = Failure::new(StatusCode::SERVICE_UNAVAILABLE, text).into_response();
        let after = HeaderValue::from_static("15");
        response.headers_mut().insert(header::RETRY_AFTER, after);
        return response;
    };
    if let Place::Logs { alloc, task } = &asked.place {
        return output::follow(&web.api, &asked, alloc, task, headers, open).await;
    }
    // A browser that connects again tells what it saw last.
    let last = headers.get("last-event-id");
    let last = last.and_then(|last| last.to_str().ok());
    let since = last.or(asked.query.get("since")).unwrap_or_default();
    let now = web.api.world.clock.monotonic();
    respond(events(Following {
        since: since.to_owned(),
        ends: now.saturating_add(LASTS),
        events: VecDeque::from([hello(&web.api)]),
        sent: BTreeMap::new(),
        web,
        asked,
        _open: open,
    }))
}

/// A page that somebody looks at.
struct Following {
    web: Web,
    asked: Asked,
    /// What the browser has.
    since: String,
    /// When the stream ends, by the monotonic clock.
    ends: Duration,
    /// To be sent next.
    events: VecDeque<Bytes>,
    /// The parts as they were sent.
    sent: BTreeMap<String, String>,
    _open: Open,
}

fn events(following: Following) -> impl Stream<Item = Bytes> + Send {
    stream::unfold(following, |mut following| async move {
        loop {
            if let Some(event) = following.events.pop_front() {
                return Some((event, following));
            }
            if following.web.api.world.clock.monotonic() > following.ends {
                return None;
            }
            following.go_on().await?;
        }
    })
}

/// What there is to tell of a page.
pub(super) enum News {
    /// It is as it was.
    Same,
    Changed(Arc<Rendered>),
    /// The agent stops.
    Ended,
}

impl Following {
    /// Waits for news and puts them into words; nothing if there will be no more.
    async fn go_on(&mut self) -> Option<()> {
        let news = if self.web.api.server.is_some() {
            let Web { api, streams, .. } = &self.web;
            Ok(news(api, streams, &self.asked, &self.since).await)
        } else {
            self.ask_a_server().await
        };
        match news {
            Ok(News::Ended) => return None,
            Ok(News::Same) => self.events.push_back(alive()),
            Ok(News::Changed(page)) => {
                let event = self.changed(&page);
                self.events.push_back(event);
                sleep(PAUSE).await;
            }
            Err(failure) => {
                let text = format!("not live: {}", failure.text());
                self.events.push_back(event("trouble", None, &json!(text)));
                sleep(TROUBLE_PAUSE).await;
            }
        }
        Some(())
    }

    /// Only what differs from what was sent.
    fn changed(&mut self, page: &Rendered) -> Bytes {
        let differs = |(id, html): &&(String, String)| self.sent.get(id) != Some(html);
        let parts: Vec<_> = page.parts.iter().filter(differs).cloned().collect();
        self.since.clone_from(&page.stamp);
        if parts.is_empty() {
            return alive();
        }
        // Where the thing is gone, the page has other parts.
        let ids: Vec<_> = page.parts.iter().map(|(id, _)| id).collect();
        let told = json!({
            "title": page.title,
            "build": page.build,
            "ids": ids,
            "parts": parts,
        });
        self.sent.extend(parts);
        event("parts", Some(&page.stamp), &told)
    }

    async fn ask_a_server(&self) -> Result<News, Failure> {
        let path = live_address(&self.asked, &self.since).replacen("live=1", "parts=1", 1);
        let answer = forward::ask(&self.web.api, self.web.request(path)).await?;
        match answer.status {
            200 => match serde_json::from_slice(&answer.body) {
                Ok(page) => Ok(News::Changed(Arc::new(page))),
                Err(error) => Err(Failure::no_leader(&format!(
                    "the server's answer makes no sense: {error}"
                ))),
            },
            204 => Ok(News::Same),
            _ => Err(Failure::no_leader(&String::from_utf8_lossy(&answer.body))),
        }
    }
}

/// A page's news, for an agent that isn't a server.
pub(super) async fn parts(web: &Web, asked: &Asked) -> Response {
    let since = asked.query.get("since").unwrap_or_default();
    match news(&web.api, &web.streams, asked, since).await {
        News::Changed(page) => asked.query.json(&*page),
        News::Same => StatusCode::NO_CONTENT.into_response(),
        News::Ended => {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping").into_response()
        }
    }
}

/// Waits until a page isn't as `since` says any more, but not for long.
async fn news(api: &Api, streams: &Streams, asked: &Asked, since: &str) -> News {
    let Some(server) = &api.server else {
        return News::Ended;
    };
    let measured = asked.place.measured();
    let until = Instant::now() + if measured { MEASURE_EVERY } else { SILENCE };
    let (mut store, mut view) = (server.state.changes(), api.view.clone());
    let (mut members, mut standing) = (api.gossip.members(), server.standing.clone());
    loop {
        store.catch_up();
        view.catch_up();
        members.catch_up();
        standing.catch_up();
        let mut seen = look(api, server);
        let timeout = Instant::now() >= until;
        if seen.stamp(&asked.place) != since || (timeout && measured) {
            if !measured {
                return News::Changed(streams.page(&seen, asked));
            }
            seen.usage = measure::usage(api, &seen, &asked.place).await;
            return News::Changed(Arc::new(rendered(&seen, asked)));
        }
        if timeout {
            return News::Same;
        }
        let changed = tokio::select! {
            biased;
            changed = store.changed() => changed,
            changed = view.changed() => changed,
            changed = members.changed() => changed,
            changed = standing.changed() => changed,
            () = sleep_until(until) => Ok(()),
        };
        if changed.is_err() {
            return News::Ended;
        }
        sleep(GATHER).await;
    }
}

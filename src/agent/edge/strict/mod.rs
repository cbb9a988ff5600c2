//! Plain HTTP/1.1 requests, without hyper: one task for both sides, heads copied line by line.
//!
//! A connection begins here. At the first request that isn't plain it is hyper's, from the first
//! byte of that request on, and stays so; hence what is odd is dealt with in one place only, and
//! each request that is answered here is answered as hyper and `forward` would: `differential`
//! compares them.

mod answer;
pub(crate) mod differential;
mod framing;
mod request;
#[cfg(test)]
mod tests;
mod wire;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use hyper::StatusCode;
use hyper::body::Body as _;
use hyper::header::HeaderName;
use logic::routes::{Route, Target};
use ports::Stream;
use tokio::io::AsyncWriteExt;

pub(super) use self::framing::agreed_length;
pub(super) use self::wire::Wire;

use self::answer::{Answer, Manner};
use self::framing::Passage;
use self::request::{Read, Request, introduction, put_line};
use self::wire::{Broken, poll_read};
use super::access_log::Entry;
use super::client::{Late, Lost};
use super::forward::{Failure, Forwarder, Reply, STALE_MAX};
use super::pool::Lease;
use super::proxy_header::Unread;
use super::shelf::Kept as _;
use crate::http_listener::put_date;

/// Buffers that have grown larger aren't kept for the next request.
const KEPT_BYTES: usize = 16 * 1024;

/// One client connection.
struct Lane<'f> {
    forwarder: &'f Forwarder,
    /// No further request is to be taken.
    finishing: &'f Cell<bool>,
    stream: Box<dyn Stream>,
    /// What the client has sent after the request that is being answered.
    unread: Vec<u8>,
    /// That request.
    asked: Vec<u8>,
    /// Its headers, as far as they are passed on as they are.
    lines: Vec<u8>,
    /// What is to be sent next, to either side.
    out: Vec<u8>,
    /// What the upstream has sent, as far as it isn't in `out`.
    come: Vec<u8>,
    /// What upstreams are told about requests for a host: the last one's.
    introduced: (String, Vec<u8>),
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Next,
    /// The rest of it is hyper's.
    Other,
    Over,
}

/// Why there is no answer to a request.
enum Unanswered {
    Failed(Failure),
    /// The client has gone.
    Gone,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A client that closed its connection while it was being answered.
#[derive(Debug)]
struct Gone;

/// Serves plain requests until the connection ends; or returns it at one that isn't.
pub(super) async fn serve(
    forwarder: &Forwarder,
    finishing: &Cell<bool>,
    stream: Box<dyn Stream>,
) -> Option<Box<dyn Stream>> {
    if forwarder.sender.numbers() || forwarder.worker.shared.settings.hyper_only {
        return Some(stream);
    }
    let mut lane = Lane {
        forwarder,
        finishing,
        stream,
        unread: Vec::new(),
        asked: Vec::new(),
        lines: Vec::new(),
        out: Vec::new(),
        come: Vec::new(),
        introduced: (String::new(), Vec::new()),
    };
    loop {
        // However a connection breaks, there is nobody left to tell.
        match lane.next().await.unwrap_or(Then::Over) {
            Then::Next => lane.tidy(),
            Then::Other => return Some(Box::new(Unread::new(lane.unread, lane.stream))),
            Then::Over => return None,
        }
    }
}

impl Lane<'_> {
    /// Reads and answers one request.
    async fn next(&mut self) -> io::Result<Then> {
        loop {
            if !self.unread.is_empty() {
                let sender = &self.forwarder.sender;
                match request::read(&self.unread, sender, &mut self.lines) {
                    Read::Other => return Ok(Then::Other),
                    Read::Plain(request) if request.whole() <= self.unread.len() => {
                        return self.answer(&request).await;
                    }
                    // Its answer may not have to wait for its body.
                    Read::Plain(request) if !self.is_for_an_upstream(&request) => {
                        return Ok(Then::Other);
                    }
                    Read::Plain(_) => {
                        let forwarder = self.forwarder;
                        forwarder.client.progressed(forwarder.worker.now());
                    }
                    Read::Partial => {}
                }
            }
            let Self {
                stream,
                unread,
                finishing,
                ..
            } = self;
            let read = poll_fn(|context| {
                // What has begun to come is waited for.
                if finishing.get() && unread.is_empty() {
                    return Poll::Ready(Ok(0));
                }
                poll_read(stream, context, unread)
            });
            if read.await? == 0 {
                self.stream.shutdown().await?;
                return Ok(Then::Over);
            }
        }
    }

    fn is_for_an_upstream(&self, request: &Request) -> bool {
        let table = self.forwarder.worker.table();
        let route = table.find(request.host(&self.unread), request.path(&self.unread));
        route.is_some_and(Route::is_plain)
    }

    /// Takes a request out of what the client has sent.
    fn take(&mut self, request: &Request) {
        self.asked.clear();
        if request.whole() == self.unread.len() {
            std::mem::swap(&mut self.asked, &mut self.unread);
        } else {
            self.asked.extend(self.unread.drain(..request.whole()));
        }
    }

    fn tidy(&mut self) {
        for buffer in [
            &mut self.unread,
            &mut self.asked,
            &mut self.out,
            &mut self.come,
        ] {
            if buffer.capacity() > KEPT_BYTES && buffer.is_empty() {
                *buffer = Vec::new();
            }
        }
    }

    async fn answer(&mut self, request: &Request) -> io::Result<Then> {
        let (forwarder, worker) = (self.forwarder, &self.forwarder.worker);
        let table = worker.table();
        let route = table.find(request.host(&self.unread), request.path(&self.unread));
        let settings = &worker.shared.settings;
        let is_ours = route.map_or(settings.no_route_is_plain(), Route::is_plain);
        if !is_ours {
            return Ok(Then::Other);
        }
        self.take(request);
        forwarder.client.requested(worker.now());
        worker.shared.counters.requests.add(worker.number);
        let mut answering = Answering::new(forwarder, self.entry(request));
        let answered = match route {
            None => Err(forwarder.no_route(&table, false)),
            Some(route) => self.ask(request, route).await,
        };
        forwarder.client.streams(worker.now());
        match answered {
            Ok(Some((answer, lease))) => {
                answering.begin(answer.status);
                self.hand_over(answer, lease, &mut answering).await?;
            }
            Ok(None) => return Ok(Then::Over),
            Err(reply) => {
                answering.begin(reply.status());
                let length = self.put_reply(request, reply);
                self.write().await?;
                answering.bytes += length;
            }
        }
        drop(answering);
        self.asked.clear();
        if request.closes || self.finishing.get() {
            self.stream.shutdown().await?;
            return Ok(Then::Over);
        }
        Ok(Then::Next)
    }

    fn entry(&self, request: &Request) -> Option<Entry> {
        let format = self.forwarder.worker.shared.settings.access_log?;
        let (method, target) = (request.method(&self.asked), request.target(&self.asked));
        let asked = format!("{method} {target} HTTP/1.1");
        let header = |name: &HeaderName| find_line(&self.lines, name.as_str());
        Some(Entry::of(&asked, self.forwarder.from, format, header))
    }

    /// Gets an answer; our own if there is none. None: nobody waits for one any more.
    async fn ask(
        &mut self,
        request: &Request,
        route: &Route,
    ) -> Result<Option<(Answer, Lease<Wire>)>, Reply> {
        let forwarder = self.forwarder;
        let Some(target) = forwarder.worker.choose(route, false) else {
            return Err(forwarder.calls_only());
        };
        let exchanged = {
            let exchange = pin!(self.exchange(request, route, target));
            let exchanged = forwarder.client.in_time(exchange).await;
            exchanged.unwrap_or_else(|Late| Err(Failure::Late.into()))
        };
        match exchanged {
            Ok(answered) => Ok(Some(answered)),
            Err(Unanswered::Gone) => Ok(None),
            Err(Unanswered::Failed(failure)) => {
                Err(forwarder.fail(&failure, request.host(&self.asked), target))
            }
        }
    }

    /// Gets an answer from the target, or from another one of the route if that can do no harm.
    async fn exchange(
        &mut self,
        request: &Request,
        route: &Route,
        first: &Target,
    ) -> Result<(Answer, Lease<Wire>), Unanswered> {
        let forwarder = self.forwarder;
        let (worker, client) = (&forwarder.worker, &forwarder.client);
        let repeatable = request.is_repeatable(&self.asked);
        let head_only = request.wants_head(&self.asked);
        let (closes, finishing) = (request.closes, self.finishing);
        let manner = || Manner {
            head_only,
            closes: closes || finishing.get(),
            strict_transport: forwarder.sender.strict_transport(),
            clock: worker.shared.clock.as_ref(),
        };
        let mut stale = 0;
        let mut target = first;
        loop {
            let idle_too = stale < STALE_MAX;
            let (mut lease, chosen): (Lease<Wire>, _) =
                forwarder.connect(route, target, idle_too).await?;
            target = chosen;
            self.put_request(request, target);
            let Self {
                stream,
                unread,
                out,
                come,
                ..
            } = self;
            let asked = {
                let asking = lease.way.ask(out, come, &manner);
                let asking = pin!(while_present(stream, unread, asking));
                client.unless_lost(&lease.address, asking).await
            };
            let broken = match asked {
                Ok(Ok(Ok(answer))) => return Ok((answer, lease)),
                Ok(Ok(Err(broken))) => broken,
                Ok(Err(Gone)) => return Err(Unanswered::Gone),
                Err(Lost) => {
                    let other = worker.instead_of(route, target);
                    target = other.filter(|_| repeatable).ok_or(Failure::Lost)?;
                    worker.retried();
                    continue;
                }
            };
            // Only an idle connection can have been closed before the request got there.
            let Broken { unsent, why } = broken;
            // TLS takes a request before it sends it.
            let unsent = unsent && lease.tls.is_none();
            if !lease.used || !(unsent || repeatable) {
                return Err(Failure::Broken(why).into());
            }
            worker.retried();
            stale += 1;
        }
    }

    fn put_request(&mut self, request: &Request, target: &Target) {
        let host = request.host(&self.asked);
        let (introduced, introduction_of) = &mut self.introduced;
        if introduced != host {
            *introduction_of = introduction(&self.forwarder.sender, host);
            host.clone_into(introduced);
        }
        let (asked, lines) = (&self.asked, &self.lines);
        request.write(asked, target, lines, introduction_of, &mut self.out);
    }

    /// Writes an answer of our own; how long its body is.
    fn put_reply(&mut self, request: &Request, mut reply: Reply) -> u64 {
        let forwarder = self.forwarder;
        let length = reply.body().size_hint().exact().unwrap_or_default();
        let text = reply.body_mut().own_text();
        let headers = reply.headers_mut();
        forwarder.sender.seal(headers);
        put_date(headers, forwarder.worker.shared.clock.as_ref());
        let status = reply.status();
        let reason = status.canonical_reason().unwrap_or_default();
        let out = &mut self.out;
        out.clear();
        out.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
        for (name, value) in reply.headers() {
            put_line(out, name.as_str(), value.as_bytes());
        }
        let head_only = request.wants_head(&self.asked);
        if length > 0 || !head_only {
            put_line(out, "content-length", length.to_string().as_bytes());
        }
        if request.closes || self.finishing.get() {
            put_line(out, "connection", b"close");
        }
        out.extend_from_slice(b"\r\n");
        if head_only {
            return 0;
        }
        out.extend_from_slice(&text);
        length
    }

    /// Sends what is in `out` to the client.
    async fn write(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.stream.flush().await?;
        self.out.clear();
        Ok(())
    }

    /// Passes an answer on. Gives the upstream's connection back as soon as its last byte is in.
    async fn hand_over(
        &mut self,
        answer: Answer,
        lease: Lease<Wire>,
        answering: &mut Answering<'_>,
    ) -> io::Result<()> {
        let mut passage = Passage::new(answer.body);
        let mut lease = Some(lease);
        let worker = &self.forwarder.worker;
        loop {
            if let Some(length) = passage.push_whole(&mut self.come, &mut self.out) {
                answering.bytes += length as u64;
            } else if let Ok((taken, own)) = passage.push(&self.come, &mut self.out) {
                answering.bytes += own as u64;
                self.come.drain(..taken);
            } else {
                // What was well-formed is told; that it breaks off tells the rest.
                self.write().await?;
                return Err(io::ErrorKind::InvalidData.into());
            }
            if passage.is_over()
                && let Some(mut lease) = lease.take()
            {
                if answer.lasts && self.come.is_empty() {
                    worker.pool.give_back_wire(lease);
                } else {
                    lease.way.end();
                }
                // Whoever doesn't take the rest is as idle as one who asks nothing.
                self.forwarder.client.answered(worker.now());
            }
            self.write().await?;
            let Some(lease) = &mut lease else {
                self.come.clear();
                return Ok(());
            };
            let Self {
                stream,
                unread,
                come,
                out,
                ..
            } = self;
            let more = while_present(stream, unread, lease.way.read_body(come));
            let more = more
                .await
                .map_err(|Gone| io::ErrorKind::ConnectionAborted)?;
            if more? == 0 {
                let closed = passage.close(out);
                closed.map_err(|_| io::ErrorKind::UnexpectedEof)?;
            }
        }
    }
}

/// A request that is being answered. When that is over, however it ends, its connection waits for
/// the next one.
struct Answering<'f> {
    forwarder: &'f Forwarder,
    entry: Option<Entry>,
    status: Option<StatusCode>,
    /// How much of the body has gone to the client.
    bytes: u64,
}

impl<'f> Answering<'f> {
    fn new(forwarder: &'f Forwarder, entry: Option<Entry>) -> Self {
        Self {
            forwarder,
            entry,
            status: None,
            bytes: 0,
        }
    }

    fn begin(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let worker = &self.forwarder.worker;
        self.forwarder.client.answered(worker.now());
        if let (Some(entry), Some(status)) = (&self.entry, self.status) {
            entry.log(status, self.bytes, worker.shared.clock.now());
        }
    }
}

/// Runs something for as long as the client stays. What it sends meanwhile is kept.
async fn while_present<T>(
    stream: &mut Box<dyn Stream>,
    unread: &mut Vec<u8>,
    work: impl Future<Output = T>,
) -> Result<T, Gone> {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Poll::Ready(done) = work.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        if !unread.is_empty() {
            return Poll::Pending;
        }
        match poll_read(stream, context, unread) {
            Poll::Ready(Ok(0) | Err(_)) => Poll::Ready(Err(Gone)),
            Poll::Ready(Ok(_)) | Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The value of the first of some header lines that has this name.
fn find_line<'l>(lines: &'l [u8], name: &str) -> &'l [u8] {
    let mut lines = lines.split(|byte| *byte == b'\n');
    let found = lines.find_map(|line| {
        let (known, value) = line.split_at_checked(name.len())?;
        let named = known.eq_ignore_ascii_case(name.as_bytes());
        value.strip_prefix(b": ").filter(|_| named)
    });
    found.unwrap_or_default().trim_ascii()
}

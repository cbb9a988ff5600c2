//! One request: find its route, ask an upstream, hand the answer back.
//!
//! hyper reads both sides strictly and frames every message anew, so nothing ambiguous gets
//! through: a request with both `Content-Length` and `Transfer-Encoding` reaches the upstream
//! with the latter alone and its connection is closed, as RFC 9112 section 6.3 allows.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use hyper::body::{Body, Incoming};
use hyper::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, TRANSFER_ENCODING,
};
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use logic::routes::{Route, Table, Target};

use super::access_log::Entry;
use super::asked::Asked;
use super::body::{ReplyBody, RequestBody};
use super::client::{Client, Late, Lost};
use super::headers::{self, X_FORWARDED_PROTO};
use super::pool::{Lease, Unreachable, Way};
use super::strict::agreed_length;
use super::upgrade;
use super::worker::Worker;
use crate::http_listener::put_date;

const TRACE: HeaderName = HeaderName::from_static("trace");

/// gRPC's own statuses.
const GRPC_NOT_FOUND: &str = "5";
const GRPC_UNAVAILABLE: &str = "14";

/// How many connections an upstream may have closed under us before a fresh one is made.
pub(super) const STALE_MAX: usize = 2;

pub(super) type Reply = Response<ReplyBody>;

/// Why there is no answer from an upstream.
#[derive(Debug)]
pub(super) enum Failure {
    NoConnection(Unreachable),
    Broken(String),
    Lost,
    Late,
}

/// Everything that the requests of one connection share.
pub(super) struct Forwarder {
    pub(super) worker: Rc<Worker>,
    pub(super) client: Rc<Client>,
    pub(super) from: SocketAddr,
    pub(super) sender: Rc<headers::Sender>,
}

impl Forwarder {
    pub(super) async fn serve(&self, request: Request<Incoming>) -> Result<Reply, Infallible> {
        self.client.requested(self.worker.now());
        self.worker.shared.counters.requests.add(self.worker.number);
        let format = self.worker.shared.settings.access_log;
        let entry = format.map(|format| Entry::new(&request, self.from, format));
        let mut reply = self.answer(request).await;
        if let Some(entry) = entry {
            let status = reply.status();
            reply.body_mut().log_at_end(entry, status);
        }
        self.sender.seal(reply.headers_mut());
        put_date(reply.headers_mut(), self.worker.shared.clock.as_ref());
        self.client.streams(self.worker.now());
        Ok(reply)
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Reply {
        let protocol = headers::upgrade(request.headers());
        let upgraded = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
        let (head, body) = request.into_parts();
        let mut asked = match Asked::read(head, protocol) {
            Ok(asked) => asked,
            Err(reason) => return self.say(StatusCode::BAD_REQUEST, reason),
        };
        asked.number(&self.sender, || self.worker.draw());
        let table = self.worker.table();
        let trace = Trace::of(asked.headers());
        trace.tell_all(|| table.trace(asked.host(), asked.path()));
        let Some(mut route) = table.find(asked.host(), asked.path()) else {
            return self.no_route(&table, asked.is_call());
        };
        let mut others = None;
        loop {
            let Some(target) = self.worker.choose(route, asked.is_call()) else {
                return self.calls_only();
            };
            let admits = || {
                let forwarded_for = headers::forwarded_for(asked.headers());
                target.admits(self.from.ip(), forwarded_for)
            };
            if target.access.is_some() && !admits() {
                tracing::info!(from = %self.from, service = target.service, "access denied");
                return self.say(StatusCode::FORBIDDEN, "access denied");
            }
            trace.tell_all(|| {
                let (service, to) = (&target.service, target.destination());
                vec![format!("Routing to service {service} on {to}")]
            });
            if target.redirect.is_none() {
                return self.forward(&asked, body, upgraded, route, target).await;
            }
            if let Some(reply) = self.redirect(target, &asked) {
                return reply;
            }
            // It would lead to where the request came from: the route after it is meant.
            let others =
                others.get_or_insert_with(|| table.matching(asked.host(), asked.path()).skip(1));
            match others.next() {
                Some(other) => route = other,
                None => return self.no_route(&table, asked.is_call()),
            }
        }
    }

    async fn forward(
        &self,
        asked: &Asked,
        body: Incoming,
        upgraded: Option<OnUpgrade>,
        route: &Route,
        target: &Target,
    ) -> Reply {
        let body = if body.is_end_stream() {
            RequestBody::Empty
        } else {
            RequestBody::Client {
                body,
                client: self.client.clone(),
                worker: self.worker.clone(),
            }
        };
        let exchange = pin!(self.exchange(asked, body, route, target));
        let exchanged = self.client.in_time(exchange).await;
        match exchanged.unwrap_or_else(|Late| Err(Failure::Late)) {
            Ok((response, lease)) => self.hand_back(response, lease, upgraded),
            Err(failure) => self.fail(&failure, asked.host(), target),
        }
    }

    /// Gets an answer from the target, or from another one of the route if that can do no harm.
    async fn exchange(
        &self,
        asked: &Asked,
        mut body: RequestBody,
        route: &Route,
        first: &Target,
    ) -> Result<(Response<Incoming>, Lease), Failure> {
        let repeatable = body.is_empty() && asked.is_idempotent();
        let mut stale = 0;
        let mut target = first;
        loop {
            let (mut lease, chosen): (Lease, _) =
                self.connect(route, target, stale < STALE_MAX).await?;
            target = chosen;
            let request = asked.request_to(target, body, &self.sender);
            let answer = pin!(lease.way.send(request));
            let mut error = match self.client.unless_lost(&lease.address, answer).await {
                Ok(Ok(response)) => return Ok((response, lease)),
                Ok(Err(error)) => error,
                Err(Lost) => {
                    let other = self.worker.instead_of(route, target);
                    target = other.filter(|_| repeatable).ok_or(Failure::Lost)?;
                    body = RequestBody::Empty;
                    self.worker.retried();
                    continue;
                }
            };
            // Only an idle connection can have been closed before the request got there.
            let used = lease.used;
            drop(lease);
            body = match error.take_message() {
                Some(unsent) if used => unsent.into_body(),
                None if used && repeatable => RequestBody::Empty,
                Some(_) | None => return Err(Failure::Broken(error.into_error().to_string())),
            };
            self.worker.retried();
            stale += 1;
        }
    }

    /// A connection to the target, or to another one if it can't be reached.
    pub(super) async fn connect<'t, W: Way>(
        &self,
        route: &'t Route,
        mut target: &'t Target,
        idle_too: bool,
    ) -> Result<(Lease<W>, &'t Target), Failure> {
        let worker = &self.worker;
        // Each is tried once, even if the first may be tried again by the time the last failed.
        let mut left = route.targets.len();
        loop {
            left = left.saturating_sub(1);
            if idle_too && let Some(lease) = W::take(&worker.pool, target) {
                return Ok((lease, target));
            }
            // Seldom needed, and large: it isn't to be a part of each request's future.
            match Box::pin(W::connect(&worker.pool, target)).await {
                Ok(lease) => return Ok((lease, target)),
                Err(error) => {
                    let other = worker.instead_of(route, target).filter(|_| left > 0);
                    let Some(other) = other else {
                        return Err(Failure::NoConnection(error));
                    };
                    tracing::debug!(%error, instead = other.address, "can't connect to an upstream");
                    worker.retried();
                    target = other;
                }
            }
        }
    }

    fn hand_back(
        &self,
        mut response: Response<Incoming>,
        lease: Lease,
        upgraded: Option<OnUpgrade>,
    ) -> Reply {
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = headers::upgrade(response.headers()).filter(|_| switches);
        settle_length(response.headers_mut());
        headers::strip_hop_by_hop(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        let (client, worker) = (self.client.clone(), self.worker.clone());
        if !switches {
            return response.map(|body| ReplyBody::upstream(body, lease, client, worker));
        }
        let (Some(protocol), Some(upgraded)) = (protocol, upgraded) else {
            return self.say(
                StatusCode::BAD_GATEWAY,
                "the upstream switched to a protocol that wasn't asked for",
            );
        };
        headers::ask_upgrade(response.headers_mut(), protocol);
        upgrade::join(&self.worker, upgraded, hyper::upgrade::on(&mut response));
        response.map(|_| ReplyBody::own(String::new(), client, worker))
    }

    /// None if the request has been redirected already.
    fn redirect(&self, target: &Target, asked: &Asked) -> Option<Reply> {
        let (path, query) = (asked.path(), asked.query());
        // A proxy before us may have taken TLS off.
        let scheme = asked.headers().get(X_FORWARDED_PROTO);
        let scheme = scheme.and_then(|scheme| scheme.to_str().ok());
        let scheme = scheme.unwrap_or(self.sender.scheme());
        let (status, url) = target.redirect_for(scheme, asked.host(), path, query)?;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::FOUND);
        let location = HeaderValue::from_str(&url).ok()?;
        let mut reply = self.say(status, "");
        reply.headers_mut().insert(LOCATION, location);
        Some(reply)
    }

    pub(super) fn no_route(&self, table: &Table, call: bool) -> Reply {
        let shared = &self.worker.shared;
        shared.counters.no_route.fetch_add(1, Ordering::Relaxed);
        if call {
            return self.refuse_call(GRPC_NOT_FOUND, "no route");
        }
        let status = StatusCode::from_u16(shared.settings.no_route_status);
        let status = status.unwrap_or(StatusCode::NOT_FOUND);
        let page = table.no_route_page();
        if page.is_empty() {
            return self.say(status, "");
        }
        let (client, worker) = (self.client.clone(), self.worker.clone());
        let mut reply = Response::new(ReplyBody::own(page.to_owned(), client, worker));
        *reply.status_mut() = status;
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        reply.headers_mut().insert(CONTENT_TYPE, html);
        reply
    }

    /// What a gRPC client understands: its own status, in the headers.
    fn refuse_call(&self, status: &'static str, message: &'static str) -> Reply {
        let mut reply = self.say(StatusCode::OK, "");
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static(status));
        headers.insert("grpc-message", HeaderValue::from_static(message));
        reply
    }

    pub(super) fn calls_only(&self) -> Reply {
        self.say(
            StatusCode::BAD_GATEWAY,
            "the upstreams of this route answer gRPC calls only, over HTTP/2",
        )
    }

    pub(super) fn fail(&self, failure: &Failure, host: &str, target: &Target) -> Reply {
        let counters = &self.worker.shared.counters;
        counters.upstream_errors.fetch_add(1, Ordering::Relaxed);
        let (status, said, why) = match failure {
            Failure::NoConnection(error) => (
                StatusCode::BAD_GATEWAY,
                match error {
                    Unreachable::Tls { failure, .. } if failure.untrusted => {
                        "the upstream's certificate isn't trusted"
                    }
                    Unreachable::Tls { .. } => "the upstream doesn't speak TLS as it should",
                    Unreachable::Network(_) | Unreachable::Http { .. } => {
                        "no upstream can be reached"
                    }
                },
                error.to_string(),
            ),
            Failure::Broken(error) => (
                StatusCode::BAD_GATEWAY,
                "the upstream closed the connection before it answered",
                error.clone(),
            ),
            Failure::Lost => (
                StatusCode::BAD_GATEWAY,
                "the upstream's machine can't be reached any more",
                String::new(),
            ),
            Failure::Late => (
                StatusCode::GATEWAY_TIMEOUT,
                "the upstream didn't answer in time",
                String::new(),
            ),
        };
        tracing::debug!(host, service = target.service, why, "{said}");
        if target.protocol.takes_calls() {
            return self.refuse_call(GRPC_UNAVAILABLE, said);
        }
        self.say(status, said)
    }

    fn say(&self, status: StatusCode, text: &str) -> Reply {
        let text = if text.is_empty() {
            String::new()
        } else {
            format!("{text}\n")
        };
        let described = !text.is_empty();
        let body = ReplyBody::own(text, self.client.clone(), self.worker.clone());
        let mut reply = Response::new(body);
        *reply.status_mut() = status;
        if described {
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            reply.headers_mut().insert(CONTENT_TYPE, plain);
        }
        reply
    }
}

/// Leaves an answer with one length at most: none if `Transfer-Encoding` says it (RFC 9112 section
/// 6.3), or if an answer that needs none says something else.
fn settle_length(headers: &mut HeaderMap) {
    let lengths = headers.get_all(CONTENT_LENGTH).into_iter();
    let length = agreed_length(lengths.map(HeaderValue::as_bytes));
    match length {
        Ok(Some(length)) if !headers.contains_key(TRANSFER_ENCODING) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(_) | Err(_) => drop(headers.remove(CONTENT_LENGTH)),
    }
}

/// A request that asks by its `Trace` header to have its way through the table logged.
struct Trace(Option<String>);

impl Trace {
    fn of(headers: &HeaderMap) -> Self {
        let id = headers.get(TRACE);
        let id = id.and_then(|id| id.to_str().ok());
        Self(id.filter(|id| !id.is_empty()).map(|id| {
            // As fabio cuts it.
            if id.len() > 16 { &id[..15] } else { id }.to_owned()
        }))
    }

    fn tell_all(&self, steps: impl FnOnce() -> Vec<String>) {
        if let Some(id) = &self.0
            && tracing::enabled!(tracing::Level::TRACE)
        {
            for step in steps() {
                tracing::trace!("{id} {step}");
            }
        }
    }
}

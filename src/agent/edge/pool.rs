//! One worker's connections to upstreams: kept for the next request, closed when idle too long.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use logic::routes::{Target, Tls};
use ports::errors::NetworkError;
use ports::{Network, Stream};
use thiserror::Error;
use tokio::time::error::Elapsed;

use super::body::RequestBody;
use super::http2::Local;
use super::joined::Joined;
use super::tls::{TlsClient, TlsFailure};

const IDLE_PER_UPSTREAM_MAX: usize = 256;
const IDLE_TICKS_MAX: u64 = 15;
/// How long an upstream that couldn't be connected to is only tried if there is no other.
const AVOIDED_TICKS: u64 = 2;

/// An upstream's answer, or the request that didn't get to it.
type Answered = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// Where requests go in: one after the other, or many at once.
pub(super) enum Sender {
    One(http1::SendRequest<RequestBody>),
    Many(http2::SendRequest<RequestBody>),
}

impl Sender {
    /// Sends at once; only the answer has to be waited for.
    pub(super) fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> impl Future<Output = Answered> + use<> {
        match self {
            Self::One(sender) => Either::Left(sender.try_send_request(request)),
            Self::Many(sender) => Either::Right(sender.try_send_request(request)),
        }
    }

    fn is_ready(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_ready(),
            Self::Many(sender) => sender.is_ready(),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Many(sender) => sender.is_closed(),
        }
    }
}

/// The connection to an upstream that takes many requests at once.
struct Many {
    tls: Option<Rc<Tls>>,
    sender: http2::SendRequest<RequestBody>,
}

/// Why there is no connection to an upstream.
#[derive(Clone, Debug, Error)]
pub(super) enum Unreachable {
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("{address}: TLS: {}", failure.reason)]
    Tls {
        address: String,
        failure: TlsFailure,
    },
    #[error("{address}: {reason}")]
    Http { address: String, reason: String },
}

/// A connection in use, and where it goes back to.
pub(super) struct Lease {
    pub(super) address: Rc<str>,
    tls: Option<Rc<Tls>>,
    pub(super) sender: Sender,
    /// Whether it has carried a request before; then the upstream may just be closing it.
    pub(super) used: bool,
}

struct Idle {
    tls: Option<Rc<Tls>>,
    sender: Sender,
    since: u64,
}

pub(super) struct Pool {
    network: Arc<dyn Network>,
    tls: Arc<TlsClient>,
    idle: RefCell<BTreeMap<Rc<str>, VecDeque<Idle>>>,
    many: RefCell<BTreeMap<Rc<str>, Many>>,
    connect_within: Duration,
    avoided: RefCell<BTreeMap<String, u64>>,
    now: Cell<u64>,
}

impl Pool {
    pub(super) fn new(
        network: Arc<dyn Network>,
        tls: Arc<TlsClient>,
        connect_within: Duration,
    ) -> Self {
        Self {
            many: RefCell::new(BTreeMap::new()),
            connect_within,
            network,
            tls,
            idle: RefCell::new(BTreeMap::new()),
            avoided: RefCell::new(BTreeMap::new()),
            now: Cell::new(0),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    /// An idle connection; the one used last, so that others can age.
    pub(super) fn take(&self, target: &Target) -> Option<Lease> {
        if target.protocol.takes_calls() {
            return self.take_many(target);
        }
        let mut idle = self.idle.borrow_mut();
        let (address, _) = idle.get_key_value(target.address.as_str())?;
        let address = address.clone();
        let connections = idle.get_mut(&address)?;
        let mut at = connections.len();
        while at > 0 {
            at -= 1;
            let Idle { tls, sender, .. } = &connections[at];
            if sender.is_ready() && tls.as_deref() == target.tls.as_ref() {
                let Idle { tls, sender, .. } = connections.remove(at)?;
                return Some(Lease {
                    address,
                    tls,
                    sender,
                    used: true,
                });
            }
            // Not ready but open: a request's body is still going out, after an early answer.
            if sender.is_closed() {
                connections.remove(at);
            }
        }
        None
    }

    fn take_many(&self, target: &Target) -> Option<Lease> {
        let many = self.many.borrow();
        let (address, Many { tls, sender }) = many.get_key_value(target.address.as_str())?;
        if sender.is_closed() || tls.as_deref() != target.tls.as_ref() {
            return None;
        }
        Some(Lease {
            address: address.clone(),
            tls: tls.clone(),
            sender: Sender::Many(sender.clone()),
            used: true,
        })
    }

    /// A connection for requests.
    pub(super) async fn connect(&self, target: &Target) -> Result<Lease, Unreachable> {
        let address = target.address.as_str();
        let many = target.protocol.takes_calls();
        let connected = tokio::time::timeout(self.connect_within, async {
            let mut stream = self.network.connect(address.to_owned()).await?;
            if let Some(tls) = &target.tls {
                let begun = self.tls.begin(stream, tls, many).await;
                stream = begun.map_err(|failure| Unreachable::Tls {
                    address: address.to_owned(),
                    failure,
                })?;
            }
            let begun = if many {
                begin_many(stream).await.map(Sender::Many)
            } else {
                begin_one(stream).await.map(Sender::One)
            };
            begun.map_err(|error| Unreachable::Http {
                address: address.to_owned(),
                reason: error.to_string(),
            })
        });
        let sender = self.or_avoid(address, flat(address, connected.await))?;
        let (address, tls) = (Rc::from(address), target.tls.clone().map(Rc::new));
        if let Sender::Many(sender) = &sender {
            let known = Many {
                tls: tls.clone(),
                sender: sender.clone(),
            };
            self.many.borrow_mut().insert(Rc::clone(&address), known);
        }
        Ok(Lease {
            address,
            tls,
            sender,
            used: false,
        })
    }

    /// A connection that is nobody else's.
    pub(super) async fn reach(&self, address: &str) -> Result<Box<dyn Stream>, Unreachable> {
        let connected = tokio::time::timeout(self.connect_within, async {
            Ok(self.network.connect(address.to_owned()).await?)
        });
        self.or_avoid(address, flat(address, connected.await))
    }

    /// An upstream that can't be reached is avoided for a while.
    fn or_avoid<T>(
        &self,
        address: &str,
        reached: Result<T, Unreachable>,
    ) -> Result<T, Unreachable> {
        if let Err(error) = &reached {
            let until = self.now.get() + AVOIDED_TICKS;
            let mut avoided = self.avoided.borrow_mut();
            let known = avoided.insert(address.to_owned(), until).is_some();
            // Told once a while: the configuration is wrong, and stays so until someone mends it.
            if !known && matches!(error, Unreachable::Tls { .. }) {
                tracing::warn!(%error, "an https upstream can't be used");
            }
        }
        reached
    }

    pub(super) fn give_back(&self, lease: Lease) {
        if lease.sender.is_closed() || matches!(lease.sender, Sender::Many(_)) {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(lease.address).or_default();
        if connections.len() < IDLE_PER_UPSTREAM_MAX {
            connections.push_back(Idle {
                tls: lease.tls,
                sender: lease.sender,
                since: self.now.get(),
            });
        }
    }

    /// Whether connecting to an upstream has just failed.
    pub(super) fn avoids(&self, address: &str) -> bool {
        let avoided = self.avoided.borrow();
        !avoided.is_empty() && avoided.contains_key(address)
    }

    /// A second has passed: closes what has been idle for too long.
    pub(super) fn tick(&self) {
        let now = self.now.get() + 1;
        self.now.set(now);
        self.avoided.borrow_mut().retain(|_, until| *until > now);
        self.many
            .borrow_mut()
            .retain(|_, many| !many.sender.is_closed());
        self.idle.borrow_mut().retain(|_, connections| {
            connections
                .retain(|idle| now - idle.since <= IDLE_TICKS_MAX && !idle.sender.is_closed());
            !connections.is_empty()
        });
    }

    /// Closes the idle connections of an upstream that is lost.
    pub(super) fn forget(&self, address: &str) {
        self.idle.borrow_mut().remove(address);
        self.many.borrow_mut().remove(address);
    }

    pub(super) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
        self.many.borrow_mut().clear();
    }
}

async fn begin_one(
    stream: Box<dyn Stream>,
) -> Result<http1::SendRequest<RequestBody>, hyper::Error> {
    let (sender, connection) = http1::handshake(Joined::new(stream)).await?;
    tokio::task::spawn_local(async move {
        // How it ended, the request in flight is told.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}

async fn begin_many(
    stream: Box<dyn Stream>,
) -> Result<http2::SendRequest<RequestBody>, hyper::Error> {
    let (sender, connection) = http2::handshake(Local, TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        // How it ended, the requests in flight are told.
        let _ = connection.await;
    });
    Ok(sender)
}

fn flat<T>(
    address: &str,
    connected: Result<Result<T, Unreachable>, Elapsed>,
) -> Result<T, Unreachable> {
    connected.unwrap_or_else(|_| {
        let address = address.to_owned();
        Err(NetworkError::TimedOut { address }.into())
    })
}

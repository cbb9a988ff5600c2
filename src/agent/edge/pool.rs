//! One worker's connections to upstreams: kept for the next request, closed when idle too long.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
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
use super::shelf::{Fitness, Kept, Shelf};
use super::strict::Wire;
use super::tls::{TlsClient, TlsFailure};

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

    fn is_closed(&self) -> bool {
        match self {
            Self::One(sender) => sender.is_closed(),
            Self::Many(sender) => sender.is_closed(),
        }
    }
}

impl Kept for Sender {
    fn fitness(&mut self) -> Fitness {
        let ready = match self {
            Self::One(sender) => sender.is_ready(),
            Self::Many(sender) => sender.is_ready(),
        };
        if ready {
            Fitness::Ready
        } else if self.is_closed() {
            Fitness::Closed
        } else {
            // A request's body is still going out, after an early answer.
            Fitness::Busy
        }
    }
}

/// A connection to an upstream that can be leased.
pub(super) trait Way: Sized {
    /// An idle one.
    fn take(pool: &Pool, target: &Target) -> Option<Lease<Self>>;

    /// A new one.
    fn connect(
        pool: &Pool,
        target: &Target,
    ) -> impl Future<Output = Result<Lease<Self>, Unreachable>>;
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
pub(super) struct Lease<W = Sender> {
    pub(super) address: Rc<str>,
    pub(super) tls: Option<Rc<Tls>>,
    pub(super) way: W,
    /// Whether it has carried a request before; then the upstream may just be closing it.
    pub(super) used: bool,
}

pub(super) struct Pool {
    network: Arc<dyn Network>,
    tls: Arc<TlsClient>,
    idle: Shelf<Sender>,
    wires: Shelf<Wire>,
    many: RefCell<BTreeMap<Rc<str>, Many>>,
    connect_within: Duration,
    avoided: RefCell<BTreeMap<String, u64>>,
    now: Cell<u64>,
}

impl Way for Sender {
    fn take(pool: &Pool, target: &Target) -> Option<Lease> {
        if target.protocol.takes_calls() {
            return pool.take_many(target);
        }
        pool.idle.take(target)
    }

    async fn connect(pool: &Pool, target: &Target) -> Result<Lease, Unreachable> {
        let many = target.protocol.takes_calls();
        let begin = async |stream| {
            let begun = if many {
                begin_many(stream).await.map(Self::Many)
            } else {
                begin_one(stream).await.map(Self::One)
            };
            begun.map_err(|error| Unreachable::Http {
                address: target.address.clone(),
                reason: error.to_string(),
            })
        };
        let lease = pool.connect(target, begin).await?;
        if let Self::Many(sender) = &lease.way {
            let known = Many {
                tls: lease.tls.clone(),
                sender: sender.clone(),
            };
            let address = Rc::clone(&lease.address);
            pool.many.borrow_mut().insert(address, known);
        }
        Ok(lease)
    }
}

impl Way for Wire {
    fn take(pool: &Pool, target: &Target) -> Option<Lease<Self>> {
        pool.wires.take(target)
    }

    async fn connect(pool: &Pool, target: &Target) -> Result<Lease<Self>, Unreachable> {
        pool.connect(target, async |stream| Ok(Self::new(stream)))
            .await
    }
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
            idle: Shelf::new(),
            wires: Shelf::new(),
            avoided: RefCell::new(BTreeMap::new()),
            now: Cell::new(0),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.now.get()
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
            way: Sender::Many(sender.clone()),
            used: true,
        })
    }

    /// A connection for requests, begun as it wants to be.
    async fn connect<W>(
        &self,
        target: &Target,
        begin: impl AsyncFnOnce(Box<dyn Stream>) -> Result<W, Unreachable>,
    ) -> Result<Lease<W>, Unreachable> {
        let address = target.address.as_str();
        let many = target.protocol.takes_calls();
        let connected = tokio::time::timeout(self.connect_within, async {
            let mut stream = self.network.connect(address.to_owned()).await?;
            if let Some(tls) = &target.tls {
                let shaken = self.tls.begin(stream, tls, many).await;
                stream = shaken.map_err(|failure| Unreachable::Tls {
                    address: address.to_owned(),
                    failure,
                })?;
            }
            begin(stream).await
        });
        let way = self.or_avoid(address, flat(address, connected.await))?;
        Ok(Lease {
            address: Rc::from(address),
            tls: target.tls.clone().map(Rc::new),
            way,
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
        if !lease.way.is_closed() && !matches!(lease.way, Sender::Many(_)) {
            self.idle.put(lease, self.now.get());
        }
    }

    pub(super) fn give_back_wire(&self, lease: Lease<Wire>) {
        self.wires.put(lease, self.now.get());
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
        self.idle.tick(now);
        self.wires.tick(now);
    }

    /// Closes the idle connections of an upstream that is lost.
    pub(super) fn forget(&self, address: &str) {
        self.idle.forget(address);
        self.wires.forget(address);
        self.many.borrow_mut().remove(address);
    }

    pub(super) fn close_idle(&self) {
        self.idle.clear();
        self.wires.clear();
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

//! One worker's connections to upstreams: kept for the next request, closed when idle too long.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ports::Network;
use ports::errors::NetworkError;

use super::body::RequestBody;

/// Long enough for a lost first packet to be sent again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE_PER_UPSTREAM_MAX: usize = 256;
const IDLE_TICKS_MAX: u64 = 15;
/// How long an upstream that couldn't be connected to is only tried if there is no other.
const AVOIDED_TICKS: u64 = 2;

pub(super) type Sender = http1::SendRequest<RequestBody>;

/// A connection in use, and where it goes back to.
pub(super) struct Lease {
    pub(super) address: Rc<str>,
    pub(super) sender: Sender,
    /// Whether it has carried a request before; then the upstream may just be closing it.
    pub(super) used: bool,
}

struct Idle {
    sender: Sender,
    since: u64,
}

pub(super) struct Pool {
    network: Arc<dyn Network>,
    idle: RefCell<BTreeMap<Rc<str>, VecDeque<Idle>>>,
    avoided: RefCell<BTreeMap<String, u64>>,
    now: Cell<u64>,
}

impl Pool {
    pub(super) fn new(network: Arc<dyn Network>) -> Self {
        Self {
            network,
            idle: RefCell::new(BTreeMap::new()),
            avoided: RefCell::new(BTreeMap::new()),
            now: Cell::new(0),
        }
    }

    pub(super) fn now(&self) -> u64 {
        self.now.get()
    }

    /// An idle connection; the one used last, so that others can age.
    pub(super) fn take(&self, address: &str) -> Option<Lease> {
        let mut idle = self.idle.borrow_mut();
        let (address, _) = idle.get_key_value(address)?;
        let address = address.clone();
        let connections = idle.get_mut(&address)?;
        let mut at = connections.len();
        while at > 0 {
            at -= 1;
            let sender = &connections[at].sender;
            if sender.is_ready() {
                let Idle { sender, .. } = connections.remove(at)?;
                return Some(Lease {
                    address,
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

    pub(super) async fn connect(&self, address: &str) -> Result<Lease, NetworkError> {
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, async {
            let stream = self.network.connect(address.to_owned()).await?;
            let handshake = http1::handshake(TokioIo::new(stream)).await;
            handshake.map_err(|error| NetworkError::Failed {
                address: address.to_owned(),
                reason: error.to_string(),
            })
        });
        let timed_out = |_| NetworkError::TimedOut {
            address: address.to_owned(),
        };
        match connected.await.map_err(timed_out).flatten() {
            Ok((sender, connection)) => {
                tokio::task::spawn_local(async move {
                    // How it ended, the request in flight is told.
                    let _ = connection.with_upgrades().await;
                });
                Ok(Lease {
                    address: Rc::from(address),
                    sender,
                    used: false,
                })
            }
            Err(error) => {
                let until = self.now.get() + AVOIDED_TICKS;
                self.avoided.borrow_mut().insert(address.to_owned(), until);
                Err(error)
            }
        }
    }

    pub(super) fn give_back(&self, lease: Lease) {
        if lease.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.borrow_mut();
        let connections = idle.entry(lease.address).or_default();
        if connections.len() < IDLE_PER_UPSTREAM_MAX {
            connections.push_back(Idle {
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
        self.idle.borrow_mut().retain(|_, connections| {
            connections
                .retain(|idle| now - idle.since <= IDLE_TICKS_MAX && !idle.sender.is_closed());
            !connections.is_empty()
        });
    }

    /// Closes the idle connections of an upstream that is lost.
    pub(super) fn forget(&self, address: &str) {
        self.idle.borrow_mut().remove(address);
    }

    pub(super) fn close_idle(&self) {
        self.idle.borrow_mut().clear();
    }
}

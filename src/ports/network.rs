//! Connections, listeners and datagrams.

use std::any::Any;
use std::net::{IpAddr, SocketAddr};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Asked;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    #[error("{address}: address already in use")]
    InUse { address: String },
    #[error("{address}: permission denied (ports below 1024 need root or CAP_NET_BIND_SERVICE)")]
    Denied { address: String },
    #[error("{address}: this host has no such address")]
    NoSuchAddress { address: String },
    #[error("dial tcp {address}: connect: connection refused")]
    Refused { address: String },
    #[error("dial tcp {address}: i/o timeout")]
    TimedOut { address: String },
    #[error("{address}: {reason}")]
    Failed { address: String, reason: String },
}

/// A connection: bytes both ways. Dropping it closes it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Any {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Any> Stream for T {}

pub trait Network: Send + Sync {
    /// Listens on a TCP port.
    fn listen(&self, address: SocketAddr) -> Asked<'_, Result<Box<dyn Listener>, Error>>;

    /// Listens on a TCP port that several workers share; the world spreads connections over them.
    fn listen_shared(&self, address: SocketAddr) -> Asked<'_, Result<Box<dyn Listener>, Error>>;

    /// Connects to `host:port` (an address or a name). The caller sets the deadline.
    fn connect(&self, address: String) -> Asked<'_, Result<Box<dyn Stream>, Error>>;

    /// Receives and sends UDP datagrams on a port.
    fn datagrams(&self, address: SocketAddr) -> Asked<'_, Result<Box<dyn Datagrams>, Error>>;

    /// Passes everything on between two connections, both ways, until both directions have ended
    /// or one has failed; what one side closes is closed on the other. None where the network
    /// knows no better way than reading and writing.
    fn pass<'a>(
        &'a self,
        one: &'a mut dyn Stream,
        other: &'a mut dyn Stream,
    ) -> Option<Asked<'a, ()>> {
        let _ = (one, other);
        None
    }

    /// The addresses of a host, given by name or address; at least one. A network without names
    /// knows addresses only.
    fn resolve(&self, host: String) -> Asked<'_, Result<Vec<IpAddr>, Error>> {
        Box::pin(async move {
            match host.parse() {
                Ok(address) => Ok(vec![address]),
                Err(_) => Err(Error::Failed {
                    reason: format!("lookup {host}: no such host"),
                    address: host,
                }),
            }
        })
    }
}

/// A connection and who it is from.
pub type Accepted = (Box<dyn Stream>, SocketAddr);

pub trait Listener: Send {
    fn accept(&mut self) -> Asked<'_, Result<Accepted, Error>>;

    fn local_addr(&self) -> SocketAddr;
}

pub trait Datagrams: Send + Sync {
    /// Waits for a datagram; returns its length and sender. What doesn't fit `buffer` is cut off.
    fn receive<'a>(&'a self, buffer: &'a mut [u8])
    -> Asked<'a, Result<(usize, SocketAddr), Error>>;

    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> Asked<'a, Result<(), Error>>;

    fn local_addr(&self) -> SocketAddr;
}

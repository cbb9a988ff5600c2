//! Sockets in turmoil's network.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error as IoError, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};

use ports::errors::NetworkError;
use ports::{Accepted, Asked, Datagrams, Listener, Network, Stream};
use turmoil::net::{TcpListener, TcpStream, UdpSocket};

use crate::world::lock;

/// Who listens on a machine.
#[derive(Default)]
pub(crate) struct NetworkState {
    tcp: BTreeMap<u16, usize>,
    shared: BTreeMap<u16, Weak<Socket>>,
}

impl NetworkState {
    pub(crate) fn listening(&self) -> BTreeSet<u16> {
        self.tcp.keys().copied().collect()
    }
}

/// A bound socket; the port counts as in use as long as it exists.
struct Socket {
    listener: tokio::sync::Mutex<TcpListener>,
    address: SocketAddr,
    state: Arc<Mutex<NetworkState>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        let port = self.address.port();
        if let Some(count) = state.tcp.get_mut(&port) {
            *count -= 1;
            if *count == 0 {
                state.tcp.remove(&port);
            }
        }
    }
}

pub(crate) struct SimNetwork {
    state: Arc<Mutex<NetworkState>>,
    host: String,
}

fn error(address: impl std::fmt::Display, error: &IoError) -> NetworkError {
    let address = address.to_string();
    match error.kind() {
        ErrorKind::AddrInUse => NetworkError::InUse { address },
        ErrorKind::AddrNotAvailable => NetworkError::NoSuchAddress { address },
        ErrorKind::ConnectionRefused => NetworkError::Refused { address },
        ErrorKind::NotFound => NetworkError::Failed {
            reason: format!("lookup {address}: no such host"),
            address,
        },
        _ => NetworkError::Failed {
            address,
            reason: error.to_string(),
        },
    }
}

impl SimNetwork {
    pub(crate) fn new(state: Arc<Mutex<NetworkState>>, host: &str) -> Self {
        Self {
            state,
            host: host.to_owned(),
        }
    }

    /// Turmoil's sockets listen everywhere or on loopback; a machine's only address is as good as
    /// everywhere, and all others are not its own.
    fn bindable(&self, address: SocketAddr) -> Result<SocketAddr, NetworkError> {
        let ip = address.ip();
        if ip.is_unspecified() || ip == turmoil::lookup(self.host.as_str()) {
            Ok((Ipv4Addr::UNSPECIFIED, address.port()).into())
        } else if ip == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            Ok(address)
        } else {
            Err(NetworkError::NoSuchAddress {
                address: address.to_string(),
            })
        }
    }

    async fn bind(&self, address: SocketAddr) -> Result<Arc<Socket>, NetworkError> {
        let bound = TcpListener::bind(self.bindable(address)?).await;
        let listener = bound.map_err(|cause| error(address, &cause))?;
        let port = listener.local_addr().map_or(address.port(), |at| at.port());
        *lock(&self.state).tcp.entry(port).or_default() += 1;
        Ok(Arc::new(Socket {
            listener: tokio::sync::Mutex::new(listener),
            address: SocketAddr::new(address.ip(), port),
            state: self.state.clone(),
        }))
    }
}

impl Network for SimNetwork {
    fn listen(&self, address: SocketAddr) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        Box::pin(async move {
            let socket = self.bind(address).await?;
            Ok(Box::new(SimListener { socket }) as Box<dyn Listener>)
        })
    }

    fn listen_shared(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        Box::pin(async move {
            let known = lock(&self.state).shared.get(&address.port()).cloned();
            let socket = match known.and_then(|socket| socket.upgrade()) {
                Some(socket) if socket.address == address => socket,
                Some(_) | None => self.bind(address).await?,
            };
            let port = socket.address.port();
            lock(&self.state)
                .shared
                .insert(port, Arc::downgrade(&socket));
            Ok(Box::new(SimListener { socket }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, address: String) -> Asked<'_, Result<Box<dyn Stream>, NetworkError>> {
        Box::pin(async move {
            let local = address.strip_prefix("localhost:");
            let target = local.map_or(address.clone(), |port| format!("127.0.0.1:{port}"));
            match TcpStream::connect(target).await {
                Ok(stream) => Ok(Box::new(stream) as Box<dyn Stream>),
                Err(cause) => Err(error(address, &cause)),
            }
        })
    }

    fn datagrams(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Datagrams>, NetworkError>> {
        Box::pin(async move {
            let bound = UdpSocket::bind(self.bindable(address)?).await;
            let socket = bound.map_err(|cause| error(address, &cause))?;
            let port = socket.local_addr().map_or(address.port(), |at| at.port());
            Ok(Box::new(SimDatagrams {
                socket,
                address: SocketAddr::new(address.ip(), port),
            }) as Box<dyn Datagrams>)
        })
    }

    fn resolve(&self, host: String) -> Asked<'_, Result<Vec<IpAddr>, NetworkError>> {
        Box::pin(async move {
            if host == "localhost" {
                return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
            }
            match turmoil::net::lookup_host((host.as_str(), 0)).await {
                Ok(found) => Ok(found.map(|address| address.ip()).collect()),
                Err(cause) => Err(error(host, &cause)),
            }
        })
    }
}

struct SimListener {
    socket: Arc<Socket>,
}

impl Listener for SimListener {
    /// Listeners that share a socket take turns in the order they asked.
    fn accept(&mut self) -> Asked<'_, Result<Accepted, NetworkError>> {
        Box::pin(async move {
            let listener = self.socket.listener.lock().await;
            match listener.accept().await {
                Ok((stream, from)) => Ok((Box::new(stream) as Box<dyn Stream>, from)),
                Err(cause) => Err(error(self.socket.address, &cause)),
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.socket.address
    }
}

struct SimDatagrams {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Datagrams for SimDatagrams {
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> Asked<'a, Result<(usize, SocketAddr), NetworkError>> {
        Box::pin(async move {
            self.socket
                .recv_from(buffer)
                .await
                .map_err(|cause| error(self.address, &cause))
        })
    }

    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> Asked<'a, Result<(), NetworkError>> {
        Box::pin(async move {
            match self.socket.send_to(bytes, to).await {
                Ok(_) => Ok(()),
                // Nobody tells a sender of datagrams that there is no such host.
                Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => Ok(()),
                Err(cause) => Err(error(to, &cause)),
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

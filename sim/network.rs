//! Sockets in turmoil's network, and how badly they work.
//!
//! Messages of different connections overtake each other, and so do datagrams: turmoil gives each
//! a latency of its own. On top of that a machine loses datagrams, delivers some late, and loses
//! answers of other agents after they have carried out what was asked, so that the asker repeats
//! itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error as IoError, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use ports::errors::NetworkError;
use ports::{Accepted, Asked, Datagrams, Listener, Network, Random, Stream};
use turmoil::net::{TcpListener, TcpStream, UdpSocket};

use crate::connection::{Connection, Cut, LostAnswers};
use crate::world::lock;

/// Where agents ask each other.
const RPC_PORT: u16 = 4647;

/// A late datagram comes up to so much later than others.
const LATE_MILLIS: u64 = 400;

/// How badly a machine's network works, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    /// Datagrams sent or received that are lost.
    pub lost_datagrams: u64,
    /// Datagrams sent that are overtaken by later ones.
    pub late_datagrams: u64,
    /// Requests to other agents that are carried out, but whose answer is lost.
    pub lost_answers: u64,
}

/// Who listens on a machine, and its connections.
#[derive(Default)]
pub(crate) struct NetworkState {
    tcp: BTreeMap<u16, usize>,
    shared: BTreeMap<u16, Weak<Socket>>,
    connections: Vec<(IpAddr, Weak<Cut>)>,
    pub(crate) quality: Quality,
}

impl NetworkState {
    pub(crate) fn listening(&self) -> BTreeSet<u16> {
        self.tcp.keys().copied().collect()
    }

    /// Resets every connection with a peer.
    pub(crate) fn sever(&mut self, peer: IpAddr) {
        for (_, cut) in self.connections.extract_if(.., |(other, _)| *other == peer) {
            if let Some(cut) = cut.upgrade() {
                cut.sever();
            }
        }
    }

    fn connected(&mut self, peer: IpAddr) -> Arc<Cut> {
        let cut = Arc::new(Cut::default());
        self.connections.retain(|(_, cut)| cut.strong_count() > 0);
        self.connections.push((peer, Arc::downgrade(&cut)));
        cut
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
    random: Random,
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
    pub(crate) fn new(state: Arc<Mutex<NetworkState>>, host: &str, random: Random) -> Self {
        Self {
            state,
            host: host.to_owned(),
            random,
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

    /// What was connected; answers of other agents may get lost on it.
    fn connection(&self, stream: TcpStream) -> Connection {
        let peer = stream.peer_addr().ok();
        let mut state = lock(&self.state);
        let permille = state.quality.lost_answers;
        let unreliable = permille > 0 && peer.is_some_and(|peer| peer.port() == RPC_PORT);
        let lost = unreliable.then(|| LostAnswers {
            random: self.random.clone(),
            permille,
        });
        let cut = peer.map_or_else(Arc::default, |peer| state.connected(peer.ip()));
        Connection::new(stream, cut, lost)
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
                Ok(stream) => Ok(Box::new(self.connection(stream)) as Box<dyn Stream>),
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
                socket: Arc::new(socket),
                address: SocketAddr::new(address.ip(), port),
                state: self.state.clone(),
                random: self.random.clone(),
            }) as Box<dyn Datagrams>)
        })
    }

    fn resolve(&self, host: String) -> Asked<'_, Result<Vec<IpAddr>, NetworkError>> {
        Box::pin(async move {
            if host == "localhost" {
                return Ok(vec![Ipv4Addr::LOCALHOST.into()]);
            }
            let found = turmoil::net::lookup_host((host.as_str(), 0)).await;
            let found = found.map(|found| found.map(|address| address.ip()).collect());
            found.map_err(|cause| error(&host, &cause))
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
                Ok((stream, from)) => {
                    let cut = lock(&self.socket.state).connected(from.ip());
                    let connection = Connection::new(stream, cut, None);
                    Ok((Box::new(connection) as Box<dyn Stream>, from))
                }
                Err(cause) => Err(error(self.socket.address, &cause)),
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.socket.address
    }
}

struct SimDatagrams {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    state: Arc<Mutex<NetworkState>>,
    random: Random,
}

impl SimDatagrams {
    fn happens(&self, permille: impl Fn(&Quality) -> u64) -> bool {
        let permille = permille(&lock(&self.state).quality);
        permille > 0 && self.random.below(1_000) < permille
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], to: SocketAddr) -> Result<(), NetworkError> {
    match socket.send_to(bytes, to).await {
        Ok(_) => Ok(()),
        // Nobody tells a sender of datagrams that there is no such host.
        Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => Ok(()),
        Err(cause) => Err(error(to, &cause)),
    }
}

impl Datagrams for SimDatagrams {
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> Asked<'a, Result<(usize, SocketAddr), NetworkError>> {
        Box::pin(async move {
            loop {
                let received = self.socket.recv_from(buffer).await;
                let received = received.map_err(|cause| error(self.address, &cause))?;
                if !self.happens(|quality| quality.lost_datagrams) {
                    return Ok(received);
                }
            }
        })
    }

    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> Asked<'a, Result<(), NetworkError>> {
        Box::pin(async move {
            if self.happens(|quality| quality.lost_datagrams) {
                return Ok(());
            }
            if self.happens(|quality| quality.late_datagrams) {
                let late = Duration::from_millis(self.random.below(LATE_MILLIS));
                let (socket, bytes) = (self.socket.clone(), bytes.to_vec());
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(late).await;
                    // It was sent as far as the sender knows.
                    send(&socket, &bytes, to).await.ok();
                });
                return Ok(());
            }
            send(&self.socket, bytes, to).await
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

//! Sockets of the operating system.

use std::collections::BTreeMap;
use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ports::errors::NetworkError;
use ports::{Accepted, Asked, Datagrams, Listener, Network, Stream};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const BACKLOG: i32 = 1024;

/// How long to wait when the process has no file descriptor left for a new connection.
const NO_DESCRIPTORS_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may be silent before the kernel asks whether the peer is still there: one
/// that the edge passes on can be silent for ever.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);

fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(KEEPALIVE_AFTER)
}

#[derive(Default)]
pub(crate) struct HostNetwork {
    shared: Shared,
}

/// How many of our listeners share each address.
type Shared = Arc<Mutex<BTreeMap<SocketAddr, usize>>>;

fn lock(shared: &Shared) -> MutexGuard<'_, BTreeMap<SocketAddr, usize>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn error(address: impl std::fmt::Display, error: &IoError) -> NetworkError {
    let address = address.to_string();
    match error.kind() {
        ErrorKind::AddrInUse => NetworkError::InUse { address },
        ErrorKind::PermissionDenied => NetworkError::Denied { address },
        ErrorKind::AddrNotAvailable => NetworkError::NoSuchAddress { address },
        ErrorKind::ConnectionRefused => NetworkError::Refused { address },
        ErrorKind::TimedOut => NetworkError::TimedOut { address },
        _ => NetworkError::Failed {
            address,
            reason: error.to_string(),
        },
    }
}

fn bind_tcp(address: SocketAddr, shared: bool) -> IoResult<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Connections inherit it.
    socket.set_tcp_keepalive(&keepalive())?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

impl HostNetwork {
    /// The kernel would let our listeners join those of another process of the same user, which
    /// would then take half of the connections; so the first one makes sure that it is the first.
    fn bind_shared(&self, address: SocketAddr) -> IoResult<HostListener> {
        let mut shared = lock(&self.shared);
        if address.port() != 0 && !shared.contains_key(&address) {
            drop(bind_tcp(address, false)?);
        }
        let mut listener = HostListener::new(bind_tcp(address, true)?)?;
        *shared.entry(listener.address).or_default() += 1;
        listener.shared = Some(self.shared.clone());
        Ok(listener)
    }
}

impl Network for HostNetwork {
    fn listen(&self, address: SocketAddr) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        Box::pin(async move {
            match bind_tcp(address, false).and_then(HostListener::new) {
                Ok(listener) => Ok(Box::new(listener) as Box<dyn Listener>),
                Err(cause) => Err(error(address, &cause)),
            }
        })
    }

    fn listen_shared(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        Box::pin(async move {
            match self.bind_shared(address) {
                Ok(listener) => Ok(Box::new(listener) as Box<dyn Listener>),
                Err(cause) => Err(error(address, &cause)),
            }
        })
    }

    fn connect(&self, address: String) -> Asked<'_, Result<Box<dyn Stream>, NetworkError>> {
        Box::pin(async move {
            let connected = async {
                let stream = TcpStream::connect(&address).await?;
                stream.set_nodelay(true)?;
                SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
                Ok(stream)
            };
            match connected.await {
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
            let bound = async {
                let socket = UdpSocket::bind(address).await?;
                let address = socket.local_addr()?;
                Ok(HostDatagrams { socket, address })
            };
            match bound.await {
                Ok(socket) => Ok(Box::new(socket) as Box<dyn Datagrams>),
                Err(cause) => Err(error(address, &cause)),
            }
        })
    }

    #[cfg(target_os = "linux")]
    fn pass<'a>(
        &'a self,
        one: &'a mut dyn Stream,
        other: &'a mut dyn Stream,
    ) -> Option<Asked<'a, ()>> {
        crate::splice::pass(one, other)
    }

    fn resolve(&self, host: String) -> Asked<'_, Result<Vec<IpAddr>, NetworkError>> {
        Box::pin(async move {
            let found = match tokio::net::lookup_host((host.clone(), 0)).await {
                Ok(found) => found,
                Err(cause) => return Err(error(host, &cause)),
            };
            let mut addresses = Vec::new();
            for address in found.map(|address| address.ip()) {
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            if addresses.is_empty() {
                return Err(no_such_host(host));
            }
            Ok(addresses)
        })
    }
}

fn no_such_host(host: String) -> NetworkError {
    NetworkError::Failed {
        reason: format!("lookup {host}: no such host"),
        address: host,
    }
}

struct HostListener {
    socket: TcpListener,
    address: SocketAddr,
    shared: Option<Shared>,
}

impl HostListener {
    fn new(socket: TcpListener) -> IoResult<Self> {
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            shared: None,
        })
    }
}

impl Drop for HostListener {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        let mut shared = lock(shared);
        if let Some(count) = shared.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                shared.remove(&self.address);
            }
        }
    }
}

impl Listener for HostListener {
    fn accept(&mut self) -> Asked<'_, Result<Accepted, NetworkError>> {
        Box::pin(async move {
            loop {
                match self.socket.accept().await {
                    Ok((stream, from)) => {
                        // Fails only if the peer is gone already, which reading will tell.
                        let _ = stream.set_nodelay(true);
                        return Ok((Box::new(stream) as Box<dyn Stream>, from));
                    }
                    Err(cause) if cause.kind() == ErrorKind::ConnectionAborted => {}
                    Err(cause) if out_of_descriptors(&cause) => {
                        tracing::warn!(address = %self.address, error = %cause, "can't accept a connection");
                        tokio::time::sleep(NO_DESCRIPTORS_PAUSE).await;
                    }
                    Err(cause) => return Err(error(self.address, &cause)),
                }
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

fn out_of_descriptors(error: &IoError) -> bool {
    use rustix::io::Errno;
    error.raw_os_error().is_some_and(|code| {
        code == Errno::MFILE.raw_os_error() || code == Errno::NFILE.raw_os_error()
    })
}

struct HostDatagrams {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Datagrams for HostDatagrams {
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
                Err(cause) => Err(error(to, &cause)),
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hosts_are_found_by_name_and_by_address() {
        let network = HostNetwork::default();
        let resolve = |host: &str| network.resolve(host.to_owned());
        let local = resolve("localhost").await.expect("every machine has it");
        assert!(local.iter().all(IpAddr::is_loopback), "{local:?}");
        let address: IpAddr = "192.0.2.1".parse().expect("an address");
        assert_eq!(resolve("192.0.2.1").await, Ok(vec![address]));
        let unknown = resolve("no-such-host.invalid").await;
        assert!(matches!(unknown, Err(NetworkError::Failed { .. })));
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_noticed_on_accepted_connections() {
        let address = "127.0.0.1:0".parse().expect("an address");
        let listener = bind_tcp(address, true).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (accepted, _) = accepted.expect("a connection");
        connected.expect("a listener");
        let after = SockRef::from(&accepted).tcp_keepalive_time();
        assert_eq!(after.expect("asked"), KEEPALIVE_AFTER);
        assert!(SockRef::from(&accepted).keepalive().expect("asked"));
    }

    #[tokio::test]
    async fn a_shared_port_that_a_stranger_holds_is_in_use() {
        let stranger = HostNetwork::default();
        let ours = HostNetwork::default();
        let address = "127.0.0.1:0".parse().expect("an address");
        let theirs = stranger.listen_shared(address).await.expect("a free port");
        let refused = ours.listen_shared(theirs.local_addr()).await.err();
        assert_eq!(
            refused,
            Some(NetworkError::InUse {
                address: theirs.local_addr().to_string()
            })
        );
        stranger
            .listen_shared(theirs.local_addr())
            .await
            .expect("a second listener of the same process shares the port");
    }
}

//! A network inside of one process: connections are pairs of buffers. For measuring a server with
//! more nodes than there can be simulated machines.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use ports::errors::NetworkError;
use ports::{Accepted, Asked, Datagrams, Listener, Network, Stream};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::world::lock;

/// What a connection holds that nobody has read yet.
const BUFFER: usize = 64 << 10;

/// Clones are the same network.
#[derive(Clone, Default)]
pub(crate) struct MemoryNetwork(Arc<Mutex<BTreeMap<u16, UnboundedSender<DuplexStream>>>>);

impl MemoryNetwork {
    fn open(&self, address: SocketAddr) -> Box<dyn Listener> {
        let (connect, connecting) = unbounded_channel();
        lock(&self.0).insert(address.port(), connect);
        Box::new(MemoryListener {
            address,
            connecting,
        })
    }

    /// A connection to whoever listens on a port.
    pub(crate) fn to(&self, port: u16) -> Result<DuplexStream, NetworkError> {
        let (near, far) = tokio::io::duplex(BUFFER);
        let listener = lock(&self.0).get(&port).cloned();
        let sent = listener.and_then(|listener| listener.send(far).ok());
        match sent {
            Some(()) => Ok(near),
            None => Err(NetworkError::Refused {
                address: format!("port {port}"),
            }),
        }
    }
}

impl Network for MemoryNetwork {
    fn listen(&self, address: SocketAddr) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        let listener = self.open(address);
        Box::pin(async move { Ok(listener) })
    }

    fn listen_shared(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        self.listen(address)
    }

    fn connect(&self, address: String) -> Asked<'_, Result<Box<dyn Stream>, NetworkError>> {
        Box::pin(async move {
            let port = address
                .rsplit_once(':')
                .and_then(|(_, port)| port.parse().ok());
            let stream = self.to(port.unwrap_or(0))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    /// Datagrams go nowhere: nobody else is there.
    fn datagrams(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Datagrams>, NetworkError>> {
        Box::pin(async move { Ok(Box::new(Nowhere(address)) as Box<dyn Datagrams>) })
    }
}

struct MemoryListener {
    address: SocketAddr,
    connecting: UnboundedReceiver<DuplexStream>,
}

impl Listener for MemoryListener {
    fn accept(&mut self) -> Asked<'_, Result<Accepted, NetworkError>> {
        Box::pin(async move {
            let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            match self.connecting.recv().await {
                Some(stream) => Ok((Box::new(stream) as Box<dyn Stream>, from)),
                // Somebody else listens here by now.
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

struct Nowhere(SocketAddr);

impl Datagrams for Nowhere {
    fn receive<'a>(
        &'a self,
        _buffer: &'a mut [u8],
    ) -> Asked<'a, Result<(usize, SocketAddr), NetworkError>> {
        Box::pin(std::future::pending())
    }

    fn send<'a>(
        &'a self,
        _bytes: &'a [u8],
        _to: SocketAddr,
    ) -> Asked<'a, Result<(), NetworkError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn local_addr(&self) -> SocketAddr {
        self.0
    }
}

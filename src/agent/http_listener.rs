//! HTTP servers over whatever network the world has: `axum::serve` on a ports listener.

use std::net::SocketAddr;
use std::time::Duration;

use ports::{Listener, Stream};

/// How long to wait after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener as axum wants it. Handlers get the peer's address as `ConnectInfo<Peer>` if
/// the router is made with `into_make_service_with_connect_info::<Peer>()`.
pub struct HttpListener(Box<dyn Listener>);

impl HttpListener {
    pub fn new(listener: Box<dyn Listener>) -> Self {
        Self(listener)
    }

    /// Where it listens; tells the port if it was bound to port 0.
    pub fn address(&self) -> SocketAddr {
        self.0.local_addr()
    }
}

impl axum::serve::Listener for HttpListener {
    type Io = Box<dyn Stream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    tracing::warn!(listener = %self.0.local_addr(), %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.0.local_addr())
    }
}

/// A peer's address, as `axum::extract::ConnectInfo` hands it to handlers.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl axum::extract::connect_info::Connected<axum::serve::IncomingStream<'_, HttpListener>>
    for Peer
{
    fn connect_info(stream: axum::serve::IncomingStream<'_, HttpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

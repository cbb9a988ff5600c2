//! The PROXY protocol, version 1: a line before everything else that tells who connects. And
//! connections of which too much has been read.

use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use ports::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The shortest and the longest line there are.
const BYTES_MIN: usize = "PROXY UNKNOWN\r\n".len();
const BYTES_MAX: usize = 107;

/// Who connects, if the line says so. Reads the line and nothing more.
pub(super) async fn read(stream: &mut Box<dyn Stream>) -> Result<Option<SocketAddr>, String> {
    let mut line = vec![0; BYTES_MIN];
    let broken = |error: std::io::Error| error.to_string();
    stream.read_exact(&mut line).await.map_err(broken)?;
    if !line.starts_with(b"PROXY ") {
        return Err("it begins otherwise".to_owned());
    }
    while !line.ends_with(b"\r\n") {
        if line.len() == BYTES_MAX {
            return Err("it is too long".to_owned());
        }
        line.push(stream.read_u8().await.map_err(broken)?);
    }
    parse(&String::from_utf8_lossy(&line))
}

fn parse(line: &str) -> Result<Option<SocketAddr>, String> {
    let wrong = || format!("{line:?} is no PROXY header");
    let words: Vec<&str> = line.trim_end().split(' ').collect();
    match *words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Ok(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), client, _, port, _] => {
            let client: IpAddr = client.parse().map_err(|_| wrong())?;
            if client.is_ipv4() != (family == "TCP4") {
                return Err(wrong());
            }
            let port = port.parse().map_err(|_| wrong())?;
            Ok(Some(SocketAddr::new(client, port)))
        }
        _ => Err(wrong()),
    }
}

/// The line for a connection from `client` to our own address.
pub(super) fn written(client: SocketAddr, own: SocketAddr) -> String {
    let (from, to) = (client.ip().to_canonical(), own.ip().to_canonical());
    let (from_port, to_port) = (client.port(), own.port());
    let family = match (from, to) {
        (IpAddr::V4(_), IpAddr::V4(_)) => "TCP4",
        (IpAddr::V6(_), IpAddr::V6(_)) => "TCP6",
        _ => return "PROXY UNKNOWN\r\n".to_owned(),
    };
    format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n")
}

/// A connection whose first bytes have been read already.
pub(super) struct Unread {
    bytes: Vec<u8>,
    at: usize,
    stream: Box<dyn Stream>,
}

impl Unread {
    pub(super) fn new(bytes: Vec<u8>, stream: Box<dyn Stream>) -> Self {
        Self {
            bytes,
            at: 0,
            stream,
        }
    }
}

impl AsyncRead for Unread {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = &mut *self;
        let rest = &this.bytes[this.at..];
        if rest.is_empty() {
            return Pin::new(&mut this.stream).poll_read(context, buffer);
        }
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        this.at += length;
        if this.at == this.bytes.len() {
            (this.bytes, this.at) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Unread {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_who_connects() {
        let client = "10.1.2.3:4711".parse().expect("an address");
        let own = "10.0.0.1:443".parse().expect("an address");
        let line = written(client, own);
        assert_eq!(line, "PROXY TCP4 10.1.2.3 10.0.0.1 4711 443\r\n");
        assert_eq!(parse(&line), Ok(Some(client)));
        let mixed = "[2001:db8::1]:1".parse().expect("an address");
        assert_eq!(parse(&written(mixed, own)), Ok(None));
        for wrong in [
            "PROXY TCP4 2001:db8::1 10.0.0.1 1 2\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 4711\r\n",
            "PROXY TCP4 10.1.2.3 10.0.0.1 99999 1\r\n",
            "PROXY UDP4 10.1.2.3 10.0.0.1 1 2\r\n",
        ] {
            parse(wrong).expect_err(wrong);
        }
    }
}

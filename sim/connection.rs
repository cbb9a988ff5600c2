//! A TCP connection that can be severed from outside and can lose the answer to a request.
//!
//! Turmoil drops a segment that meets a partition and never sends it again, so a connection that
//! lost one would hang for ever. Real ones go on or are reset; these are reset once the partition
//! is over, and whoever used them has to ask again.

use std::io::{Error as IoError, ErrorKind, Result as IoResult};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use ports::Random;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

use crate::world::lock;

/// Cuts a connection, whoever holds it. Clones cut the same one.
#[derive(Default)]
pub(crate) struct Cut {
    done: AtomicBool,
    reader: Mutex<Option<Waker>>,
    writer: Mutex<Option<Waker>>,
}

impl Cut {
    pub(crate) fn sever(&self) {
        self.done.store(true, Ordering::Relaxed);
        for side in [&self.reader, &self.writer] {
            if let Some(waker) = lock(side).take() {
                waker.wake();
            }
        }
    }

    fn check(&self, side: &Mutex<Option<Waker>>, cx: &Context<'_>) -> IoResult<()> {
        if self.done.load(Ordering::Relaxed) {
            return Err(IoError::from(ErrorKind::ConnectionReset));
        }
        *lock(side) = Some(cx.waker().clone());
        Ok(())
    }
}

/// How often the answers to what is written get lost.
pub(crate) struct LostAnswers {
    pub(crate) random: Random,
    pub(crate) permille: u64,
}

pub(crate) struct Connection {
    stream: TcpStream,
    cut: Arc<Cut>,
    lost: Option<LostAnswers>,
    /// A request is being written; its answer hasn't begun.
    asking: bool,
    /// The answer to this request is lost, and the connection with it.
    doomed: bool,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, cut: Arc<Cut>, lost: Option<LostAnswers>) -> Self {
        Self {
            stream,
            cut,
            lost,
            asking: false,
            doomed: false,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        self.cut.check(&self.cut.reader, cx)?;
        let doomed = self.doomed;
        let before = buffer.filled().len();
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(_) if doomed => {
                buffer.set_filled(before);
                self.cut.sever();
                Poll::Ready(Err(IoError::from(ErrorKind::ConnectionReset)))
            }
            Poll::Ready(read) => {
                self.asking = false;
                Poll::Ready(read)
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<IoResult<usize>> {
        self.cut.check(&self.cut.writer, cx)?;
        if !self.asking {
            self.asking = true;
            let lost = self.lost.as_ref();
            self.doomed = lost.is_some_and(|lost| lost.random.below(1_000) < lost.permille);
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

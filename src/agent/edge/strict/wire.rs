//! A connection to an upstream that one plain request after the other goes over.

use std::future::{Future, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use ports::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::unconstrained;

use super::super::shelf::{Fitness, Kept};
use super::answer::{self, Answer, Manner};

/// A longer head of an answer is refused; about what hyper takes.
const HEAD_BYTES_MAX: usize = 400 * 1024;

/// Heads and small bodies are read in pieces up to this.
const PIECE_BYTES: usize = 16 * 1024;

/// Long bodies in pieces up to this.
const BODY_PIECE_BYTES: usize = 64 * 1024;

pub(in crate::edge) struct Wire(Box<dyn Stream>);

/// Why a request wasn't answered.
#[derive(Debug)]
pub(super) struct Broken {
    /// No byte of it was sent.
    pub(super) unsent: bool,
    pub(super) why: String,
}

impl Broken {
    fn sent(why: &impl ToString) -> Self {
        Self {
            unsent: false,
            why: why.to_string(),
        }
    }
}

/// Reads what there is to the end of `into`; how much that is. Nothing: there won't be more.
pub(super) fn poll_read(
    stream: &mut Box<dyn Stream>,
    context: &mut Context<'_>,
    into: &mut Vec<u8>,
) -> Poll<io::Result<usize>> {
    let mut room = [const { MaybeUninit::<u8>::uninit() }; PIECE_BYTES];
    let mut buffer = ReadBuf::uninit(&mut room);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    let come = buffer.filled();
    into.extend_from_slice(come);
    Poll::Ready(Ok(come.len()))
}

impl Wire {
    pub(in crate::edge) fn new(stream: Box<dyn Stream>) -> Self {
        Self(stream)
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), Broken> {
        let mut sent = 0;
        while sent < request.len() {
            let written = self.0.write(&request[sent..]).await;
            let written = written.map_err(|error| Broken {
                unsent: sent == 0,
                why: error.to_string(),
            })?;
            if written == 0 {
                return Err(Broken::sent(&"it takes nothing more"));
            }
            sent += written;
        }
        self.0.flush().await.map_err(|why| Broken::sent(&why))
    }

    /// Sends the request in `out`, and reads until the head of its answer is whole. Then `out` is
    /// the client's head, and `come` what has come of the body already.
    pub(super) async fn ask<'m>(
        &mut self,
        out: &mut Vec<u8>,
        come: &mut Vec<u8>,
        manner: impl Fn() -> Manner<'m>,
    ) -> Result<Answer, Broken> {
        self.send(out).await?;
        come.clear();
        let mut looked_at = 0;
        loop {
            let read = self.read(come).await;
            if read.map_err(|why| Broken::sent(&why))? == 0 {
                return Err(Broken::sent(&"it closed the connection"));
            }
            // A head that comes bit by bit is read when it may be whole.
            if looked_at > 0 && !may_end(&come[looked_at - 1..]) && come.len() <= HEAD_BYTES_MAX {
                looked_at = come.len();
                continue;
            }
            while !come.is_empty() {
                let read = answer::read(come, &manner(), out);
                match read.map_err(|why| Broken::sent(&why))? {
                    answer::Read::Partial if come.len() > HEAD_BYTES_MAX => {
                        return Err(Broken::sent(&"the head of its answer is too long"));
                    }
                    answer::Read::Partial => break,
                    answer::Read::Informational(length) => drop(come.drain(..length)),
                    answer::Read::Final(answer) => {
                        come.drain(..answer.head);
                        return Ok(answer);
                    }
                }
            }
            looked_at = come.len();
        }
    }

    async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|context| poll_read(&mut self.0, context, into)).await
    }

    /// Reads more of a body, without another copy.
    pub(super) async fn read_body(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        into.reserve(BODY_PIECE_BYTES);
        self.0.read_buf(into).await
    }
}

/// Whether the end of a head may be among these bytes.
fn may_end(bytes: &[u8]) -> bool {
    let mut pairs = bytes.windows(2);
    pairs.any(|pair| matches!(pair, b"\n\n" | b"\r\n"))
}

impl Kept for Wire {
    /// Nothing may come while it is idle, not even its end.
    fn fitness(&mut self) -> Fitness {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let looked = poll_fn(|context| Pin::new(&mut self.0).poll_read(context, &mut buffer));
        // How much its task has done already doesn't matter.
        let looked = pin!(unconstrained(looked));
        match looked.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => Fitness::Ready,
            Poll::Ready(_) => Fitness::Closed,
        }
    }

    /// As far as that goes without waiting.
    fn end(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.0).poll_shutdown(&mut context);
    }
}

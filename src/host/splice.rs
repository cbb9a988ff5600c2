//! Bytes from one TCP socket to another through a pipe, without ever copying them into the process
//! (splice(2)). Short conversations are copied: a pipe isn't worth making for them.

use std::any::Any;
use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use ports::{Asked, Stream};
use rustix::io::retry_on_intr;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// So much is copied before a pipe is made.
const COPIED_BYTES: usize = 64 * 1024;
const BUFFER_BYTES: usize = 16 * 1024;
/// How much a pipe may hold, if the system allows it.
const PIPE_BYTES: usize = 256 * 1024;

/// Passes everything on between two TCP sockets; None if they aren't.
pub(crate) fn pass<'a>(
    one: &'a mut dyn Stream,
    other: &'a mut dyn Stream,
) -> Option<Asked<'a, ()>> {
    let one = (one as &mut dyn Any).downcast_ref::<TcpStream>()?;
    let other = (other as &mut dyn Any).downcast_ref::<TcpStream>()?;
    Some(Box::pin(both(one_way(one, other), one_way(other, one))))
}

/// Ends when both have ended, or when one has failed.
async fn both(one: impl Future<Output = Result<()>>, other: impl Future<Output = Result<()>>) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut one_ended, mut other_ended) = (false, false);
    std::future::poll_fn(|context| {
        let one = advance(&mut one_ended, one.as_mut(), context);
        let other = advance(&mut other_ended, other.as_mut(), context);
        if one.is_err() || other.is_err() || (one_ended && other_ended) {
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
}

fn advance(
    ended: &mut bool,
    way: Pin<&mut impl Future<Output = Result<()>>>,
    context: &mut Context<'_>,
) -> Result<()> {
    if !*ended && let Poll::Ready(result) = way.poll(context) {
        *ended = true;
        return result;
    }
    Ok(())
}

/// Everything that `from` says, until it has said all; then `to` is told that no more comes.
async fn one_way(from: &TcpStream, to: &TcpStream) -> Result<()> {
    if copy(from, to).await? {
        through_a_pipe(from, to).await?;
    }
    match SockRef::from(to).shutdown(Shutdown::Write) {
        // It is closed both ways already.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(()),
        shut => shut,
    }
}

/// Copies the beginning; true if there may be more.
async fn copy(from: &TcpStream, to: &TcpStream) -> Result<bool> {
    // Idle connections need no buffer.
    from.readable().await?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut copied = 0;
    while copied < COPIED_BYTES {
        let read = from.async_io(Interest::READABLE, || from.try_read(&mut buffer));
        let length = read.await?;
        if length == 0 {
            return Ok(false);
        }
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let written = to
                .async_io(Interest::WRITABLE, || to.try_write(rest))
                .await?;
            rest = &rest[written..];
        }
        copied += length;
    }
    Ok(true)
}

async fn through_a_pipe(from: &TcpStream, to: &TcpStream) -> Result<()> {
    let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    // Users have a limit; a smaller pipe works as well.
    let size = fcntl_setpipe_size(&input, PIPE_BYTES).unwrap_or(COPIED_BYTES);
    loop {
        let moved = from.async_io(Interest::READABLE, || moved(from, &input, size));
        let mut left = moved.await?;
        if left == 0 {
            return Ok(());
        }
        // The pipe is emptied each time: that it would block always means the socket.
        while left > 0 {
            let gone = to
                .async_io(Interest::WRITABLE, || emptied(&output, to, left))
                .await?;
            left -= gone;
        }
    }
}

fn moved(from: &TcpStream, into: &OwnedFd, most: usize) -> Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    let moved = retry_on_intr(|| splice(from.as_fd(), None, into, None, most, flags));
    Ok(moved?)
}

fn emptied(from: &OwnedFd, to: &TcpStream, most: usize) -> Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    let gone = retry_on_intr(|| splice(from, None, to.as_fd(), None, most, flags))?;
    if gone == 0 {
        return Err(Error::from(ErrorKind::WriteZero));
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        (near.expect("connected"), far.expect("accepted").0)
    }

    /// A passed-on connection's two far ends.
    async fn passed() -> (TcpStream, TcpStream, tokio::task::JoinHandle<()>) {
        let ((client, mut one), (mut other, upstream)) = (pair().await, pair().await);
        let passing = tokio::spawn(async move {
            pass(&mut one, &mut other).expect("both are sockets").await;
        });
        (client, upstream, passing)
    }

    /// Bytes that can't be mistaken for others at another place.
    fn bytes(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(seed | 1);
            (state >> 56).to_le_bytes()[0]
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[tokio::test]
    async fn much_goes_both_ways_unharmed_and_each_way_ends_by_itself() {
        for (there, back) in [
            (9_000_001, 5_000_003),
            (0, 3_000_000),
            (70_000, 0),
            (1, 65_536),
        ] {
            let (client, upstream, passing) = passed().await;
            let (to, from) = (bytes(7, there), bytes(11, back));
            let talk = |stream: TcpStream, said: Vec<u8>| async move {
                let (mut reader, mut writer) = stream.into_split();
                let saying = tokio::spawn(async move {
                    writer.write_all(&said).await.expect("written");
                    writer.shutdown().await.expect("half closed");
                });
                let mut heard = Vec::new();
                reader.read_to_end(&mut heard).await.expect("heard");
                saying.await.expect("said");
                heard
            };
            let (heard_by_client, heard_by_upstream) =
                tokio::join!(talk(client, to.clone()), talk(upstream, from.clone()));
            assert!(heard_by_upstream == to && heard_by_client == from);
            passing.await.expect("it ends");
        }
    }

    #[tokio::test]
    async fn one_side_that_is_gone_ends_both_ways() {
        let (client, mut upstream, passing) = passed().await;
        SockRef::from(&client)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("set");
        drop(client);
        passing.await.expect("it ends");
        assert!(!matches!(upstream.read(&mut [0; 8]).await, Ok(1..)));
    }

    #[tokio::test]
    async fn other_streams_are_left_to_others() {
        let (mut one, _two) = tokio::io::duplex(64);
        let (mut socket, _far) = pair().await;
        assert!(pass(&mut one, &mut socket).is_none());
    }
}

//! A connection for hyper on which what is short goes out in one piece.
//!
//! hyper hands a head and its body over as two slices. Where both are short, copying them costs
//! less than having the kernel gather them, and one slice needs no gathering at all.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use ports::Stream;

/// What is longer is gathered by the kernel.
const SHORT: usize = 1024;

pub(super) struct Joined(TokioIo<Box<dyn Stream>>);

impl Joined {
    pub(super) fn new(stream: Box<dyn Stream>) -> Self {
        Self(TokioIo::new(stream))
    }
}

impl Read for Joined {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Write for Joined {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let io = Pin::new(&mut self.0);
        if let [one] = slices {
            return io.poll_write(context, one);
        }
        let mut joined = [0; SHORT];
        let mut length = 0;
        for slice in slices {
            let Some(room) = joined.get_mut(length..length + slice.len()) else {
                return io.poll_write_vectored(context, slices);
            };
            room.copy_from_slice(slice);
            length += slice.len();
        }
        io.poll_write(context, &joined[..length])
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn short_slices_go_out_together_and_long_ones_in_order() {
        for lengths in [
            vec![3],
            vec![200, 44],
            vec![1000, 24],
            vec![1000, 25],
            vec![9, 5000, 1],
        ] {
            let (near, mut far) = tokio::io::duplex(100_000);
            let mut joined = Joined::new(Box::new(near));
            let sent: Vec<u8> = (0..=u8::MAX).cycle().take(lengths.iter().sum()).collect();
            let mut parts = Vec::new();
            let mut rest = &sent[..];
            for length in lengths {
                let (part, after) = rest.split_at(length);
                parts.push(IoSlice::new(part));
                rest = after;
            }
            let mut slices = &mut parts[..];
            while !slices.is_empty() {
                let written =
                    poll_fn(|context| Pin::new(&mut joined).poll_write_vectored(context, slices));
                let written = written.await.expect("it is open");
                IoSlice::advance_slices(&mut slices, written);
            }
            drop(joined);
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.expect("all of it");
            assert_eq!(read, sent);
        }
    }
}

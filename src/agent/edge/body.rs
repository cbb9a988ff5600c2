//! Bodies on their way through: a frame at a time, never kept.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::access_log::Entry;
use super::client::Client;
use super::http2::Open;
use super::pool::Lease;
use super::worker::Worker;

/// What goes to an upstream.
pub(super) enum RequestBody {
    Empty,
    Client {
        body: Incoming,
        client: Rc<Client>,
        worker: Rc<Worker>,
    },
}

impl RequestBody {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::Empty)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Client {
                body,
                client,
                worker,
            } => {
                let frame = Pin::new(body).poll_frame(context);
                if frame.is_ready() {
                    client.progressed(worker.now());
                }
                frame
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Client { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Client { body, .. } => body.size_hint(),
        }
    }
}

enum Source {
    Own(Option<Bytes>),
    Upstream(Incoming, Option<Lease>),
}

/// What goes to a client. Gives the upstream's connection back as soon as its last byte is in.
pub(super) struct ReplyBody {
    source: Source,
    client: Rc<Client>,
    worker: Rc<Worker>,
    /// How much has gone to the client.
    bytes: u64,
    logged: Option<(Entry, StatusCode)>,
    /// The request, if it is one of several on its connection.
    open: Option<Open>,
}

impl ReplyBody {
    pub(super) fn own(text: String, client: Rc<Client>, worker: Rc<Worker>) -> Self {
        let text = (!text.is_empty()).then(|| Bytes::from(text));
        Self {
            source: Source::Own(text),
            client,
            worker,
            bytes: 0,
            logged: None,
            open: None,
        }
    }

    /// Counts the request as open until the answer is over.
    pub(super) fn hold(&mut self, open: Open) {
        self.open = Some(open);
    }

    pub(super) fn upstream(
        body: Incoming,
        lease: Lease,
        client: Rc<Client>,
        worker: Rc<Worker>,
    ) -> Self {
        let mut reply = Self {
            source: Source::Upstream(body, Some(lease)),
            client,
            worker,
            bytes: 0,
            logged: None,
            open: None,
        };
        reply.give_back_at_end();
        reply
    }

    /// What we say ourselves.
    pub(super) fn own_text(&mut self) -> Bytes {
        match &mut self.source {
            Source::Own(text) => text.take().unwrap_or_default(),
            Source::Upstream(..) => Bytes::new(),
        }
    }

    /// Has the request written to the access log when the answer is over.
    pub(super) fn log_at_end(&mut self, entry: Entry, status: StatusCode) {
        self.logged = Some((entry, status));
    }

    fn give_back_at_end(&mut self) {
        if let Source::Upstream(body, lease) = &mut self.source
            && body.is_end_stream()
            && let Some(lease) = lease.take()
        {
            self.worker.pool.give_back(lease);
        }
    }
}

impl Drop for ReplyBody {
    fn drop(&mut self) {
        self.client.answered(self.worker.now());
        if let Some((entry, status)) = &self.logged {
            entry.log(*status, self.bytes, self.worker.shared.clock.now());
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let frame = match &mut this.source {
            Source::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Upstream(body, lease) => {
                let frame = Pin::new(body).poll_frame(context);
                match &frame {
                    Poll::Pending => {}
                    Poll::Ready(Some(Ok(_))) => this.give_back_at_end(),
                    Poll::Ready(Some(Err(_))) => *lease = None,
                    Poll::Ready(None) => {
                        if let Some(lease) = lease.take() {
                            this.worker.pool.give_back(lease);
                        }
                    }
                }
                frame
            }
        };
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len);
            this.bytes += length as u64;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(text) => text.is_none(),
            Source::Upstream(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(text) => {
                SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64))
            }
            Source::Upstream(body, _) => body.size_hint(),
        }
    }
}

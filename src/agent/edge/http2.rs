//! HTTP/2 with clients: many requests at once on one connection, each watched by itself.

use std::cell::Cell;
use std::future::Future;
use std::io::{Error, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use ports::Stream;

use super::forward::Forwarder;
use super::headers::TlsFacts;
use super::worker::{Watched, Worker};

/// Requests with larger heads are refused.
const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// How many requests may be open on one connection.
const REQUESTS_MAX: u32 = 200;

/// Runs what hyper spawns on the worker's own thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl<F: Future + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move { drop(future.await) });
    }
}

/// A connection and how many of its requests are open: it is only idle without any.
struct Connection {
    watched: Watched,
    open: Cell<usize>,
}

/// An open request; dropped when its answer is over.
pub(super) struct Open {
    connection: Rc<Connection>,
    watched: Watched,
}

impl Open {
    fn new(connection: &Rc<Connection>, watched: Watched) -> Self {
        connection.open.set(connection.open.get() + 1);
        connection.watched.passes();
        Self {
            connection: connection.clone(),
            watched,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let left = self.connection.open.get() - 1;
        self.connection.open.set(left);
        if left == 0 {
            self.connection.watched.answered();
        }
    }
}

pub(super) async fn serve(
    worker: Rc<Worker>,
    stream: Box<dyn Stream>,
    from: SocketAddr,
    tls: Option<TlsFacts>,
) {
    let sender = Rc::new(worker.sender(from, tls));
    let client = Rc::new(Connection {
        watched: worker.admit(),
        open: Cell::new(0),
    });
    let watched = client.clone();
    let service = service_fn(move |request| {
        let (worker, sender, client) = (worker.clone(), sender.clone(), client.clone());
        async move {
            let open = Open::new(&client, worker.admit());
            let forwarder = Forwarder {
                client: open.watched.client(),
                from,
                sender,
                worker,
            };
            let answered = open.watched.until_cut(forwarder.serve(request)).await;
            match answered {
                Some(Ok(mut reply)) => {
                    reply.body_mut().hold(open);
                    Ok(reply)
                }
                Some(Err(never)) => match never {},
                None => Err(Error::from(ErrorKind::ConnectionAborted)),
            }
        }
    });
    let connection = http2::Builder::new(Local)
        .max_header_list_size(HEAD_BYTES_MAX)
        .max_concurrent_streams(REQUESTS_MAX)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let connection = pin!(connection);
    watched
        .watched
        .serve(connection, http2::Connection::graceful_shutdown)
        .await;
}

//! Connections that are passed on as they are, to where a port or a server name leads.
//!
//! What one side closes is closed on the other, and only that: the other direction goes on.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use logic::client_hello::Incoming;
use logic::routes::{Route, Target};
use ports::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::pool::Unreachable;
use super::worker::Worker;

const BUFFER_BYTES: usize = 32 * 1024;

/// How long a client may take to say which server it wants.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const HELLO_PIECE_BYTES: usize = 4 * 1024;

/// What a connection's route is found by.
#[derive(Debug)]
enum Wanted {
    Port(u16),
    Server(String),
}

/// Passes a connection on to the route of the port it came in on.
pub(super) async fn by_port(worker: &Rc<Worker>, mut client: Box<dyn Stream>) {
    let watched = worker.admit();
    watched.streams();
    let passed = async {
        let wanted = Wanted::Port(worker.shared.port);
        if let Some(upstream) = lead(worker, &wanted).await {
            join(&mut client, upstream).await;
        }
    };
    watched.until_cut(passed).await;
}

/// Passes a TLS connection on, unread but for its first message, to the route of the server it
/// wants. A client that wants none, or one that isn't here, is hung up on without a word.
pub(super) async fn by_server_name(worker: &Rc<Worker>, mut client: Box<dyn Stream>) {
    let watched = worker.admit();
    watched.streams();
    let passed = async {
        let mut hello = Incoming::default();
        let name = match timeout(HELLO_TIMEOUT, server_name(&mut client, &mut hello)).await {
            Ok(Ok(name)) => name,
            Ok(Err(why)) => return tracing::debug!(why, "a connection without a server name"),
            Err(_) => return tracing::debug!("a client didn't say in time which server it wants"),
        };
        let Some(mut upstream) = lead(worker, &Wanted::Server(name)).await else {
            return;
        };
        // An upstream that doesn't take it has closed, which the client is told by closing too.
        if upstream.write_all(hello.received()).await.is_ok() {
            drop(hello);
            join(&mut client, upstream).await;
        }
    };
    watched.until_cut(passed).await;
}

async fn server_name(
    client: &mut Box<dyn Stream>,
    incoming: &mut Incoming,
) -> Result<String, String> {
    let mut piece = vec![0; HELLO_PIECE_BYTES];
    loop {
        let length = client.read(&mut piece).await;
        let length = length.map_err(|error| error.to_string())?;
        if length == 0 {
            return Err("closed before it was told".to_owned());
        }
        let hello = incoming.push(&piece[..length]);
        if let Some(hello) = hello.map_err(|invalid| invalid.to_string())? {
            let name = hello.server_name;
            return name.ok_or_else(|| "none is wanted".to_owned());
        }
    }
}

/// Connects to an upstream of a route, another one if the first can't be reached.
async fn lead(worker: &Rc<Worker>, wanted: &Wanted) -> Option<Box<dyn Stream>> {
    let counters = &worker.shared.counters;
    let table = worker.shared.table.load_full();
    let route = match wanted {
        Wanted::Port(port) => table.find_port(*port),
        Wanted::Server(name) => table.find_server_name(name),
    };
    let Some(route) = route else {
        counters.no_route.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(?wanted, "no route for a connection");
        return None;
    };
    match reach(worker, route).await {
        Ok((upstream, target)) => {
            counters.connections.fetch_add(1, Ordering::Relaxed);
            tracing::trace!(?wanted, to = target.address, "a connection is passed on");
            Some(upstream)
        }
        Err(error) => {
            counters.upstream_errors.fetch_add(1, Ordering::Relaxed);
            let error = error.map(|error| error.to_string());
            tracing::debug!(?wanted, error, "no upstream takes a connection");
            None
        }
    }
}

async fn reach<'t>(
    worker: &Rc<Worker>,
    route: &'t Route,
) -> Result<(Box<dyn Stream>, &'t Target), Option<Unreachable>> {
    let mut target = route.pick_for_connection(worker.draw()).ok_or(None)?;
    if worker.pool.avoids(&target.address) {
        let other = worker.usable(route.others_for_connection(target));
        target = other.unwrap_or(target);
    }
    // Each is tried once, even if the first may be tried again by the time the last has failed.
    for _ in 1..route.targets.len() {
        match worker.pool.reach(&target.address).await {
            Ok(upstream) => return Ok((upstream, target)),
            Err(error) => {
                let other = worker.usable(route.others_for_connection(target));
                target = other.ok_or(Some(error))?;
                worker.retried();
            }
        }
    }
    let upstream = worker.pool.reach(&target.address).await.map_err(Some)?;
    Ok((upstream, target))
}

async fn join(client: &mut Box<dyn Stream>, mut upstream: Box<dyn Stream>) {
    // However it ends, both sides are closed: there is nobody to tell why.
    let _ =
        tokio::io::copy_bidirectional_with_sizes(client, &mut upstream, BUFFER_BYTES, BUFFER_BYTES)
            .await;
}

//! Connections that are passed on as they are, to where a port or a server name leads.
//!
//! What one side closes is closed on the other, and only that: the other direction goes on.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use logic::client_hello::Incoming;
use logic::config::Strategy;
use logic::routes::{Route, Target};
use ports::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::pool::Unreachable;
use super::proxy_header::{self, Unread};
use super::worker::Worker;

const BUFFER_BYTES: usize = 32 * 1024;

/// How long a client may take to say which server it wants.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const HELLO_PIECE_BYTES: usize = 4 * 1024;

/// Why a connection isn't passed on.
enum NoUpstream {
    Denied,
    Away(Option<Unreachable>),
}

/// What a connection's route is found by.
#[derive(Debug)]
enum Wanted {
    Port(u16),
    Server(String),
}

/// Passes a connection on to the route of the port it came in on.
pub(super) async fn by_port(worker: &Rc<Worker>, mut client: Box<dyn Stream>, from: SocketAddr) {
    let watched = worker.admit();
    watched.passes();
    let passed = async {
        let wanted = Wanted::Port(worker.shared.address.port());
        if let Some(upstream) = lead(worker, &wanted, from).await {
            join(worker, &mut client, upstream).await;
        }
    };
    watched.until_cut(passed).await;
}

/// Passes a TLS connection on, unread but for its first message, to the route of the server it
/// wants. A client that wants none, or one that isn't here, is hung up on without a word.
pub(super) async fn by_server_name(
    worker: &Rc<Worker>,
    mut client: Box<dyn Stream>,
    from: SocketAddr,
) {
    let watched = worker.admit();
    watched.passes();
    let passed = async {
        let mut hello = Incoming::default();
        let read = timeout(HELLO_TIMEOUT, server_name(&mut client, &mut hello));
        let name = match read.await {
            Ok(Ok(name)) => name,
            Ok(Err(why)) => return tracing::debug!(why, "a connection without a server name"),
            Err(_) => return tracing::debug!("a client didn't say in time which server it wants"),
        };
        pass_on(worker, client, &hello, name, from).await;
    };
    watched.until_cut(passed).await;
}

/// The same if a TCP route has the name. Otherwise the connection is given back, as if nothing
/// of it had been read.
pub(super) async fn by_server_name_if_routed(
    worker: &Rc<Worker>,
    mut client: Box<dyn Stream>,
    from: SocketAddr,
) -> Option<Box<dyn Stream>> {
    let watched = worker.admit();
    let looked = async {
        let mut hello = Incoming::default();
        let read = timeout(HELLO_TIMEOUT, server_name(&mut client, &mut hello));
        let name = read.await.ok()?.ok();
        let table = worker.table();
        let route = name.as_ref().and_then(|name| table.find_server_name(name));
        if let Some(name) = name.filter(|_| route.is_some_and(Route::takes_connections)) {
            watched.passes();
            pass_on(worker, client, &hello, name, from).await;
            return None;
        }
        let unread = Unread::new(hello.received().to_vec(), client);
        Some(Box::new(unread) as Box<dyn Stream>)
    };
    watched.until_cut(looked).await.flatten()
}

async fn pass_on(
    worker: &Rc<Worker>,
    mut client: Box<dyn Stream>,
    hello: &Incoming,
    name: String,
    from: SocketAddr,
) {
    let Some(mut upstream) = lead(worker, &Wanted::Server(name), from).await else {
        return;
    };
    // An upstream that doesn't take it has closed, which the client is told by closing too.
    if upstream.write_all(hello.received()).await.is_ok() {
        join(worker, &mut client, upstream).await;
    }
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
async fn lead(worker: &Rc<Worker>, wanted: &Wanted, from: SocketAddr) -> Option<Box<dyn Stream>> {
    let counters = &worker.shared.counters;
    let table = worker.table();
    let route = match wanted {
        Wanted::Port(port) => table.find_port(*port),
        Wanted::Server(name) => table.find_server_name(name),
    };
    let Some(route) = route else {
        counters.no_route.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(?wanted, "no route for a connection");
        return None;
    };
    match reach(worker, route, from).await {
        Ok((mut upstream, target)) => {
            if target.proxy_protocol {
                let at = worker.shared.address;
                let ip = worker.shared.by.filter(|_| at.ip().is_unspecified());
                let to = SocketAddr::new(ip.unwrap_or(at.ip()), at.port());
                let header = proxy_header::written(from, to);
                upstream.write_all(header.as_bytes()).await.ok()?;
            }
            counters.connections.fetch_add(1, Ordering::Relaxed);
            tracing::trace!(?wanted, to = target.address, "a connection is passed on");
            Some(upstream)
        }
        Err(NoUpstream::Denied) => {
            tracing::info!(?wanted, %from, "the route isn't open to this client");
            None
        }
        Err(NoUpstream::Away(error)) => {
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
    from: SocketAddr,
) -> Result<(Box<dyn Stream>, &'t Target), NoUpstream> {
    let picked = match worker.shared.settings.options.strategy {
        Strategy::Random => route.pick_for_connection(worker.draw()),
        Strategy::RoundRobin => route.pick_in_turn_for_connection(),
    };
    let mut target = picked.ok_or(NoUpstream::Away(None))?;
    if !target.admits(from.ip(), std::iter::empty()) {
        return Err(NoUpstream::Denied);
    }
    if worker.pool.avoids(&target.address) {
        let other = worker.usable(route.others_for_connection(target), target);
        target = other.unwrap_or(target);
    }
    // Each is tried once, even if the first may be tried again by the time the last has failed.
    for _ in 1..route.targets.len() {
        match worker.pool.reach(&target.address).await {
            Ok(upstream) => return Ok((upstream, target)),
            Err(error) => {
                let other = worker.usable(route.others_for_connection(target), target);
                target = other.ok_or(NoUpstream::Away(Some(error)))?;
                worker.retried();
            }
        }
    }
    let upstream = worker.pool.reach(&target.address).await;
    let upstream = upstream.map_err(|error| NoUpstream::Away(Some(error)))?;
    Ok((upstream, target))
}

async fn join(worker: &Rc<Worker>, client: &mut Box<dyn Stream>, mut upstream: Box<dyn Stream>) {
    let network = worker.shared.network.clone();
    if let Some(passing) = network.pass(&mut **client, &mut *upstream) {
        return passing.await;
    }
    // However it ends, both sides are closed: there is nobody to tell why.
    let _ =
        tokio::io::copy_bidirectional_with_sizes(client, &mut upstream, BUFFER_BYTES, BUFFER_BYTES)
            .await;
}

//! The edge: requests and connections in on a few ports, out to whichever instance of a service is
//! healthy.
//!
//! `RouteTable` follows the catalog; a `ProxyListener` for each port serves on every worker; an
//! admin listener shows the routes. Bytes are plain tasks, never messages.

pub mod access_log;
mod admin;
mod body;
mod client;
mod forward;
mod headers;
#[cfg(test)]
pub(crate) mod loopback;
mod passing;
mod pool;
mod proxy_listener;
mod route_table;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
mod upgrade;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix::prelude::*;
use arc_swap::ArcSwap;
use logic::catalog::View;
use logic::config::{AccessFormat, EdgeConfig};
use logic::routes::Table;
use ports::errors::NetworkError;
use ports::{Clock, Listener, World};
use tokio::sync::watch;

pub use self::proxy_listener::{ProxyListener, Stop};
pub use self::route_table::{DescribeRoutes, RouteTable};

use self::proxy_listener::Means;
use self::tls::TlsClient;
use crate::http_listener;
use crate::published::Subscriber;

/// What the proxy counts, since the agent started.
#[derive(Debug, Default)]
pub struct Counters {
    pub requests: AtomicU64,
    pub no_route: AtomicU64,
    pub upstream_errors: AtomicU64,
    pub retried: AtomicU64,
    /// Connections that were passed on as they are.
    pub connections: AtomicU64,
}

/// How patient the proxy is.
#[derive(Clone, Copy, Debug)]
struct Settings {
    no_route_status: u16,
    access_log: Option<AccessFormat>,
    /// How long a client may take for a request's head, or stay idle.
    client_idle: Duration,
    /// How long an upstream may take to begin its answer; long polls must fit in.
    upstream_answer: Duration,
}

impl Settings {
    fn new(config: &EdgeConfig) -> Self {
        Self {
            no_route_status: config.no_route_status,
            access_log: config.access_log,
            client_idle: Duration::from_secs(75),
            upstream_answer: Duration::from_secs(15 * 60),
        }
    }
}

/// A running edge. Dropping it closes its ports and connections at once.
pub struct Edge {
    pub routes: Addr<RouteTable>,
    /// Always the newest table.
    pub table: Arc<ArcSwap<Table>>,
    pub proxies: Vec<Addr<ProxyListener>>,
    /// Where the proxies listen, in the order of the configured listeners.
    pub addresses: Vec<SocketAddr>,
    /// Where `/api/routes` and its like are.
    pub admin: SocketAddr,
    pub counters: Arc<Counters>,
    /// The admin listener ends with it.
    _admin_lives: watch::Sender<()>,
}

impl Edge {
    /// Accepts no new connections and returns when the others have ended, at the latest after
    /// `grace`.
    pub async fn stop(&self, grace: Duration) {
        let stops = self.proxies.iter().map(|proxy| proxy.send(Stop { grace }));
        // One that is gone already has stopped.
        drop(futures_util::future::join_all(stops).await);
    }
}

/// Binds all ports and begins to serve; nothing is left behind if one can't be bound. Must be
/// called where local tasks can be spawned.
pub async fn start(
    world: &World,
    config: &EdgeConfig,
    bind: IpAddr,
    view: Subscriber<Arc<View>>,
) -> Result<Edge, NetworkError> {
    start_with(world, config, bind, view, Settings::new(config)).await
}

async fn start_with(
    world: &World,
    config: &EdgeConfig,
    bind: IpAddr,
    view: Subscriber<Arc<View>>,
    settings: Settings,
) -> Result<Edge, NetworkError> {
    let routes = RouteTable::new(view, &config.tag_prefix);
    let (table, counters) = (routes.table(), Arc::new(Counters::default()));
    let by = if bind.is_unspecified() {
        world.machine.fingerprint().address
    } else {
        Some(bind)
    };
    let mut proxies = Vec::new();
    let tls = Arc::new(TlsClient::new(world));
    for listener in &config.listeners {
        let means = Means {
            table: table.clone(),
            lost: routes.lost(),
            counters: counters.clone(),
            settings,
            by,
            protocol: listener.protocol,
            tls: tls.clone(),
        };
        let address = SocketAddr::new(listener.address.unwrap_or(bind), listener.port);
        proxies.push(ProxyListener::bind(world, address, means).await?);
    }
    let admin = world
        .network
        .listen(SocketAddr::new(bind, config.ui_port))
        .await?;
    let shown = admin::Shown {
        table: table.clone(),
        counters: counters.clone(),
        config: config.clone(),
    };
    let (admin_lives, admin_address) = (watch::Sender::new(()), admin.local_addr());
    let clock = world.clock.clone();
    serve_admin(admin, shown, clock, admin_lives.subscribe());
    Ok(Edge {
        routes: routes.start(),
        table,
        addresses: proxies.iter().map(ProxyListener::address).collect(),
        proxies: proxies.into_iter().map(Actor::start).collect(),
        admin: admin_address,
        counters,
        _admin_lives: admin_lives,
    })
}

fn serve_admin(
    listener: Box<dyn Listener>,
    shown: admin::Shown,
    clock: Arc<dyn Clock>,
    mut lives: watch::Receiver<()>,
) {
    tokio::task::spawn_local(async move {
        let serving = http_listener::serve(listener, admin::router(shown), clock);
        tokio::select! {
            biased;
            // Ends only with an error: nothing is ever sent.
            _ = lives.changed() => {}
            () = serving => {}
        }
    });
}

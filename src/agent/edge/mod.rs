//! The edge: requests and connections in on a few ports, out to whichever instance of a service is
//! healthy.
//!
//! `RouteTable` follows the catalog; a `ProxyListener` for each port serves on every worker; an
//! admin listener shows the routes. Bytes are plain tasks, never messages.

pub mod access_log;
mod admin;
mod asked;
mod body;
mod certificates;
mod client;
mod consul;
mod forward;
pub(crate) mod fuzz;
mod headers;
mod http2;
mod joined;
#[cfg(test)]
pub(crate) mod loopback;
mod pages;
mod passing;
mod pool;
mod proxy_header;
mod proxy_listener;
mod registry;
mod route_table;
mod shelf;
mod shown_config;
pub mod standalone;
pub(crate) mod strict;
#[cfg(test)]
mod tests;
pub(crate) mod tls;
mod upgrade;
mod worker;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::prelude::*;
use arc_swap::ArcSwap;
use logic::catalog::View;
use logic::config::{AccessFormat, EdgeConfig, ListenerOptions, ProxyOptions};
use logic::routes::{Overrides, Rules, Table};
use ports::errors::NetworkError;
use ports::{Clock, Listener, World};
use tokio::sync::watch;

pub use self::proxy_listener::{ProxyListener, Stop};
pub use self::route_table::{DescribeRoutes, RouteTable};
pub use self::tls::anyone;

use self::certificates::Certificates;
use self::consul::Manual;
use self::proxy_listener::Means;
use self::tls::TlsClient;
use crate::http_listener;
use crate::published::{Subscriber, publish};

/// What the proxy counts, since the agent started.
#[derive(Debug, Default)]
pub struct Counters {
    pub requests: Spread,
    pub no_route: AtomicU64,
    pub upstream_errors: AtomicU64,
    pub retried: AtomicU64,
    /// Connections that were passed on as they are.
    pub connections: AtomicU64,
}

/// A counter that each worker has a part of: cores that count in one place wait for each other.
#[derive(Debug, Default)]
pub struct Spread([Part; 16]);

/// As far from the next one as what cores hand each other at a time.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part(AtomicU64);

impl Spread {
    fn add(&self, worker: usize) {
        let part = &self.0[worker % self.0.len()];
        part.0.fetch_add(1, Ordering::Relaxed);
    }

    pub fn load(&self, ordering: Ordering) -> u64 {
        self.0.iter().map(|part| part.0.load(ordering)).sum()
    }
}

/// How the proxy passes on, and how patient it is.
#[derive(Clone, Debug)]
struct Settings {
    no_route_status: u16,
    access_log: Option<AccessFormat>,
    /// How long a client may take for a request's head, or stay idle.
    client_idle: Duration,
    /// How long an upstream may take to begin its answer; long polls must fit in.
    upstream_answer: Duration,
    /// How long an answer may take once it has begun.
    whole_answer: Option<Duration>,
    options: Arc<ProxyOptions>,
    /// Not even plain requests go without hyper.
    hyper_only: bool,
}

impl Settings {
    fn new(config: &EdgeConfig) -> Self {
        Self {
            no_route_status: config.no_route_status,
            access_log: config.access_log,
            client_idle: Duration::from_secs(75),
            upstream_answer: config.proxy.answer_within,
            whole_answer: None,
            options: Arc::new(config.proxy.clone()),
            hyper_only: false,
        }
    }

    /// Whether the answer where there is no route has a body like most answers.
    fn no_route_is_plain(&self) -> bool {
        matches!(self.no_route_status, 200..=203 | 205..=303 | 305..)
    }

    fn of_listener(&self, options: &ListenerOptions) -> Self {
        let idle = options.idle_timeout.or(options.read_timeout);
        Self {
            client_idle: idle.unwrap_or(self.client_idle),
            whole_answer: options.write_timeout.or(self.whole_answer),
            ..self.clone()
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

/// What routes are made from.
struct Source {
    view: Subscriber<Arc<View>>,
    overrides: Subscriber<Arc<Overrides>>,
    rules: Rules,
    /// Where overrides can be looked at and changed.
    manual: Option<Manual>,
    /// What `/api/config` shows of it.
    shown: serde_json::Value,
}

impl Source {
    fn catalog(view: Subscriber<Arc<View>>, config: &EdgeConfig) -> Self {
        let (_, overrides) = publish(Arc::default());
        Self {
            view,
            overrides,
            rules: config.rules(),
            manual: None,
            shown: shown_config::catalog(&config.tag_prefix),
        }
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
    let source = Source::catalog(view, config);
    start_with(world, config, bind, source, Settings::new(config)).await
}

async fn start_with(
    world: &World,
    config: &EdgeConfig,
    bind: IpAddr,
    source: Source,
    settings: Settings,
) -> Result<Edge, NetworkError> {
    let shown = source.shown.clone();
    let manual = source.manual.clone();
    let routes = RouteTable::new(source);
    let (table, counters) = (routes.table(), Arc::new(Counters::default()));
    let own = if bind.is_unspecified() {
        world.machine.fingerprint().address
    } else {
        Some(bind)
    };
    let by = config.proxy.local_ip.or(own);
    let mut proxies = Vec::new();
    let tls = Arc::new(TlsClient::new(world));
    for listener in &config.listeners {
        let address = SocketAddr::new(listener.address.unwrap_or(bind), listener.port);
        let certificates = match &listener.options.tls {
            None => None,
            Some(tls) => {
                let failed = |reason| NetworkError::Failed {
                    address: format!("{address}, certificates \"{}\"", tls.source.name),
                    reason,
                };
                let begun = Certificates::begin(world, tls, listener.protocol).await;
                Some(begun.map_err(failed)?)
            }
        };
        let means = Means {
            table: table.clone(),
            lost: routes.lost(),
            counters: counters.clone(),
            settings: settings.of_listener(&listener.options),
            by,
            protocol: listener.protocol,
            proxy_header: listener.options.proxy_header,
            certificates,
            tls: tls.clone(),
        };
        proxies.push(ProxyListener::bind(world, address, means).await?);
    }
    let admin = world
        .network
        .listen(SocketAddr::new(
            config.ui.address.unwrap_or(bind),
            config.ui_port,
        ))
        .await?;
    let shown = admin::Shown {
        table: table.clone(),
        counters: counters.clone(),
        config: shown_config::whole(config, by, &shown),
        ui: config.ui.clone(),
        manual,
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

//! One of the threads that serve a port: its listener, its connections, its upstream pool.
//!
//! Everything here belongs to one task and its children; workers share only what [`Shared`]
//! holds. In the simulator many hosts' workers live on one thread, so nothing is thread-local.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use logic::config::{EdgeProtocol, Strategy};
use logic::routes::{Route, Table, Target};
use ports::{Accepted, Clock, Listener, Network, Stream};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::certificates::Certificates;
use super::client::{Client, Limits, Order};
use super::forward::Forwarder;
use super::headers::{Sender, TlsFacts};
use super::joined::Joined;
use super::pool::{Pool, Unreachable};
use super::route_table::Lost;
use super::tls::TlsClient;
use super::{Counters, Settings, passing, strict};
use super::{http2, proxy_header};

const TICK: Duration = Duration::from_secs(1);

/// Requests with larger heads are refused (431); bodies are read in pieces up to this.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long to wait after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the workers of one port have in common.
pub(super) struct Shared {
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) lost: Lost,
    pub(super) network: Arc<dyn Network>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<Counters>,
    pub(super) settings: Settings,
    /// Our own address, for `Forwarded: by=`.
    pub(super) by: Option<IpAddr>,
    pub(super) protocol: EdgeProtocol,
    /// Where clients connect to.
    pub(super) address: SocketAddr,
    /// Connections begin with a PROXY header, within this time.
    pub(super) proxy_header: Option<Duration>,
    pub(super) certificates: Option<Certificates>,
    pub(super) tls: Arc<TlsClient>,
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    /// Which of the port's workers it is.
    pub(super) number: usize,
    pub(super) pool: Pool,
    /// The newest table it has seen.
    table: RefCell<Rc<Seen>>,
    draws: Cell<u64>,
    clients: RefCell<BTreeMap<u64, Rc<Client>>>,
    admitted: Cell<u64>,
    left: Notify,
    /// Upstreams that are being tried, because their nodes are lost.
    tried: RefCell<BTreeSet<Rc<str>>>,
}

/// A table as one worker holds it: the uses of an `Rc` are counted where no other core does.
pub(super) struct Seen(Arc<Table>);

impl Deref for Seen {
    type Target = Table;

    fn deref(&self) -> &Table {
        &self.0
    }
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, number: usize, seed: u64) -> Self {
        let connect_within = shared.settings.options.connect_within;
        let pool = Pool::new(shared.network.clone(), shared.tls.clone(), connect_within);
        Self {
            table: RefCell::new(Rc::new(Seen(shared.table.load_full()))),
            shared,
            number,
            pool,
            draws: Cell::new(seed),
            clients: RefCell::new(BTreeMap::new()),
            admitted: Cell::new(0),
            left: Notify::new(),
            tried: RefCell::new(BTreeSet::new()),
        }
    }

    pub(super) fn table(&self) -> Rc<Seen> {
        let newest = self.shared.table.load();
        let mut table = self.table.borrow_mut();
        if !Arc::ptr_eq(&table.0, &newest) {
            *table = Rc::new(Seen(Arc::clone(&newest)));
        }
        Rc::clone(&table)
    }

    /// Seconds since the worker began.
    pub(super) fn now(&self) -> u64 {
        self.pool.now()
    }

    /// A target for the next request: by chance, but one that could be reached lately.
    pub(super) fn choose<'t>(&self, route: &'t Route, call: bool) -> Option<&'t Target> {
        let target = match self.shared.settings.options.strategy {
            _ if call => route.pick_for_call(self.draw()),
            Strategy::Random => route.pick(self.draw()),
            Strategy::RoundRobin => route.pick_in_turn(),
        };
        let target = target?;
        if target.redirect.is_none() && self.pool.avoids(&target.address) {
            return Some(self.instead_of(route, target).unwrap_or(target));
        }
        Some(target)
    }

    /// Another target that the same request can go to.
    pub(super) fn instead_of<'t>(
        &self,
        route: &'t Route,
        target: &'t Target,
    ) -> Option<&'t Target> {
        if target.protocol.takes_calls() {
            return self.usable(route.others_for_call(target), target);
        }
        self.usable(route.others(target), target)
    }

    /// The first that could be reached lately; open to the same as the one it stands in for.
    pub(super) fn usable<'t>(
        &self,
        mut targets: impl Iterator<Item = &'t Target>,
        first: &Target,
    ) -> Option<&'t Target> {
        let lost = self.shared.lost.load();
        targets.find(|target| {
            let address = &target.address;
            let same = target.redirect.is_none() && target.access == first.access;
            same && !self.pool.avoids(address) && !lost.contains(address)
        })
    }

    pub(super) fn retried(&self) {
        let counters = &self.shared.counters;
        counters.retried.fetch_add(1, Ordering::Relaxed);
    }

    /// The next number of the worker's own sequence (splitmix64): no lock, and the same in
    /// every simulation of a seed.
    pub(super) fn draw(&self) -> u64 {
        let state = self.draws.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.draws.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Takes a connection under watch until the result is dropped.
    pub(super) fn admit(self: &Rc<Self>) -> Watched {
        let id = self.admitted.get();
        self.admitted.set(id + 1);
        let client = Rc::new(Client::new(self.now()));
        self.clients.borrow_mut().insert(id, client.clone());
        Watched {
            client,
            id,
            worker: self.clone(),
        }
    }

    /// Serves until told to stop, then lets connections finish for as long as the stop allows.
    pub(super) async fn run(
        self: Rc<Self>,
        mut listener: Box<dyn Listener>,
        mut stop: watch::Receiver<Option<Duration>>,
    ) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = stop.wait_for(Option::is_some) => break,
                _ = ticks.tick() => self.tick(),
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => self.begin(accepted),
                    Err(error) => {
                        tracing::warn!(listener = %listener.local_addr(), %error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        let grace = stop.borrow().unwrap_or_default();
        self.finish(grace).await;
    }

    fn tick(self: &Rc<Self>) {
        self.pool.tick();
        let settings = &self.shared.settings;
        let limits = Limits {
            idle_ticks: settings.client_idle.as_secs(),
            upstream_ticks: settings.upstream_answer.as_secs(),
            answer_ticks: settings.whole_answer.map(|most| most.as_secs()),
        };
        for client in self.clients.borrow().values() {
            client.tick(self.now(), limits);
        }
        let lost = self.shared.lost.load();
        if !lost.is_empty() {
            self.doubt(&lost);
        }
    }

    /// Tries the upstreams on lost nodes that requests wait at: there the machine may be gone,
    /// or just its agent.
    fn doubt(self: &Rc<Self>, lost: &BTreeSet<String>) {
        for client in self.clients.borrow().values() {
            let Some(address) = client.waits_at() else {
                continue;
            };
            if !lost.contains(&*address) || !self.tried.borrow_mut().insert(address.clone()) {
                continue;
            }
            let worker = self.clone();
            tokio::task::spawn_local(async move {
                if let Err(error) = worker.pool.reach(&address).await {
                    worker.give_up(&address, &error);
                }
                worker.tried.borrow_mut().remove(&address);
            });
        }
    }

    /// Nothing that was sent to this upstream will be answered.
    fn give_up(&self, address: &str, error: &Unreachable) {
        tracing::debug!(%error, "an upstream is lost with its node");
        self.pool.forget(address);
        for client in self.clients.borrow().values() {
            if client.waits_at().is_some_and(|at| *at == *address) {
                client.give_up_upstream();
            }
        }
    }

    /// What the upstreams are told about a connection.
    pub(super) fn sender(&self, from: SocketAddr, tls: Option<TlsFacts>) -> Sender {
        let options = &self.shared.settings.options;
        Sender::new(from, self.shared.by, tls, options)
    }

    fn begin(self: &Rc<Self>, (stream, from): Accepted) {
        let Some(within) = self.shared.proxy_header else {
            return self.begin_plain(stream, from);
        };
        let worker = self.clone();
        let watched = worker.admit();
        tokio::task::spawn_local(async move {
            let mut stream = stream;
            let reading = timeout(within, proxy_header::read(&mut stream));
            let told = watched.until_cut(reading).await;
            drop(watched);
            match told {
                Some(Ok(Ok(client))) => worker.begin_plain(stream, client.unwrap_or(from)),
                Some(Ok(Err(why))) => {
                    tracing::debug!(%from, why, "a connection without a PROXY header");
                }
                Some(Err(_)) => tracing::debug!(%from, "a PROXY header didn't come in time"),
                None => {}
            }
        });
    }

    fn begin_plain(self: &Rc<Self>, stream: Box<dyn Stream>, from: SocketAddr) {
        let worker = self.clone();
        let begun = async move {
            match worker.shared.protocol {
                EdgeProtocol::Http => worker.serve(stream, from, None).await,
                EdgeProtocol::Tcp if worker.shared.certificates.is_none() => {
                    passing::by_port(&worker, stream, from).await;
                }
                EdgeProtocol::TcpSni => passing::by_server_name(&worker, stream, from).await,
                EdgeProtocol::HttpsTcpSni => {
                    let left = passing::by_server_name_if_routed(&worker, stream, from).await;
                    if let Some(stream) = left {
                        worker.begin_tls(stream, from).await;
                    }
                }
                EdgeProtocol::Grpc => Box::pin(http2::serve(worker, stream, from, None)).await,
                EdgeProtocol::Https | EdgeProtocol::Tcp | EdgeProtocol::Grpcs => {
                    Box::pin(worker.begin_tls(stream, from)).await;
                }
            }
        };
        tokio::task::spawn_local(begun);
    }

    /// Takes TLS off, and serves what is inside.
    async fn begin_tls(self: Rc<Self>, stream: Box<dyn Stream>, from: SocketAddr) {
        let Some(certificates) = &self.shared.certificates else {
            return;
        };
        let watched = self.admit();
        let begun = watched.until_cut(certificates.accept(stream)).await;
        drop(watched);
        let accepted = match begun {
            Some(Ok(accepted)) => accepted,
            Some(Err(why)) => return tracing::debug!(%from, why, "no TLS with a client"),
            None => return,
        };
        if self.shared.protocol == EdgeProtocol::Tcp {
            passing::by_port(&self, accepted.stream, from).await;
        } else if accepted.http2 {
            http2::serve(self, accepted.stream, from, Some(accepted.facts)).await;
        } else {
            self.serve(accepted.stream, from, Some(accepted.facts))
                .await;
        }
    }

    pub(super) async fn serve(
        self: Rc<Self>,
        stream: Box<dyn Stream>,
        from: SocketAddr,
        tls: Option<TlsFacts>,
    ) {
        let watched = self.admit();
        let forwarder = Rc::new(Forwarder {
            client: watched.client.clone(),
            from,
            sender: Rc::new(self.sender(from, tls)),
            worker: self,
        });
        let finishing = Cell::new(false);
        let left = {
            let mut plain = pin!(strict::serve(&forwarder, &finishing, stream));
            let served = poll_fn(|context| {
                match watched.order(context) {
                    Order::Go => {}
                    Order::Cut => return Poll::Ready(None),
                    Order::Finish => finishing.set(true),
                }
                plain.as_mut().poll(context)
            });
            served.await
        };
        if let Some(stream) = left {
            // Seldom needed, and large.
            Box::pin(watched.serve_the_rest(stream, forwarder.clone())).await;
        }
    }

    /// Lets connections end by themselves until `grace` is over, then cuts them.
    async fn finish(&self, grace: Duration) {
        let all = || self.clients.borrow().values().cloned().collect::<Vec<_>>();
        for client in all() {
            client.finish();
        }
        if timeout(grace, self.empty()).await.is_err() {
            tracing::debug!(
                connections = all().len(),
                "closing what hasn't ended in time"
            );
            for client in all() {
                client.cut();
            }
            self.empty().await;
        }
        self.pool.close_idle();
    }

    async fn empty(&self) {
        while !self.clients.borrow().is_empty() {
            self.left.notified().await;
        }
    }
}

/// A connection that its worker keeps an eye on.
pub(super) struct Watched {
    client: Rc<Client>,
    id: u64,
    worker: Rc<Worker>,
}

impl Watched {
    /// Has hyper serve what is left of a connection.
    async fn serve_the_rest(&self, stream: Box<dyn Stream>, forwarder: Rc<Forwarder>) {
        let service = service_fn(move |request| {
            let forwarder = forwarder.clone();
            async move { forwarder.serve(request).await }
        });
        let mut builder = http1::Builder::new();
        builder
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(HEAD_BYTES_MAX)
            .header_read_timeout(None)
            .auto_date_header(false);
        let connection = builder.serve_connection(Joined::new(stream), service);
        let connection = pin!(connection.with_upgrades());
        self.client
            .serve(connection, http1::UpgradeableConnection::graceful_shutdown)
            .await;
    }

    pub(super) fn passes(&self) {
        self.client.passes(self.worker.now());
    }

    pub(super) fn answered(&self) {
        self.client.answered(self.worker.now());
    }

    pub(super) fn client(&self) -> Rc<Client> {
        self.client.clone()
    }
}

impl Deref for Watched {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut().remove(&self.id);
        self.worker.left.notify_one();
    }
}

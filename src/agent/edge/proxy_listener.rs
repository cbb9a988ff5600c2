//! The actor of one port: bound when it is made, served by every worker until it is stopped.
//!
//! ```text
//! bind -> serving --Stop--> finishing (no new connections) --grace over or all ended--> stopped
//! ```

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use arc_swap::ArcSwap;
use logic::config::EdgeProtocol;
use logic::routes::Table;
use ports::World;
use ports::errors::NetworkError;
use tokio::sync::{mpsc, watch};

use super::certificates::Certificates;
use super::route_table::Lost;
use super::tls::TlsClient;
use super::worker::{Shared, Worker};
use super::{Counters, Settings};

/// Accept nothing more; answers when every connection has ended, at the latest after `grace`.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Stop {
    pub grace: Duration,
}

pub struct ProxyListener {
    address: SocketAddr,
    stop: watch::Sender<Option<Duration>>,
    /// How many workers still serve.
    serving: watch::Receiver<usize>,
}

/// What a listener serves with.
pub(super) struct Means {
    pub(super) table: Arc<ArcSwap<Table>>,
    pub(super) lost: Lost,
    pub(super) counters: Arc<Counters>,
    pub(super) settings: Settings,
    pub(super) by: Option<IpAddr>,
    pub(super) protocol: EdgeProtocol,
    pub(super) proxy_header: Option<Duration>,
    pub(super) certificates: Option<Certificates>,
    pub(super) tls: Arc<TlsClient>,
}

impl ProxyListener {
    /// Binds the port on every worker and begins to serve; fails if any of them can't.
    pub(super) async fn bind(
        world: &World,
        address: SocketAddr,
        means: Means,
    ) -> Result<Self, NetworkError> {
        let address = with_port(world, address).await?;
        let workers = world.workers.count();
        let (stop, stopped) = watch::channel(None);
        let (serving_now, serving) = watch::channel(workers);
        let (bound, mut reports) = mpsc::channel(workers.max(1));
        let shared = Arc::new(Shared {
            table: means.table,
            lost: means.lost,
            network: world.network.clone(),
            clock: world.clock.clone(),
            counters: means.counters,
            settings: means.settings,
            by: means.by,
            protocol: means.protocol,
            address,
            proxy_header: means.proxy_header,
            certificates: means.certificates,
            tls: means.tls,
        });
        let random = world.random.clone();
        let task = Arc::new(move |number| {
            let (shared, stopped) = (shared.clone(), stopped.clone());
            let (bound, serving_now) = (bound.clone(), serving_now.clone());
            let seed = random.next_u64();
            Box::pin(async move {
                match shared.network.listen_shared(address).await {
                    Ok(listener) => {
                        // The receiver is gone only if another worker failed; then we stop too.
                        let _ = bound.send(Ok(())).await;
                        Rc::new(Worker::new(shared, number, seed))
                            .run(listener, stopped)
                            .await;
                    }
                    Err(error) => drop(bound.send(Err(error)).await),
                }
                serving_now.send_modify(|serving| *serving -= 1);
            }) as std::pin::Pin<Box<dyn Future<Output = ()>>>
        });
        world.workers.start_on_each("edge", task);
        for _ in 0..workers {
            reports.recv().await.unwrap_or(Ok(()))?;
        }
        let protocol = means.protocol.name();
        tracing::info!(%address, protocol, workers, "proxy listens");
        Ok(Self {
            address,
            stop,
            serving,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Replaces port 0 by a free one, since all workers must bind the same.
async fn with_port(world: &World, address: SocketAddr) -> Result<SocketAddr, NetworkError> {
    if address.port() != 0 {
        return Ok(address);
    }
    let probe = world.network.listen(address).await?;
    Ok(probe.local_addr())
}

impl Actor for ProxyListener {
    type Context = Context<Self>;
}

impl Handler<Stop> for ProxyListener {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Stop { grace }: Stop, _: &mut Context<Self>) -> Self::Result {
        self.stop.send_replace(Some(grace));
        let mut serving = self.serving.clone();
        Box::pin(async move {
            // An error means that no worker is left to report anything.
            let _ = serving.wait_for(|serving| *serving == 0).await;
        })
    }
}

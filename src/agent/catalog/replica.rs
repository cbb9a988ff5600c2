//! The agent's replica of the catalog: follows the servers, and is kept on disk for the next start.

use std::sync::Arc;
use std::time::Duration;

use actix::{AsyncContext, Context, WrapFuture};
use logic::catalog::{Contents, View};
use ports::World;
use ports::errors::DiskError;

use super::{Catalog, RETRY_AFTER};
use crate::checked_file;
use crate::published::{Publisher, Subscriber, publish};
use crate::rpc::{Request, Response, Rpc};

const PATH: &str = "catalog/replica";
const KIND: &str = "drover-catalog";
/// How long one look at the servers' catalog waits for a change.
const WATCH_MS: u64 = 30_000;
/// After the first failure: most likely another server can be asked, or a new connection.
const RETRY_SOON: Duration = Duration::from_millis(50);
/// It is written at most this often.
const WRITE_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Replica {
    world: World,
    view: Publisher<Arc<View>>,
}

impl Replica {
    /// The catalog as it was known before the agent restarted, or an empty one.
    pub(super) async fn load(world: &World) -> (Self, Subscriber<Arc<View>>) {
        let known = match world.disk.read(PATH).await {
            Ok(bytes) => checked_file::decode(KIND, &bytes).unwrap_or_else(|reason| {
                tracing::warn!(
                    reason,
                    "{PATH} is damaged: the catalog is fetched from a server"
                );
                Contents::default()
            }),
            Err(DiskError::Missing { .. }) => Contents::default(),
            Err(error) => {
                tracing::warn!(%error, "the catalog is fetched from a server");
                Contents::default()
            }
        };
        let (view, reader) = publish(Arc::new(View::new(known)));
        let replica = Self {
            world: world.clone(),
            view,
        };
        (replica, reader)
    }

    pub(super) fn start(self, catalog: &Catalog, rpc: Rpc, ctx: &mut Context<Catalog>) {
        let (contents, newest) = publish(Arc::default());
        ctx.spawn(keep(self.world, newest).into_actor(catalog));
        ctx.spawn(follow(rpc, self.view, contents).into_actor(catalog));
    }
}

/// Follows the servers' catalog for ever.
async fn follow(rpc: Rpc, view: Publisher<Arc<View>>, newest: Publisher<Arc<Contents>>) {
    let mut known: Option<u64> = None;
    // Answers in a row that were older than what is known.
    let mut older = 0;
    let mut failed = false;
    loop {
        let request = Request::WatchCatalog {
            after: known.unwrap_or(0),
            wait_ms: WATCH_MS,
        };
        match rpc.ask(request).await {
            Ok(Response::Catalog(contents)) if known == Some(contents.index) => {}
            // A server that lags behind another one catches up while it waits; one that is
            // behind once more doesn't know what the other knew.
            Ok(Response::Catalog(contents))
                if known.is_some_and(|known| contents.index < known) && older == 0 =>
            {
                older += 1;
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Ok(Response::Catalog(contents)) => {
                (older, failed) = (0, false);
                known = Some(contents.index);
                newest.send_replace(Arc::new(contents.clone()));
                view.send_replace(Arc::new(View::new(contents)));
            }
            Ok(other) => {
                tracing::warn!(?other, "a server answered something else than the catalog");
                tokio::time::sleep(RETRY_AFTER).await;
            }
            Err(error) => {
                // What was known last goes on being served.
                tracing::debug!(%error, "the catalog can't be followed right now");
                let again = if failed { RETRY_AFTER } else { RETRY_SOON };
                tokio::time::sleep(again).await;
                failed = true;
            }
        }
    }
}

/// Writes what is newest, now and then.
async fn keep(world: World, mut newest: Subscriber<Arc<Contents>>) {
    let mut failing = false;
    while newest.changed().await.is_ok() {
        let contents = Arc::clone(&newest.borrow_and_update());
        let written = match checked_file::encode(KIND, &*contents) {
            Ok(bytes) => world.disk.write(PATH, bytes).await,
            Err(reason) => Err(DiskError::Failed {
                path: PATH.to_owned(),
                reason,
            }),
        };
        if let Err(error) = &written
            && !failing
        {
            tracing::warn!(%error, "the catalog can't be kept for the next start");
        }
        failing = written.is_err();
        tokio::time::sleep(WRITE_EVERY).await;
    }
}

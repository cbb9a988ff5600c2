//! The edge as a program of its own, as fabio is: beside any catalog that speaks Consul's API.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use logic::catalog::View;
use logic::fabio::{ConsulRegistry, Fabio, Registration, Registry};
use logic::routes::Overrides;
use ports::World;
use thiserror::Error;
use tokio::task::JoinHandle;

use super::consul::{Consul, Manual};
use super::registry::{Registrar, follow, follow_files, read_files};
use super::{Edge, Settings, Source, shown_config, start_with};
use crate::published::{Publisher, publish};

/// How long leaving the catalog may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// Why it doesn't start.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("{0}")]
    Network(#[from] ports::errors::NetworkError),
    #[error("{0}")]
    Registry(String),
}

/// A running edge. Dropping it ends it at once.
pub struct Standalone {
    pub edge: Edge,
    registrar: Option<Arc<Registrar>>,
    tasks: Vec<JoinHandle<()>>,
    shutdown_wait: Duration,
}

impl Standalone {
    /// Leaves the catalog, then lets connections end for as long as it was told.
    pub async fn stop(self) {
        for task in &self.tasks {
            task.abort();
        }
        if let Some(registrar) = &self.registrar {
            let left = tokio::time::timeout(LEAVE_WITHIN, registrar.leave()).await;
            if left.is_err() {
                tracing::warn!("the catalog doesn't answer: it isn't told that this edge ends");
            }
        }
        self.edge.stop(self.shutdown_wait).await;
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Where the catalog and the overrides are published.
struct Sinks {
    catalog: Publisher<Arc<View>>,
    overrides: Publisher<Arc<Overrides>>,
    /// What was published at the start.
    first: Arc<Overrides>,
}

/// Binds all ports and begins to serve; the catalog may come later. Must be called where local
/// tasks can be spawned.
pub async fn start(world: &World, fabio: &Fabio) -> Result<Standalone, Failure> {
    let (catalog, view) = publish(Arc::<View>::default());
    let first = Arc::new(first_overrides(world, &fabio.registry)?);
    let (overrides, overridden) = publish(Arc::clone(&first));
    let sinks = Sinks {
        catalog,
        overrides,
        first,
    };
    let mut source = Source {
        view,
        overrides: overridden,
        rules: fabio.rules(),
        manual: None,
        shown: shown_config::registry(fabio),
    };
    let consul = match &fabio.registry {
        Registry::Consul(registry) => {
            let consul = Consul::new(world, registry).map_err(Failure::Registry)?;
            source.manual = Some(Manual {
                consul: consul.clone(),
                path: registry.kv_path.clone(),
            });
            Some((consul, registry.as_ref()))
        }
        Registry::Static { .. } | Registry::File { .. } => None,
    };
    let settings = Settings::new(&fabio.edge);
    let bind = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let edge = start_with(world, &fabio.edge, bind, source, settings).await?;
    let mut standalone = Standalone {
        registrar: consul
            .as_ref()
            .and_then(|(consul, registry)| registrar(world, consul, registry, &edge)),
        edge,
        tasks: Vec::new(),
        shutdown_wait: fabio.shutdown_wait,
    };
    standalone
        .tasks
        .push(following(world, fabio, consul, sinks));
    if let Some(registrar) = standalone.registrar.clone() {
        let run = async move { registrar.run().await };
        standalone.tasks.push(tokio::task::spawn_local(run));
    }
    Ok(standalone)
}

fn first_overrides(world: &World, registry: &Registry) -> Result<Overrides, Failure> {
    match registry {
        Registry::Consul(_) => Ok(Overrides::default()),
        Registry::Static {
            routes,
            no_route_page,
        } => Ok(Overrides {
            commands: routes.clone(),
            no_route_page: no_route_page.clone(),
        }),
        Registry::File {
            path,
            no_route_path,
        } => read_files(world, path, no_route_path).map_err(Failure::Registry),
    }
}

fn registrar(
    world: &World,
    consul: &Consul,
    registry: &ConsulRegistry,
    edge: &Edge,
) -> Option<Arc<Registrar>> {
    let registration = registry.registration.as_ref()?;
    let fingerprint = world.machine.fingerprint();
    let Some(address) = registration.address.or(fingerprint.address) else {
        tracing::warn!(
            "this machine has no address to register: set -registry.consul.register.addr"
        );
        return None;
    };
    let port = match registration.port {
        0 => edge.admin.port(),
        port => port,
    };
    Some(Arc::new(Registrar {
        consul: consul.clone(),
        registration: Registration {
            port,
            ..registration.clone()
        },
        address,
        hostname: fingerprint.hostname,
        table: edge.table.clone(),
    }))
}

/// Keeps the routes up to date.
fn following(
    world: &World,
    fabio: &Fabio,
    consul: Option<(Consul, &ConsulRegistry)>,
    sinks: Sinks,
) -> JoinHandle<()> {
    let Sinks {
        catalog,
        overrides,
        first,
    } = sinks;
    if let Some((consul, registry)) = consul {
        let prefix = fabio.edge.tag_prefix.clone();
        let clock = world.clock.clone();
        let registry = registry.clone();
        let followed = follow(consul, clock, registry, prefix, catalog, overrides);
        return tokio::task::spawn_local(followed);
    }
    let (world, registry) = (world.clone(), fabio.registry.clone());
    tokio::task::spawn_local(async move {
        // Nothing else publishes a catalog; it has to last as long as the edge.
        let _catalog = catalog;
        if let Registry::File {
            path,
            no_route_path,
        } = registry
        {
            let first = Arc::unwrap_or_clone(first);
            follow_files(world, path, no_route_path, first, overrides).await;
        } else {
            std::future::pending::<()>().await;
        }
    })
}

//! Serves the catalog over DNS, on UDP and TCP, for one domain; other questions are passed on to
//! recursors, if there are any.
//!
//! Only instances that pass all their checks are answered, unless the configuration says otherwise.

pub(crate) mod fuzz;
mod listener;
mod recursors;
#[cfg(test)]
mod tests;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use actix::prelude::*;
use logic::catalog::View;
use logic::config::CatalogConfig;
use ports::World;
use ports::errors::NetworkError;

use crate::published::Subscriber;

pub use self::listener::{DescribeAddress, DnsListener, Reconfigure};

/// Binds the DNS port and begins to answer. Must be called where local tasks can be spawned.
pub async fn start(
    world: &World,
    config: &CatalogConfig,
    bind: IpAddr,
    view: Subscriber<Arc<View>>,
) -> Result<Addr<DnsListener>, NetworkError> {
    let address = SocketAddr::new(bind, config.dns_port);
    let listener = DnsListener::bind(world, config, address, view).await?;
    Ok(listener.start())
}

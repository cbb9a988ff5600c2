//! Agents that were told of nobody find the others through a Consul, ours or another: servers are
//! registered there, and whatever the catalog names is greeted.

use std::collections::BTreeSet;
use std::time::Duration;

use logic::address;
use logic::membership::Member;

use super::client::{Consul, ConsulError};
use crate::gossip::Gossip;

/// How often the catalog is asked while nobody is known, and once somebody is.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_secs(30);
/// Agents greeted in one go.
const GREETED_MAX: usize = 64;

/// Looks for others for as long as the agent runs.
pub(crate) async fn look_around(consul: Consul, service: String, gossip: Gossip, me: Member) {
    let mut told = false;
    loop {
        let found = match find(&consul, &service, &me).await {
            Ok(found) => found,
            Err(why) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        consul = consul.address,
                        %why,
                        "the Consul to find other servers through is away"
                    );
                }
                BTreeSet::new()
            }
        };
        let alone = || gossip.members().borrow().iter().count() <= 1;
        if alone() && !found.is_empty() {
            let asked = found.into_iter().take(GREETED_MAX).collect();
            match gossip.join(asked).await {
                Ok(count) => tracing::info!(
                    consul = consul.address,
                    count,
                    "found others through a Consul"
                ),
                Err(why) => tracing::debug!(why, "nobody of the Consul's catalog answers yet"),
            }
        }
        tokio::time::sleep(if alone() { ASK_EVERY } else { ASK_AGAIN }).await;
    }
}

/// Addresses of gossip that others may listen at.
async fn find(
    consul: &Consul,
    service: &str,
    me: &Member,
) -> Result<BTreeSet<String>, ConsulError> {
    let own = me.address.to_string();
    let path = format!("/v1/catalog/service/{service}?tag=serf&stale");
    let services = consul.get(&path).await?;
    let mut found = BTreeSet::new();
    for service in services.as_array().into_iter().flatten() {
        let address = ["ServiceAddress", "Address"]
            .iter()
            .filter_map(|field| service[field].as_str())
            .find(|address| !address.is_empty());
        if let (Some(address), Some(port)) = (address, service["ServicePort"].as_u64()) {
            found.insert((address.to_owned(), port));
        }
    }
    // Where a Consul's agent is, one of ours may be too.
    let nodes = consul.get("/v1/catalog/nodes?stale").await?;
    for node in nodes.as_array().into_iter().flatten() {
        if let Some(address) = node["Address"].as_str() {
            found.insert((address.to_owned(), u64::from(me.serf_port)));
        }
    }
    found.remove(&(own, u64::from(me.serf_port)));
    let written = |(host, port): (String, u64)| address::join(&host, port);
    Ok(found.into_iter().map(written).collect())
}

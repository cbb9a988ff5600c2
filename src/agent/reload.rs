//! Another configuration for a running agent.

use actix::Addr;
use logic::config::AgentConfig;

use crate::dns::{DnsListener, Reconfigure};
use crate::registry::{Change, Registry};

/// What of a running agent takes another configuration.
#[derive(Clone, Debug)]
pub struct Settled {
    registry: Addr<Registry>,
    dns: Option<Addr<DnsListener>>,
}

impl Settled {
    pub(crate) fn new(registry: Addr<Registry>, dns: Option<Addr<DnsListener>>) -> Self {
        Self { registry, dns }
    }

    /// Takes what can be taken while the agent runs: what the configuration registers, and how DNS
    /// answers.
    pub async fn take(&self, config: &AgentConfig) -> Result<(), String> {
        if let Some(dns) = &self.dns {
            let taken = dns.send(Reconfigure(config.catalog.clone())).await;
            taken.map_err(|_| "DNS has ended".to_owned())?;
        }
        let wanted = Box::new(config.catalog.registered.clone());
        match self.registry.send(Change::Configured(wanted)).await {
            Ok(taken) => taken.map_err(|error| error.to_string()),
            Err(_) => Err("the agent is stopping".to_owned()),
        }
    }
}

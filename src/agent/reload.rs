//! Reading the configuration again while the agent runs: who asks for it, and what becomes of it.

use std::sync::{Arc, Mutex, PoisonError};

use actix::Addr;
use logic::config::AgentConfig;
use tokio::sync::{mpsc, oneshot};

use crate::dns::{DnsListener, Reconfigure};
use crate::registry::{Change, Registry};

/// Somebody wants the configuration to be read again, and to know what comes of it.
pub type Asked = oneshot::Sender<Result<(), String>>;

/// Where requests to read the configuration again go: to whoever has read it first.
#[derive(Clone, Debug, Default)]
pub struct Reloads(Arc<Mutex<Option<mpsc::UnboundedSender<Asked>>>>);

impl Reloads {
    /// The requests from now on.
    pub fn listen(&self) -> mpsc::UnboundedReceiver<Asked> {
        let (sender, requests) = mpsc::unbounded_channel();
        let mut listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *listening = Some(sender);
        requests
    }

    /// Returns when the configuration was read and is in effect, or why it isn't.
    pub async fn ask(&self) -> Result<(), String> {
        let reader = {
            let listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            listening.clone()
        };
        let (told, outcome) = oneshot::channel();
        let asked = reader.is_some_and(|reader| reader.send(told).is_ok());
        if !asked {
            return Err("this agent was started without files that could be read again".to_owned());
        }
        outcome
            .await
            .unwrap_or_else(|_| Err("the agent is stopping".to_owned()))
    }
}

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

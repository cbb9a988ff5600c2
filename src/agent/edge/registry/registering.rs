//! Keeps the edge registered in the catalog it follows, under its own name and those that routes
//! ask for by `register=NAME`; takes itself out again when it ends.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::StatusCode;
use logic::fabio::Registration;
use logic::percent;
use logic::routes::Table;
use serde_json::{Value, json};

use super::super::consul::Consul;

/// How often routes are looked at for names, and the catalog told that we live.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const PASS_EVERY: u32 = 10;
const TTL: &str = "15s";
const DEREGISTERED_AFTER: &str = "1m0s";

pub(in crate::edge) struct Registrar {
    pub(in crate::edge) consul: Consul,
    pub(in crate::edge) registration: Registration,
    pub(in crate::edge) address: IpAddr,
    pub(in crate::edge) hostname: String,
    pub(in crate::edge) table: Arc<ArcSwap<Table>>,
}

impl Registrar {
    /// Registers, and tells that we live, for ever.
    pub(in crate::edge) async fn run(&self) {
        let mut registered: BTreeSet<String> = BTreeSet::new();
        let mut told: Option<String> = None;
        let mut ticks: u32 = 0;
        loop {
            let wanted = self.names();
            let due = ticks.is_multiple_of(PASS_EVERY);
            if due || wanted != registered {
                for gone in registered.difference(&wanted) {
                    self.deregister(gone).await;
                }
                match self.keep(&wanted).await {
                    Ok(()) => {
                        told = None;
                        registered = wanted;
                    }
                    Err(why) => {
                        if told.as_ref() != Some(&why) {
                            let address = self.consul.address();
                            tracing::warn!(address, why, "can't register in the catalog");
                        }
                        told = Some(why);
                        // Not every second what just failed.
                        tokio::time::sleep(LOOK_EVERY * PASS_EVERY).await;
                    }
                }
            }
            ticks = ticks.wrapping_add(1);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let table = self.table.load();
        let asked = table.routes().flat_map(|route| &route.targets);
        let asked = asked.map(|target| &target.registers);
        let asked = asked.filter(|name| !name.is_empty()).cloned();
        asked.chain([self.registration.name.clone()]).collect()
    }

    async fn keep(&self, names: &BTreeSet<String>) -> Result<(), String> {
        let path = "/v1/agent/services";
        let known: Value = self.consul.get(path).await?.read(path)?;
        for name in names {
            let id = self.id(name);
            if known.get(&id).is_none() {
                self.register(name, &id).await?;
            }
            let path = format!(
                "/v1/agent/check/pass/{}",
                percent::segment(&format!("{id}-ttl"))
            );
            self.consul.put(&path, Bytes::new()).await?.good(&path)?;
        }
        Ok(())
    }

    async fn register(&self, name: &str, id: &str) -> Result<(), String> {
        let Registration { port, tags, .. } = &self.registration;
        let host = match self.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let checks = json!([
            {
                "CheckID": format!("{id}-ttl"),
                "TTL": TTL,
                "DeregisterCriticalServiceAfter": DEREGISTERED_AFTER,
            },
            {
                "HTTP": format!("http://{host}:{port}/health"),
                "Interval": go(self.registration.check_interval),
                "Timeout": go(self.registration.check_timeout),
            },
        ]);
        let service = json!({
            "ID": id,
            "Name": name,
            "Address": self.address.to_string(),
            "Port": port,
            "Tags": tags,
            "Checks": checks,
        });
        let path = "/v1/agent/service/register";
        let answer = self
            .consul
            .put(path, Bytes::from(service.to_string()))
            .await?;
        if matches!(
            answer.status,
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        ) {
            return Err("this catalog takes no registrations".to_owned());
        }
        answer.good(path)?;
        tracing::info!(name, id, "registered in the catalog");
        Ok(())
    }

    /// Takes all names out of the catalog.
    pub(in crate::edge) async fn leave(&self) {
        for name in self.names() {
            self.deregister(&name).await;
        }
    }

    async fn deregister(&self, name: &str) {
        let path = format!(
            "/v1/agent/service/deregister/{}",
            percent::segment(&self.id(name))
        );
        let left = self.consul.put(&path, Bytes::new()).await;
        match left.and_then(|answer| answer.good(&path)) {
            Ok(_) => tracing::info!(name, "deregistered from the catalog"),
            Err(why) => tracing::debug!(name, why, "can't deregister: the catalog will find out"),
        }
    }

    fn id(&self, name: &str) -> String {
        format!("{name}-{}-{}", self.hostname, self.registration.port)
    }
}

fn go(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

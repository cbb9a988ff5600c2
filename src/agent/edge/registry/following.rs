//! Follows a Consul: services with routes, all checks, and the operator's keys. Each is asked for
//! with a question that waits for a change.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use logic::catalog::View;
use logic::fabio::ConsulRegistry;
use logic::percent;
use logic::routes::Overrides;
use ports::Clock;
use serde_json::Value;

use super::super::consul::{Answer, Consul};
use super::Patience;
use super::answers::{Known, Offer};
use crate::published::Publisher;

/// A Consul that answers at once, whether something changed or not, isn't asked more often.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What is told of each thing that is followed.
const CHECKS: &str = "the catalog's checks";
const SERVICES: &str = "the catalog's services";
const KEYS: &str = "the catalog's keys for overrides";
const PAGE: &str = "the catalog's key for what has no route";

struct Follower {
    consul: Consul,
    clock: Arc<dyn Clock>,
    retry: Duration,
    tag_prefix: String,
    known: RefCell<Known>,
    catalog: Publisher<Arc<View>>,
    overrides: RefCell<Overrides>,
    published: Publisher<Arc<Overrides>>,
}

/// Publishes whatever the Consul tells, for ever.
pub(in crate::edge) async fn follow(
    consul: Consul,
    clock: Arc<dyn Clock>,
    registry: ConsulRegistry,
    tag_prefix: String,
    catalog: Publisher<Arc<View>>,
    published: Publisher<Arc<Overrides>>,
) {
    let follower = Rc::new(Follower {
        consul,
        clock,
        retry: registry.retry,
        tag_prefix,
        known: RefCell::default(),
        catalog,
        overrides: RefCell::default(),
        published,
    });
    let keys = format!("/v1/kv/{}?recurse", percent::path(&registry.kv_path));
    let page = format!("/v1/kv/{}?recurse", percent::path(&registry.no_route_path));
    tokio::join!(
        follower.follow_checks(),
        follower.follow_services(),
        follower.follow_keys(KEYS, &keys, |overrides, values| overrides.commands =
            commands(values)),
        follower.follow_keys(PAGE, &page, |overrides, values| {
            let page = values
                .first()
                .map(|(_, page)| String::from_utf8_lossy(page));
            let page = page.unwrap_or_default();
            page.trim().clone_into(&mut overrides.no_route_page);
        }),
    );
}

/// The keys' values one after the other, each after its key's name.
fn commands(values: &[(String, Vec<u8>)]) -> String {
    let texts = values.iter().map(|(key, value)| {
        let value = String::from_utf8_lossy(value);
        format!("# --- {key}\n{}\n", value.trim())
    });
    texts.collect()
}

impl Follower {
    async fn follow_checks(&self) {
        let path = "/v1/health/state/any";
        let mut index = 0;
        let mut patience = Patience::new(self.retry);
        loop {
            let asked = self.news(CHECKS, path, &mut index, &mut patience).await;
            let Some(answer) = asked else { continue };
            match answer.good(path).and_then(|answer| answer.read(path)) {
                Ok(checks) => {
                    patience.went_well(CHECKS, self.consul.address());
                    self.known.borrow_mut().checks = Some(checks);
                    self.publish();
                }
                Err(why) => {
                    index = 0;
                    patience.after(CHECKS, self.consul.address(), &why).await;
                }
            }
        }
    }

    async fn follow_services(&self) {
        let path = "/v1/catalog/services";
        let mut index = 0;
        let mut patience = Patience::new(self.retry);
        loop {
            let asked = self.news(SERVICES, path, &mut index, &mut patience).await;
            let Some(answer) = asked else { continue };
            let offers = match answer.good(path) {
                Ok(answer) => self.offers(&answer).await,
                Err(why) => Err(why),
            };
            match offers {
                Ok(offers) => {
                    patience.went_well(SERVICES, self.consul.address());
                    self.known.borrow_mut().offers = Some(offers);
                    self.publish();
                }
                Err(why) => {
                    // What changed meanwhile isn't missed.
                    index = 0;
                    patience.after(SERVICES, self.consul.address(), &why).await;
                }
            }
        }
    }

    /// The instances of all services that have a tag with our prefix.
    async fn offers(&self, services: &Answer) -> Result<Vec<Offer>, String> {
        let services: BTreeMap<String, Option<Vec<String>>> = services.read("services")?;
        if self.known.borrow().datacenter.is_empty() {
            let datacenter = self.datacenter().await?;
            self.known.borrow_mut().datacenter = datacenter;
        }
        let mut offers = Vec::new();
        for (name, tags) in services {
            let routed = |tag: &String| tag.starts_with(&self.tag_prefix);
            if tags.unwrap_or_default().iter().any(routed) {
                let path = format!("/v1/catalog/service/{}", percent::segment(&name));
                let rows: Vec<Offer> = self.consul.get(&path).await?.read(&path)?;
                offers.extend(rows);
            }
        }
        Ok(offers)
    }

    async fn datacenter(&self) -> Result<String, String> {
        let path = "/v1/agent/self";
        let about: Value = self.consul.get(path).await?.read(path)?;
        let name = about["Config"]["Datacenter"].as_str();
        Ok(name.unwrap_or("dc1").to_owned())
    }

    fn publish(&self) {
        if let Some(view) = self.known.borrow().view() {
            self.catalog.send_replace(Arc::new(view));
        }
    }

    async fn follow_keys(
        &self,
        what: &str,
        path: &str,
        mut take: impl FnMut(&mut Overrides, &[(String, Vec<u8>)]),
    ) {
        let mut index = 0;
        let mut patience = Patience::new(self.retry);
        loop {
            let asked = self.news(what, path, &mut index, &mut patience).await;
            let Some(answer) = asked else { continue };
            match answer.values(path) {
                Ok(values) => {
                    patience.went_well(what, self.consul.address());
                    let mut overrides = self.overrides.borrow().clone();
                    take(&mut overrides, &values);
                    if *self.overrides.borrow() != overrides {
                        self.overrides.replace(overrides.clone());
                        self.published.send_replace(Arc::new(overrides));
                    }
                }
                Err(why) => {
                    index = 0;
                    patience.after(what, self.consul.address(), &why).await;
                }
            }
        }
    }

    /// An answer that may tell something new; none after a failure, or if nothing has changed.
    async fn news(
        &self,
        what: &str,
        path: &str,
        index: &mut u64,
        patience: &mut Patience,
    ) -> Option<Answer> {
        let began = self.clock.monotonic();
        match self.consul.changed(path, *index).await {
            Ok(answer) => {
                let before = *index;
                // One that goes back began anew; then everything has to be read again.
                let back = answer.index < before;
                *index = if back { 0 } else { answer.index };
                let took = self.clock.monotonic().saturating_sub(began);
                if (answer.index == before || answer.index == 0) && took < ASK_AGAIN {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                (answer.index != before || before == 0).then_some(answer)
            }
            Err(why) => {
                patience.after(what, self.consul.address(), &why).await;
                // Whoever answers next may count otherwise.
                *index = 0;
                None
            }
        }
    }
}

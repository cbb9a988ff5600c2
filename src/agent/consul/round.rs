//! One look at the Consul, and the changes after which it has what is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use logic::beside::{self, Found, FoundCheck, Registration, Step, Wish};
use logic::percent;
use serde_json::Value;

use super::client::{Consul, ConsulError};
use super::form;
use crate::planted::{self, Planted};

/// What one round goes by.
pub(super) struct Round {
    pub(super) consul: Consul,
    pub(super) wanted: Arc<BTreeMap<String, Registration>>,
    pub(super) taken: BTreeMap<String, Registration>,
    pub(super) gone: BTreeSet<String>,
    pub(super) mark: Arc<str>,
    pub(super) complete: bool,
    /// Last words of each check.
    pub(super) known: BTreeMap<String, String>,
    /// Not tried again yet.
    pub(super) refused: BTreeSet<String>,
    /// Look at everything, not only at what checks say.
    pub(super) whole: bool,
    /// Ask the Consul about itself, too.
    pub(super) introduce: bool,
}

/// What came of it, as far as it went.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) away: Option<String>,
    pub(super) checks: BTreeMap<String, FoundCheck>,
    pub(super) taken: BTreeMap<String, Registration>,
    /// What the Consul doesn't take, and why.
    pub(super) refused: BTreeMap<String, String>,
    pub(super) attributes: Option<BTreeMap<String, String>>,
    /// Everything was looked at.
    pub(super) whole: bool,
}

pub(super) async fn run(round: Round) -> Outcome {
    let mut outcome = Outcome {
        taken: round.taken.clone(),
        ..Outcome::default()
    };
    if let Err(error) = go(&round, &mut outcome).await {
        outcome.away = Some(error.to_string());
    }
    outcome
}

async fn go(round: &Round, outcome: &mut Outcome) -> Result<(), ConsulError> {
    if round.introduce {
        let own = round.consul.get("/v1/agent/self").await;
        // A token may not be allowed to read it.
        let own = heeded(own)?.unwrap_or_default();
        outcome.attributes = Some(form::attributes(&own));
    }
    let checks = form::checks(&round.consul.get("/v1/agent/checks").await?);
    outcome.checks.clone_from(&checks);
    let mut found = Found {
        checks,
        services: BTreeMap::new(),
    };
    let lost = || {
        let mut taken = round.taken.values();
        taken.any(|registration| beside::lacks_check(&found, registration))
    };
    if !round.whole && !lost() {
        return Ok(());
    }
    found.services = form::services(&round.consul.get("/v1/agent/services").await?);
    if planted::is(Planted::OthersServicesRemoved) {
        for service in found.services.values_mut() {
            let mark = (beside::MARK.to_owned(), round.mark.to_string());
            service.meta.extend([mark]);
        }
    }
    outcome.whole = true;
    let wish = Wish {
        wanted: &round.wanted,
        taken: &round.taken,
        gone: &round.gone,
        mark: &round.mark,
        complete: round.complete,
    };
    for step in beside::steps(wish, &found) {
        perform(round, &step, outcome).await?;
    }
    Ok(())
}

async fn perform(round: &Round, step: &Step, outcome: &mut Outcome) -> Result<(), ConsulError> {
    let consul = &round.consul;
    let (id, done) = match step {
        Step::Deregister(id) => {
            let path = format!("/v1/agent/service/deregister/{}", percent::segment(id));
            let done = consul.put(&path, None).await;
            outcome.taken.remove(id);
            (id, done)
        }
        Step::DeregisterCheck(id) => {
            let path = format!("/v1/agent/check/deregister/{}", percent::segment(id));
            (id, consul.put(&path, None).await)
        }
        Step::Register(id) => {
            let Some(service) = round.wanted.get(id).filter(|_| !round.refused.contains(id)) else {
                return Ok(());
            };
            let body = form::registration(service, &round.known);
            let done = consul.put("/v1/agent/service/register", Some(&body)).await;
            if done.is_ok() {
                outcome.taken.insert(id.clone(), service.clone());
                tracing::debug!(service = service.name, id, "registered in the Consul");
            }
            (id, done)
        }
    };
    match done {
        Ok(()) => Ok(()),
        Err(error @ ConsulError::Away(_)) => Err(error),
        Err(error @ ConsulError::Refused { .. }) => {
            outcome.refused.insert(id.clone(), error.to_string());
            Ok(())
        }
    }
}

/// An answer; `None` where the Consul refuses it.
fn heeded(answer: Result<Value, ConsulError>) -> Result<Option<Value>, ConsulError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(ConsulError::Refused { .. }) => Ok(None),
        Err(error @ ConsulError::Away(_)) => Err(error),
    }
}

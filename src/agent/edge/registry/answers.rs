//! A Consul's answers about services and checks, as the catalog's rows.

use std::collections::BTreeMap;

use logic::catalog::{Contents, View};
use logic::model::{CatalogNode, Check, ServiceInstance};
use serde::Deserialize;

/// A row of `/v1/catalog/service/NAME`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
pub(super) struct Offer {
    pub(super) node: String,
    pub(super) address: String,
    #[serde(rename = "ServiceID")]
    pub(super) service_id: String,
    pub(super) service_name: String,
    pub(super) service_address: String,
    pub(super) service_port: u16,
    pub(super) service_tags: Option<Vec<String>>,
}

/// A row of `/v1/health/state/any`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct State {
    pub(super) node: String,
    #[serde(rename = "CheckID")]
    pub(super) check_id: String,
    pub(super) status: String,
    #[serde(rename = "ServiceID")]
    pub(super) service_id: String,
}

/// What is known so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) datacenter: String,
    pub(super) checks: Option<Vec<State>>,
    pub(super) offers: Option<Vec<Offer>>,
}

impl Known {
    /// The catalog, once both halves of it are known.
    pub(super) fn view(&self) -> Option<View> {
        let (checks, offers) = (self.checks.as_ref()?, self.offers.as_ref()?);
        let mut nodes = BTreeMap::new();
        for offer in offers {
            nodes.entry(&offer.node).or_insert_with(|| CatalogNode {
                node: offer.node.clone(),
                address: offer.address.clone(),
                ..CatalogNode::default()
            });
        }
        let services = offers.iter().map(|offer| ServiceInstance {
            node: offer.node.clone(),
            id: offer.service_id.clone(),
            service: offer.service_name.clone(),
            address: offer.service_address.clone(),
            port: offer.service_port,
            tags: offer.service_tags.clone().unwrap_or_default(),
            ..ServiceInstance::default()
        });
        let checks = checks.iter().map(|state| Check {
            node: state.node.clone(),
            check_id: state.check_id.clone(),
            service_id: state.service_id.clone(),
            status: state.status.clone(),
            ..Check::default()
        });
        Some(View::new(Contents {
            datacenter: self.datacenter.clone(),
            services: services.collect(),
            checks: checks.collect(),
            nodes: nodes.into_values().collect(),
            ..Contents::default()
        }))
    }
}

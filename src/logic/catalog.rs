//! The catalog as readers see it: who offers a service, and is it healthy?
//!
//! A [`View`] is what DNS and the edge answer from. Every agent holds one; it is replaced whole
//! when the catalog changes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::{CHECK_CRITICAL, CHECK_PASSING, CatalogNode, Check, ServiceInstance};

/// The catalog's rows as they travel from servers to agents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The state this was read from.
    pub index: u64,
    pub datacenter: String,
    pub nodes: Vec<CatalogNode>,
    pub services: Vec<ServiceInstance>,
    pub checks: Vec<Check>,
}

/// One instance with its node and every check that concerns it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    pub node: CatalogNode,
    pub service: ServiceInstance,
    /// The node's own checks first, then the service's.
    pub checks: Vec<Check>,
}

impl Instance {
    /// The worst of its checks; passing if it has none.
    pub fn status(&self) -> &str {
        let rank = |check: &&Check| match check.status.as_str() {
            CHECK_PASSING => 0,
            CHECK_CRITICAL => 2,
            _ => 1,
        };
        self.checks
            .iter()
            .max_by_key(rank)
            .map_or(CHECK_PASSING, |check| check.status.as_str())
    }

    pub fn passing(&self) -> bool {
        self.status() == CHECK_PASSING
    }

    /// Whether the service has a check of its own (the edge ignores one that hasn't).
    pub fn checked(&self) -> bool {
        self.checks.iter().any(|check| !check.service_id.is_empty())
    }

    /// The address to connect to: the service's own, or its node's.
    pub fn address(&self) -> &str {
        if self.service.address.is_empty() {
            &self.node.address
        } else {
            &self.service.address
        }
    }
}

/// The whole catalog, joined: ready to be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    pub index: u64,
    pub datacenter: String,
    /// By node name.
    pub nodes: BTreeMap<String, CatalogNode>,
    /// By service name; instances ordered by node, then service id.
    pub services: BTreeMap<String, Vec<Instance>>,
}

impl View {
    pub fn new(contents: Contents) -> Self {
        let nodes: BTreeMap<String, CatalogNode> = contents
            .nodes
            .into_iter()
            .map(|node| (node.node.clone(), node))
            .collect();
        let mut checks: BTreeMap<(String, String), Vec<Check>> = BTreeMap::new();
        for check in contents.checks {
            checks
                .entry((check.node.clone(), check.service_id.clone()))
                .or_default()
                .push(check);
        }
        let mut services: BTreeMap<String, Vec<Instance>> = BTreeMap::new();
        for service in contents.services {
            let Some(node) = nodes.get(&service.node).cloned() else {
                continue;
            };
            let of = |id: &str| checks.get(&(service.node.clone(), id.to_owned()));
            let checks = of("")
                .into_iter()
                .chain(of(&service.id))
                .flatten()
                .cloned()
                .collect::<Vec<_>>();
            services
                .entry(service.service.clone())
                .or_default()
                .push(Instance {
                    node,
                    service,
                    checks,
                });
        }
        for instances in services.values_mut() {
            instances
                .sort_by(|a, b| (&a.node.node, &a.service.id).cmp(&(&b.node.node, &b.service.id)));
        }
        Self {
            index: contents.index,
            datacenter: contents.datacenter,
            nodes,
            services,
        }
    }

    /// All instances of a service, healthy or not.
    pub fn instances(&self, service: &str) -> &[Instance] {
        self.services.get(service).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::CHECK_WARNING;

    fn check(service_id: &str, status: &str) -> Check {
        Check {
            node: "n1".into(),
            check_id: format!("c-{service_id}"),
            service_id: service_id.into(),
            status: status.into(),
            ..Check::default()
        }
    }

    fn view(node_status: &str, service_status: &str) -> View {
        View::new(Contents {
            nodes: vec![CatalogNode {
                node: "n1".into(),
                address: "10.0.0.1".into(),
                ..Default::default()
            }],
            services: vec![ServiceInstance {
                node: "n1".into(),
                id: "web-1".into(),
                service: "web".into(),
                ..Default::default()
            }],
            checks: vec![check("", node_status), check("web-1", service_status)],
            ..Contents::default()
        })
    }

    #[test]
    fn an_instance_is_as_healthy_as_its_worst_check() {
        for (node, service, status) in [
            (CHECK_PASSING, CHECK_PASSING, CHECK_PASSING),
            (CHECK_CRITICAL, CHECK_PASSING, CHECK_CRITICAL),
            (CHECK_PASSING, CHECK_WARNING, CHECK_WARNING),
            (CHECK_WARNING, CHECK_CRITICAL, CHECK_CRITICAL),
        ] {
            assert_eq!(view(node, service).instances("web")[0].status(), status);
        }
    }

    #[test]
    fn a_service_without_an_address_is_at_its_node() {
        assert_eq!(
            view(CHECK_PASSING, CHECK_PASSING).instances("web")[0].address(),
            "10.0.0.1"
        );
    }
}

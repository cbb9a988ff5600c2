//! The catalog's rows: nodes, service instances and checks.

use std::sync::Arc;

use super::{Applying, Store, Topic};
use crate::catalog::Contents;
use crate::model::{
    Allocation, CHECK_CRITICAL, CHECK_PASSING, CatalogChange, CatalogNode, Check, SERF_HEALTH,
    ServiceInstance,
};

/// What the check of a node says that other agents can't reach, though its lease isn't over.
const UNREACHABLE: &str = "Agent doesn't answer other agents";

impl Store {
    pub(super) fn register_catalog_node(&mut self, mut node: CatalogNode, now: &mut Applying) {
        let old = self.catalog_nodes.get(&node.node);
        node.create_index = old.map_or(now.index, |old| old.create_index);
        node.modify_index = old.map_or(now.index, |old| old.modify_index);
        if old.is_some_and(|old| **old == node) {
            return;
        }
        node.modify_index = now.index;
        let name = node.node.clone();
        self.catalog_nodes.insert(name.clone(), node);
        self.touch(Topic::Catalog, now);
        if !self
            .checks
            .contains(&(name.clone(), SERF_HEALTH.to_owned()))
        {
            self.set_serf_health(&name, true, now);
        }
    }

    /// Sets the check that tells whether a node's agent is alive.
    pub(super) fn set_serf_health(&mut self, node: &str, alive: bool, now: &mut Applying) {
        if !self.catalog_nodes.contains(node) {
            return;
        }
        if alive {
            self.put_serf_health(node, CHECK_PASSING, "Agent alive and reachable", now);
        } else {
            self.put_serf_health(node, CHECK_CRITICAL, "Agent not live or unreachable", now);
        }
    }

    /// Takes back only what it said itself: a node that was down has to say what it offers first.
    pub(super) fn set_reachable(&mut self, node: &str, reachable: bool, now: &mut Applying) {
        let key = (node.to_owned(), SERF_HEALTH.to_owned());
        let Some(check) = self.checks.get(&key) else {
            return;
        };
        if reachable && check.output == UNREACHABLE {
            self.set_serf_health(node, true, now);
        } else if !reachable && check.status == CHECK_PASSING {
            self.put_serf_health(node, CHECK_CRITICAL, UNREACHABLE, now);
        }
    }

    fn put_serf_health(&mut self, node: &str, status: &str, output: &str, now: &mut Applying) {
        self.put_check(
            Check {
                node: node.to_owned(),
                check_id: SERF_HEALTH.to_owned(),
                name: "Serf Health Status".to_owned(),
                status: status.to_owned(),
                output: output.to_owned(),
                ..Check::default()
            },
            now,
        );
    }

    pub(super) fn change_catalog(&mut self, change: CatalogChange, now: &mut Applying) {
        let node = change.node;
        if change.whole {
            self.keep_only(&node, &change.services, &change.checks, now);
            if !self.counts_as_down(&node) {
                self.set_serf_health(&node, true, now);
            }
        }
        for id in change.remove_services {
            self.remove_service(&node, &id, now);
        }
        // Whether the agent is alive isn't its own to say.
        for id in change
            .remove_checks
            .into_iter()
            .filter(|id| id != SERF_HEALTH)
        {
            self.remove_check(&node, &id, now);
        }
        for service in change.services {
            self.put_service(
                ServiceInstance {
                    node: node.clone(),
                    ..service
                },
                now,
            );
        }
        for check in change.checks {
            let service = (node.clone(), check.service_id.clone());
            let of_a_service = !check.service_id.is_empty();
            if check.check_id == SERF_HEALTH || of_a_service && !self.services.contains(&service) {
                continue;
            }
            self.put_check(
                Check {
                    node: node.clone(),
                    ..check
                },
                now,
            );
        }
    }

    /// Whether the node of this name is one that runs allocations, and is down.
    fn counts_as_down(&self, name: &str) -> bool {
        let row = self
            .catalog_nodes
            .get(name)
            .and_then(|row| self.nodes.get(&row.id));
        row.is_some_and(|node| node.away())
    }

    fn keep_only(
        &mut self,
        node: &str,
        services: &[ServiceInstance],
        checks: &[Check],
        now: &mut Applying,
    ) {
        let gone: Vec<String> = self
            .services_on(node)
            .filter(|row| !services.iter().any(|service| service.id == row.id))
            .map(|row| row.id.clone())
            .collect();
        for id in gone {
            self.remove_service(node, &id, now);
        }
        let gone: Vec<String> = self
            .checks_on(node)
            .filter(|row| row.check_id != SERF_HEALTH)
            .filter(|row| !checks.iter().any(|check| check.check_id == row.check_id))
            .map(|row| row.check_id.clone())
            .collect();
        for id in gone {
            self.remove_check(node, &id, now);
        }
    }

    pub(super) fn put_service(&mut self, mut service: ServiceInstance, now: &mut Applying) {
        let key = (service.node.clone(), service.id.clone());
        let old = self.services.get(&key);
        service.create_index = old.map_or(now.index, |old| old.create_index);
        service.modify_index = old.map_or(now.index, |old| old.modify_index);
        if old.is_some_and(|old| **old == service) {
            return;
        }
        service.modify_index = now.index;
        self.services.insert(key, service);
        self.touch(Topic::Catalog, now);
    }

    pub(super) fn put_check(&mut self, mut check: Check, now: &mut Applying) {
        let key = (check.node.clone(), check.check_id.clone());
        let old = self.checks.get(&key);
        check.create_index = old.map_or(now.index, |old| old.create_index);
        check.modify_index = old.map_or(now.index, |old| old.modify_index);
        if old.is_some_and(|old| **old == check) {
            return;
        }
        check.modify_index = now.index;
        let failed = check.status == CHECK_CRITICAL;
        self.checks.insert(key.clone(), check);
        self.touch(Topic::Catalog, now);
        if failed {
            self.end_sessions_of_check(&key.0, &key.1, now);
        }
    }

    pub(super) fn remove_check(&mut self, node: &str, id: &str, now: &mut Applying) {
        if self.checks.remove(&(node.to_owned(), id.to_owned())) {
            self.touch(Topic::Catalog, now);
            self.end_sessions_of_check(node, id, now);
        }
    }

    pub(super) fn remove_service(&mut self, node: &str, id: &str, now: &mut Applying) {
        if self.services.remove(&(node.to_owned(), id.to_owned())) {
            self.touch(Topic::Catalog, now);
        }
        let checks: Vec<String> = self
            .checks_on(node)
            .filter(|check| check.service_id == id)
            .map(|check| check.check_id.clone())
            .collect();
        for check_id in checks {
            self.remove_check(node, &check_id, now);
        }
    }

    pub(super) fn forget_catalog_node(&mut self, node: &str, now: &mut Applying) {
        let services: Vec<String> = self.services_on(node).map(|row| row.id.clone()).collect();
        for id in services {
            self.remove_service(node, &id, now);
        }
        let checks: Vec<String> = self
            .checks_on(node)
            .map(|row| row.check_id.clone())
            .collect();
        for id in checks {
            self.remove_check(node, &id, now);
        }
        self.catalog_said.remove(node);
        self.end_sessions_of_node(node, now);
        if self.catalog_nodes.remove(node) {
            self.touch(Topic::Catalog, now);
        }
    }

    pub fn catalog_nodes(&self) -> impl Iterator<Item = &Arc<CatalogNode>> {
        self.catalog_nodes.values()
    }

    pub fn services(&self) -> impl Iterator<Item = &Arc<ServiceInstance>> {
        self.services.values()
    }

    pub fn checks(&self) -> impl Iterator<Item = &Arc<Check>> {
        self.checks.values()
    }

    pub fn services_on(&self, node: &str) -> impl Iterator<Item = &Arc<ServiceInstance>> {
        let owned = node.to_owned();
        self.services
            .range((owned.clone(), String::new())..)
            .take_while(move |((row, _), _)| *row == owned)
            .map(|(_, service)| service)
    }

    pub fn services_of(&self, alloc: &Allocation) -> impl Iterator<Item = &Arc<ServiceInstance>> {
        let id = alloc.id.clone();
        let all = self.services_on(&alloc.node_name);
        all.filter(move |service| service.alloc_id == id)
    }

    pub fn checks_on(&self, node: &str) -> impl Iterator<Item = &Arc<Check>> {
        let owned = node.to_owned();
        self.checks
            .range((owned.clone(), String::new())..)
            .take_while(move |((row, _), _)| *row == owned)
            .map(|(_, check)| check)
    }

    /// The catalog as it travels to agents.
    pub fn catalog(&self, datacenter: &str) -> Contents {
        Contents {
            index: self.index_of(Topic::Catalog),
            datacenter: datacenter.to_owned(),
            nodes: self.catalog_nodes().map(|row| (**row).clone()).collect(),
            services: self.services().map(|row| (**row).clone()).collect(),
            checks: self.checks().map(|row| (**row).clone()).collect(),
        }
    }
}

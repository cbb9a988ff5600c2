//! The catalog as others than agents write it: machines that run no agent, by their own watchers.
//! What an agent says of its node comes first: it is put right by the agent within a minute.

use super::{Applying, Refusal, Reply, Store, Topic};
use crate::model::{CatalogNode, External, SERF_HEALTH, Withdrawal};

impl Store {
    /// Whether a catalog node has an agent.
    pub fn has_agent(&self, node: &str) -> bool {
        self.checks
            .contains(&(node.to_owned(), SERF_HEALTH.to_owned()))
    }

    pub(super) fn register_external(
        &mut self,
        external: External,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let name = external.node.node.clone();
        let there = self.catalog_nodes.contains(&name);
        let twin = self.catalog_nodes().find(|row| {
            !external.node.id.is_empty() && row.id == external.node.id && row.node != name
        });
        if let Some(twin) = twin {
            let text = format!("node ID {} is that of node {}", twin.id, twin.node);
            return Err(Refusal::CatalogCannotBe(text));
        }
        if !there && external.node.address.is_empty() {
            let text = format!("Must provide an address: there is no node {name} yet");
            return Err(Refusal::CatalogCannotBe(text));
        }
        let service_id = external.service.as_ref().map(|service| service.id.clone());
        for check in &external.checks {
            let own = service_id.as_ref() == Some(&check.service_id);
            let service = (name.clone(), check.service_id.clone());
            if !check.service_id.is_empty() && !own && !self.services.contains(&service) {
                let text = format!("there is no service {} on {name}", check.service_id);
                return Err(Refusal::CatalogCannotBe(text));
            }
            if check.check_id == SERF_HEALTH && self.has_agent(&name) {
                let text = format!("{name} has an agent: {SERF_HEALTH} isn't for others to say");
                return Err(Refusal::CatalogCannotBe(text));
            }
        }
        if !there || !external.keep_node && !self.has_agent(&name) {
            self.put_external_node(external.node, now);
        }
        if let Some(mut service) = external.service {
            service.node.clone_from(&name);
            self.put_service(service, now);
        }
        for mut check in external.checks {
            check.node.clone_from(&name);
            let service = self.services.get(&(name.clone(), check.service_id.clone()));
            if let Some(service) = service {
                check.service_name.clone_from(&service.service);
                check.service_tags.clone_from(&service.tags);
            }
            self.put_check(check, now);
        }
        Ok(Reply::Done)
    }

    /// What isn't said of a node that is there stays as it is.
    fn put_external_node(&mut self, mut node: CatalogNode, now: &mut Applying) {
        let old = self.catalog_nodes.get(&node.node);
        node.create_index = old.map_or(now.index, |old| old.create_index);
        node.modify_index = old.map_or(now.index, |old| old.modify_index);
        if let Some(old) = old {
            if node.address.is_empty() {
                node.address.clone_from(&old.address);
            }
            if node.id.is_empty() {
                node.id.clone_from(&old.id);
            }
            if **old == node {
                return;
            }
        }
        node.modify_index = now.index;
        self.catalog_nodes.insert(node.node.clone(), node);
        self.touch(Topic::Catalog, now);
    }

    /// Taking out what isn't there is fine.
    pub(super) fn withdraw_external(
        &mut self,
        gone: &Withdrawal,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let node = &gone.node;
        if !gone.service_id.is_empty() {
            self.remove_service(node, &gone.service_id, now);
        } else if gone.check_id == SERF_HEALTH || gone.check_id.is_empty() && self.has_agent(node) {
            let text = format!("{node} has an agent: let it leave, or force-leave it");
            return Err(Refusal::CatalogCannotBe(text));
        } else if gone.check_id.is_empty() {
            self.forget_catalog_node(node, now);
        } else {
            self.remove_check(node, &gone.check_id, now);
        }
        Ok(Reply::Done)
    }

    /// An agent that runs no allocations has left for good.
    pub(super) fn forget_left_node(&mut self, name: &str, now: &mut Applying) {
        let runs_allocations = self
            .catalog_nodes
            .get(name)
            .is_some_and(|row| self.nodes.contains(&row.id));
        if !runs_allocations {
            self.forget_catalog_node(name, now);
        }
    }
}

#[cfg(test)]
mod tests;

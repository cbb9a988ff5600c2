//! What a task asks of its driver and of the catalog.

use std::collections::BTreeMap;

use logic::lifecycle::environment;
use logic::lifecycle::services::{self, Offer};
use ports::{PortMapping, TaskSpec};

use super::Task;

impl Task {
    pub(super) fn offers(&self) -> Vec<Offer> {
        let env = environment::variables(&self.alloc, &self.asked, &self.here.node);
        let mut offers = services::offers(&self.alloc, Some(&self.asked), &self.here.node, &env);
        // The group's own services are up when its first task is.
        let first = self.alloc.group().and_then(|group| group.tasks.first());
        if first.is_some_and(|first| first.name == self.asked.name) {
            offers.extend(services::offers(&self.alloc, None, &self.here.node, &env));
        }
        offers
    }

    pub(super) fn spec(&self) -> TaskSpec {
        let env = environment::variables(&self.alloc, &self.asked, &self.here.node);
        let resources = self.alloc.task_resources.get(&self.asked.name);
        let resources = resources.unwrap_or(&self.asked.resources);
        let config = self
            .asked
            .config
            .iter()
            .map(|(key, value)| {
                (
                    key.clone(),
                    environment::interpolate_value(value, &env, &self.here.node),
                )
            })
            .collect();
        TaskSpec {
            key: self.key(),
            driver: self.asked.driver.clone(),
            config,
            user: self.asked.user.clone(),
            cpu: resources.cpu,
            memory_mb: resources.memory_mb,
            ports: self.port_mappings(),
            logs: self.asked.log_config.clone(),
            labels: BTreeMap::from([
                ("com.drover.job".to_owned(), self.alloc.job_id.clone()),
                ("com.drover.alloc_name".to_owned(), self.alloc.name.clone()),
                ("com.drover.node_id".to_owned(), self.here.node.id.clone()),
            ]),
            kill_signal: self.asked.kill_signal.clone(),
            env,
        }
    }

    fn port_mappings(&self) -> Vec<PortMapping> {
        self.alloc
            .ports()
            .filter(|(owner, _)| owner.is_empty() || *owner == self.asked.name)
            .map(|(_, assigned)| {
                let label = &assigned.label;
                let given = environment::port(&self.alloc, &self.asked.name, label);
                let inside = environment::container_port(&self.alloc, &self.asked, label);
                PortMapping {
                    label: label.clone(),
                    host_ip: given.map_or_else(|| self.here.node.address.clone(), |(ip, _, _)| ip),
                    host_port: assigned.value,
                    container_port: inside.unwrap_or(assigned.value),
                }
            })
            .collect()
    }
}

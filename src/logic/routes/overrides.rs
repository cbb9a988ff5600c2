//! What an operator's route commands do to a table.

use super::command::{self, BadLine, Command};
use super::{Route, Table, Target, comparable};

impl Table {
    /// Obeys the commands in their order; what can't be is remembered.
    pub(super) fn obey(&mut self, commands: &str, datacenter: &str) {
        let (commands_read, bad) = command::read_all(commands, datacenter);
        self.bad_lines = bad;
        for (number, command) in commands_read {
            if let Err(reason) = self.obey_one(command) {
                let line = commands.lines().nth(number - 1).unwrap_or_default();
                self.bad_lines.push(BadLine {
                    number,
                    line: line.trim().to_owned(),
                    reason,
                });
            }
        }
        self.bad_lines.sort();
    }

    fn obey_one(&mut self, command: Command) -> Result<(), String> {
        match command {
            Command::Add { host, path, target } => self.put(&host, &path, *target),
            Command::Delete {
                service,
                source,
                destination,
                tags,
            } => {
                self.delete(source.as_ref(), |target| {
                    service.as_ref().is_none_or(|name| *name == target.service)
                        && destination
                            .as_ref()
                            .is_none_or(|to| same_place(to, &target.destination))
                        && tags.iter().all(|tag| target.tags.contains(tag))
                });
            }
            Command::Weigh {
                service,
                source,
                weight,
                tags,
            } => {
                return self.set_weight(&source, weight, |target| {
                    service.as_ref().is_none_or(|name| *name == target.service)
                        && tags.iter().all(|tag| target.tags.contains(tag))
                });
            }
        }
        Ok(())
    }

    /// Adds a target, or replaces it if the service has it already.
    fn put(&mut self, host: &str, path: &str, target: Target) {
        let routes = self.hosts.get_mut(comparable(host));
        let mut routes = routes.into_iter().flatten();
        if let Some(route) = routes.find(|route| route.path == path) {
            let same = |known: &&mut Target| {
                known.service == target.service && known.destination == target.destination
            };
            if let Some(known) = route.targets.iter_mut().find(same) {
                *known = target;
                return;
            }
        }
        self.add(host, path, target);
    }

    fn delete(&mut self, source: Option<&(String, String)>, meant: impl Fn(&Target) -> bool) {
        for (host, routes) in &mut self.hosts {
            for route in routes.iter_mut() {
                if source.is_none_or(|source| is_source(source, host, route)) {
                    route.targets.retain(|target| !meant(target));
                }
            }
            routes.retain(|route| !route.targets.is_empty());
        }
        self.hosts.retain(|_, routes| !routes.is_empty());
    }

    /// All that are meant share the weight.
    fn set_weight(
        &mut self,
        source: &(String, String),
        weight: f64,
        meant: impl Fn(&Target) -> bool,
    ) -> Result<(), String> {
        let routes = self.hosts.get_mut(comparable(&source.0));
        let mut routes = routes.into_iter().flatten();
        let route = routes.find(|route| route.path == source.1);
        let targets = route.map_or(&mut [][..], |route| &mut route.targets);
        let meant: Vec<&mut Target> = targets.iter_mut().filter(|target| meant(target)).collect();
        if meant.is_empty() {
            return Err("no target of a route is meant".to_owned());
        }
        let share = weight / f64::from(u32::try_from(meant.len()).unwrap_or(u32::MAX));
        for target in meant {
            target.fixed_weight = (share > 0.0).then_some(share);
        }
        Ok(())
    }
}

fn is_source(source: &(String, String), host: &str, route: &Route) -> bool {
    comparable(&source.0) == host && route.path == source.1
}

/// A slash at the end makes no difference.
fn same_place(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

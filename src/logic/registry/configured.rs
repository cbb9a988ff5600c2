//! Registrations of the configuration, read again while the agent runs.

use std::time::Duration;

use super::Registry;
use crate::model::Registrations;

impl Registry {
    /// The configuration says something else now. What it doesn't say any more goes; what it says
    /// as before stays as it is, and what it says anew takes the place of what was there. Checks
    /// that are known keep what they said last.
    pub fn reconfigure(&mut self, wanted: Registrations, now: Duration) {
        let before = std::mem::replace(&mut self.configured, wanted.clone());
        for id in before.services.keys() {
            if !wanted.services.contains_key(id) {
                // A service may be gone already.
                self.deregister_service(id).ok();
            }
        }
        for id in before.checks.keys() {
            if !wanted.checks.contains_key(id) {
                self.forget_check(id);
            }
        }
        for (id, service) in wanted.services {
            if before.services.get(&id) != Some(&service) {
                self.held.services.insert(id, service);
            }
        }
        for (id, mut check) in wanted.checks {
            if before.checks.get(&id) == Some(&check) {
                continue;
            }
            if self.held.checks.contains_key(&id) {
                check.status.clear();
            }
            self.put_check(check, now);
        }
    }
}

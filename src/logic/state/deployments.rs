//! Deployments: how they begin, what counts as progress, and how they end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Applying, Store, Topic, of};
use crate::model::{
    AllocDeploymentStatus, Allocation, DEPLOYMENT_CANCELLED, DEPLOYMENT_FAILED,
    DEPLOYMENT_SUCCESSFUL, Deployment, DeploymentUpdate, HealthReport, Job,
    TRIGGER_DEPLOYMENT_WATCHER, described,
};
use crate::time::Time;

impl Store {
    pub fn deployment(&self, id: &str) -> Option<&Arc<Deployment>> {
        self.deployments.get(id)
    }

    pub fn deployments(&self) -> impl Iterator<Item = &Arc<Deployment>> {
        self.deployments.values()
    }

    /// Newest first.
    pub fn deployments_of_job(&self, job_id: &str) -> Vec<&Arc<Deployment>> {
        let ids = of(&self.deployments_by_job, job_id);
        let mut found: Vec<_> = ids.filter_map(|id| self.deployments.get(id)).collect();
        found.sort_by_key(|deployment| std::cmp::Reverse(deployment.create_index));
        found
    }

    /// The rollout of this very version of a job.
    pub fn deployment_of(&self, job: &Job) -> Option<&Arc<Deployment>> {
        let mut found = self.deployments_of_job(&job.id).into_iter();
        found.find(|deployment| deployment.is_of(job))
    }

    /// The next time at which some deployment has to have made progress, and its id.
    pub fn progress_due(&self) -> Option<(Time, &str)> {
        let due = |deployment: &Arc<Deployment>| deployment.progress_due();
        let all = self.deployments.values();
        all.filter_map(|row| Some((due(row)?, row.id.as_str())))
            .min()
    }

    pub(super) fn put_deployment(&mut self, mut deployment: Deployment, now: &Applying) {
        if self.deployments.contains(&deployment.id) {
            deployment.modify_index = now.index;
        } else {
            deployment.create_index = now.index;
            deployment.create_time = now.at.0;
            deployment.modify_index = now.index;
        }
        deployment.modify_time = now.at.0;
        self.deployments_by_job
            .insert((deployment.job_id.clone(), deployment.id.clone()), ());
        self.deployments.insert(deployment.id.clone(), deployment);
        self.touch(Topic::Deployments, now);
    }

    pub(super) fn forget_deployment(&mut self, id: &str, now: &Applying) {
        if let Some(gone) = self.deployments.get(id).cloned() {
            self.deployments_by_job
                .remove(&(gone.job_id.clone(), gone.id.clone()));
            self.deployments.remove(id);
            self.touch(Topic::Deployments, now);
        }
    }

    pub(super) fn forget_deployments_of(&mut self, job_id: &str, now: &Applying) {
        let ids: Vec<String> = of(&self.deployments_by_job, job_id).cloned().collect();
        for id in ids {
            self.forget_deployment(&id, now);
        }
    }

    /// What rolled out so far isn't wanted any more.
    pub(super) fn cancel_deployments(&mut self, job_id: &str, why: &str, now: &Applying) {
        let active: Vec<Deployment> = self
            .deployments_of_job(job_id)
            .into_iter()
            .filter(|deployment| deployment.active())
            .map(|deployment| (**deployment).clone())
            .collect();
        for mut deployment in active {
            DEPLOYMENT_CANCELLED.clone_into(&mut deployment.status);
            why.clone_into(&mut deployment.status_description);
            self.put_deployment(deployment, now);
        }
    }

    /// Takes up what a plan says of deployments.
    pub(super) fn roll_out(
        &mut self,
        planned: Option<Deployment>,
        ends: Vec<DeploymentUpdate>,
        now: &Applying,
    ) {
        if let Some(mut planned) = planned {
            if let Some(known) = self.deployments.get(&planned.id) {
                // It goes on: only what the scheduler decides about is the plan's to say.
                let mut deployment = (**known).clone();
                for (group, state) in planned.task_groups {
                    let canaries = state.desired_canaries;
                    let known = deployment.task_groups.entry(group).or_insert(state);
                    known.desired_canaries = canaries;
                }
                planned = deployment;
            }
            if planned.active() {
                describe(&mut planned);
                self.put_deployment(planned, now);
            }
        }
        for end in ends {
            let Some(known) = self.deployments.get(&end.deployment_id) else {
                continue;
            };
            if !known.active() {
                continue;
            }
            let mut deployment = (**known).clone();
            deployment.status = end.status;
            deployment.status_description = end.description;
            if deployment.status == DEPLOYMENT_SUCCESSFUL {
                self.set_stable(&deployment.job_id, deployment.job_version, true, now);
            }
            self.put_deployment(deployment, now);
        }
    }

    /// An allocation's row changes: its deployment counts it.
    pub(super) fn count_in_deployment(
        &mut self,
        old: Option<&Allocation>,
        new: &Allocation,
        now: &Applying,
    ) {
        let Some(known) = self.deployments.get(&new.deployment_id) else {
            return;
        };
        let before = old.filter(|old| old.deployment_id == new.deployment_id);
        let healthy = |alloc: &Allocation| alloc.deployment_healthy() && !alloc.terminal();
        let (was_healthy, is_healthy) = (before.is_some_and(healthy), healthy(new));
        let newly_unhealthy =
            new.deployment_unhealthy() && !before.is_some_and(Allocation::deployment_unhealthy);
        let no_news = before.is_some() && was_healthy == is_healthy && !newly_unhealthy;
        if no_news || !known.active() {
            return;
        }
        let mut deployment = (**known).clone();
        let state = deployment
            .task_groups
            .entry(new.task_group.clone())
            .or_default();
        if before.is_none() {
            state.placed_allocs += 1;
            if new.canary() {
                let canaries = state.placed_canaries.get_or_insert_default();
                canaries.push(new.id.clone());
            }
        }
        if is_healthy && !was_healthy {
            state.healthy_allocs += 1;
            state.progressed(now.at);
        } else if was_healthy && !is_healthy {
            state.healthy_allocs = state.healthy_allocs.saturating_sub(1);
            // Its successor has as long as any other.
            state.progressed(now.at);
        }
        if newly_unhealthy {
            state.unhealthy_allocs += 1;
        }
        self.put_deployment(deployment, now);
    }

    /// What follows from health that became known: the rollout goes on, or has failed; the version
    /// that a job went back to.
    pub(super) fn follow_health(
        &mut self,
        alloc_ids: &BTreeSet<String>,
        now: &mut Applying,
    ) -> Option<u64> {
        let mut reverted_to = None;
        let mut moved: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for id in alloc_ids {
            if let Some(alloc) = self.allocs.get(id) {
                let unhealthy = moved.entry(alloc.deployment_id.clone()).or_default();
                if alloc.deployment_unhealthy() && !alloc.server_terminal() {
                    unhealthy.insert(alloc.task_group.clone());
                }
            }
        }
        for (id, unhealthy) in moved {
            let Some(deployment) = self.deployments.get(&id).cloned() else {
                continue;
            };
            if !deployment.active() {
                continue;
            }
            let fatal: BTreeSet<String> = unhealthy
                .into_iter()
                .filter(|group| {
                    let state = deployment.task_groups.get(group);
                    state.is_some_and(|state| state.progress_deadline == 0)
                })
                .collect();
            if !fatal.is_empty() {
                let why = described::UNHEALTHY;
                reverted_to = self.fail_deployment(&deployment, why, Some(&fatal), now);
            } else if deployment.running() && self.promotes_itself(&deployment) {
                self.promote(&deployment, &[], now);
            }
            self.evaluate_deployment(&deployment, now);
        }
        reverted_to
    }

    pub(super) fn promotes_itself(&self, deployment: &Deployment) -> bool {
        let mut on_trial = deployment
            .task_groups
            .iter()
            .filter(|(_, state)| state.on_trial());
        deployment.promotes_itself()
            && on_trial.all(|(group, state)| {
                self.healthy_canaries(deployment, group) as u64 >= state.desired_canaries
            })
    }

    pub(super) fn healthy_canaries(&self, deployment: &Deployment, group: &str) -> usize {
        self.allocs_in(&deployment.job_id, &deployment.id)
            .filter(|alloc| alloc.task_group == group && alloc.canary())
            .filter(|alloc| alloc.deployment_healthy() && !alloc.terminal())
            .count()
    }

    /// A deployment's allocations.
    pub fn allocs_in<'a>(
        &'a self,
        job_id: &str,
        deployment_id: &'a str,
    ) -> impl Iterator<Item = &'a Arc<Allocation>> {
        let of_job = self.allocs_of_job(job_id);
        of_job.filter(move |alloc| alloc.deployment_id == deployment_id)
    }

    pub(super) fn evaluate_deployment(&mut self, deployment: &Deployment, now: &mut Applying) {
        let Some(job) = self.jobs.get(&deployment.job_id).cloned() else {
            return;
        };
        let mut eval = Self::eval_for(&job, TRIGGER_DEPLOYMENT_WATCHER, now);
        eval.deployment_id.clone_from(&deployment.id);
        self.put_eval(eval, now);
        self.refresh_job(&job.id, now);
    }

    /// Ends a deployment; if one of `groups` (all, if none are named) asks for it, the job goes
    /// back to the last version that was stable. Answers which.
    pub(super) fn fail_deployment(
        &mut self,
        deployment: &Deployment,
        why: &str,
        groups: Option<&BTreeSet<String>>,
        now: &mut Applying,
    ) -> Option<u64> {
        let reverts = deployment.task_groups.iter().any(|(name, state)| {
            state.auto_revert && groups.is_none_or(|groups| groups.contains(name))
        });
        let mut failed = deployment.clone();
        DEPLOYMENT_FAILED.clone_into(&mut failed.status);
        why.clone_into(&mut failed.status_description);
        let mut back_to = None;
        if reverts && let Some(job) = self.jobs.get(&deployment.job_id).cloned() {
            match self.stable_before(deployment.job_version, &job.id) {
                None => failed
                    .status_description
                    .push_str(" - no stable job version to auto revert to"),
                Some(stable) if super::jobs::same_ask(&stable, &job) => {
                    failed.status_description = format!(
                        "{why} - not rolling back to stable job version {} as current job has \
                         same specification",
                        stable.version
                    );
                }
                Some(stable) => {
                    failed.status_description =
                        format!("{why} - rolling back to job version {}", stable.version);
                    back_to = Some(stable);
                }
            }
        }
        self.put_deployment(failed, now);
        let version = back_to.as_ref().map(|stable| stable.version);
        if let Some(stable) = back_to {
            self.go_back_to(&stable, now);
        }
        version
    }

    fn stable_before(&self, version: u64, job_id: &str) -> Option<Arc<Job>> {
        let versions = self.job_versions(job_id);
        let mut stable = versions
            .into_iter()
            .filter(|job| job.stable && job.version != version);
        stable.next().cloned()
    }

    /// Learns what a node says of an allocation's health in its deployment; the first word counts.
    pub(super) fn hear_health(
        alloc: &mut Allocation,
        said: Option<&HealthReport>,
        now: &Applying,
    ) -> bool {
        if alloc.deployment_id.is_empty() {
            return false;
        }
        let known = alloc.deployment_healthy() || alloc.deployment_unhealthy();
        let said = said.filter(|said| said.deployment_id == alloc.deployment_id);
        let failed = alloc.client_status == crate::model::CLIENT_FAILED;
        let (healthy, at) = match said {
            Some(said) => (said.healthy && !failed, said.at),
            None if failed => (false, now.at),
            None => return false,
        };
        if known {
            return false;
        }
        set_health(alloc, healthy, at, now);
        true
    }
}

pub(super) fn set_health(alloc: &mut Allocation, healthy: bool, at: Time, now: &Applying) {
    alloc.deployment_status = Some(AllocDeploymentStatus {
        healthy: Some(healthy),
        timestamp: at,
        canary: alloc.canary(),
        modify_index: now.index,
    });
}

pub(super) fn describe(deployment: &mut Deployment) {
    if deployment.running() {
        let text = deployment.running_description();
        text.clone_into(&mut deployment.status_description);
    }
}

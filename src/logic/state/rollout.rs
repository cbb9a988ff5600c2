//! What users (and clocks) ask about rollouts: pausing, promoting, failing, going back.

use std::collections::BTreeSet;

use super::deployments::{describe, set_health};
use super::{Applying, Refusal, Reply, Rollout, Store};
use crate::model::{
    Allocation, DEPLOYMENT_PAUSED, DEPLOYMENT_RUNNING, Deployment, DeploymentChange, described,
};

impl Store {
    pub(super) fn roll(&mut self, asked: Rollout, now: &mut Applying) -> Result<Reply, Refusal> {
        match asked {
            Rollout::Change {
                deployment_id,
                change,
            } => self.change_deployment(&deployment_id, change, now),
            Rollout::Revert {
                job_id,
                version,
                prior,
            } => self.revert_job(&job_id, version, prior, now),
            Rollout::SetStability {
                job_id,
                version,
                stable,
            } => self.set_stability(&job_id, version, stable, now),
        }
    }

    fn change_deployment(
        &mut self,
        id: &str,
        change: DeploymentChange,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let known = self.deployments.get(id).cloned();
        let known = known.ok_or_else(|| Refusal::NoSuchDeployment(id.to_owned()))?;
        let mut reverted_to = None;
        match change {
            DeploymentChange::Overdue { required_by } => {
                if known.progress_due() != Some(required_by) || !known.running() {
                    return Ok(Reply::Done);
                }
                let overdue = known.overdue_groups(required_by);
                let why = described::NO_PROGRESS;
                reverted_to = self.fail_deployment(&known, why, Some(&overdue), now);
            }
            ref asked if !known.active() => {
                return Err(Refusal::DeploymentEnded(verb(asked).to_owned()));
            }
            DeploymentChange::Pause => {
                let mut paused = (*known).clone();
                DEPLOYMENT_PAUSED.clone_into(&mut paused.status);
                described::PAUSED.clone_into(&mut paused.status_description);
                self.put_deployment(paused, now);
            }
            DeploymentChange::Resume => {
                let mut resumed = (*known).clone();
                DEPLOYMENT_RUNNING.clone_into(&mut resumed.status);
                for state in resumed.task_groups.values_mut() {
                    state.progressed(now.at);
                }
                describe(&mut resumed);
                self.put_deployment(resumed, now);
                let running = self.deployments.get(id).cloned();
                if let Some(running) = running.filter(|row| self.promotes_itself(row)) {
                    self.promote(&running, &[], now);
                }
            }
            DeploymentChange::Fail => {
                reverted_to = self.fail_deployment(&known, described::BY_USER, None, now);
            }
            DeploymentChange::Promote { groups } => {
                self.may_promote(&known, &groups)?;
                self.promote(&known, &groups, now);
            }
            DeploymentChange::SetHealth { healthy, unhealthy } => {
                return self.set_health_by_hand(&known, &healthy, &unhealthy, now);
            }
        }
        self.evaluate_deployment(&known, now);
        Ok(self.changed_deployment(&known.id, reverted_to, now))
    }

    fn changed_deployment(&self, id: &str, reverted_to: Option<u64>, now: &Applying) -> Reply {
        // The newest one looks at everything that changed.
        let eval = now.pending.last().map(|eval| eval.id.clone());
        Reply::DeploymentChanged {
            eval_id: eval.unwrap_or_default(),
            modify_index: self.deployments.get(id).map_or(0, |row| row.modify_index),
            reverted_to,
        }
    }

    fn may_promote(&self, deployment: &Deployment, groups: &[String]) -> Result<(), Refusal> {
        if let Some(unknown) = groups
            .iter()
            .find(|group| !deployment.task_groups.contains_key(*group))
        {
            let text = format!("the deployment has no group \"{unknown}\"");
            return Err(Refusal::NotPromotable(text));
        }
        let mut on_trial = 0;
        for (group, state) in &deployment.task_groups {
            let asked = groups.is_empty() || groups.contains(group);
            if !asked || !state.on_trial() {
                continue;
            }
            on_trial += 1;
            let (healthy, wanted) = (
                self.healthy_canaries(deployment, group),
                state.desired_canaries,
            );
            if (healthy as u64) < wanted {
                let text =
                    format!("Task group \"{group}\" has {healthy}/{wanted} healthy allocations");
                return Err(Refusal::NotPromotable(text));
            }
        }
        if on_trial == 0 {
            return Err(Refusal::NotPromotable("no canaries to promote".to_owned()));
        }
        Ok(())
    }

    pub(super) fn promote(&mut self, deployment: &Deployment, groups: &[String], now: &Applying) {
        let asked = |group: &String| groups.is_empty() || groups.contains(group);
        let mut promoted = deployment.clone();
        for (group, state) in &mut promoted.task_groups {
            if asked(group) && state.on_trial() {
                state.promoted = true;
                state.progressed(now.at);
            }
        }
        describe(&mut promoted);
        self.put_deployment(promoted, now);
        let canaries: Vec<Allocation> = self
            .allocs_in(&deployment.job_id, &deployment.id)
            .filter(|alloc| alloc.canary() && asked(&alloc.task_group))
            .map(|alloc| (**alloc).clone())
            .collect();
        for mut alloc in canaries {
            if let Some(status) = &mut alloc.deployment_status {
                status.canary = false;
                status.modify_index = now.index;
            }
            self.put_alloc(alloc, true, now);
        }
    }

    fn set_health_by_hand(
        &mut self,
        deployment: &Deployment,
        healthy: &[String],
        unhealthy: &[String],
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let said = healthy.iter().map(|id| (id, true));
        let said: Vec<_> = said.chain(unhealthy.iter().map(|id| (id, false))).collect();
        for (id, _) in &said {
            let alloc = self.allocs.get(id.as_str());
            if alloc.is_none_or(|alloc| alloc.deployment_id != deployment.id) {
                let (id, deployment) = ((*id).clone(), deployment.id.clone());
                return Err(Refusal::NotInDeployment { id, deployment });
            }
        }
        let mut moved = BTreeSet::new();
        for (id, healthy) in said {
            let Some(alloc) = self.allocs.get(id.as_str()) else {
                continue;
            };
            let mut alloc = (**alloc).clone();
            set_health(&mut alloc, healthy, now.at, now);
            moved.insert(alloc.id.clone());
            self.put_alloc(alloc, false, now);
        }
        let reverted_to = self.follow_health(&moved, now);
        Ok(self.changed_deployment(&deployment.id, reverted_to, now))
    }
}

/// How an ended deployment's refusal names what was asked.
fn verb(change: &DeploymentChange) -> &'static str {
    match change {
        DeploymentChange::Pause => "pause",
        DeploymentChange::Resume => "resume",
        DeploymentChange::Fail | DeploymentChange::Overdue { .. } => "fail",
        DeploymentChange::Promote { .. } => "promote",
        DeploymentChange::SetHealth { .. } => "set health of allocations for a",
    }
}

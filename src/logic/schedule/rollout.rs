//! The deployment that a plan begins, goes on with, or ends.

use std::sync::Arc;

use super::rolling::Rolled;
use crate::id::Ids;
use crate::model::{
    DEPLOYMENT_SUCCESSFUL, Deployment, DeploymentState, DeploymentUpdate, Job, TaskGroup, described,
};
use crate::state::Store;
use crate::time::Time;

/// The rollout of one job, as far as one pass over it knows.
#[derive(Default)]
pub(super) struct Rollout<'a> {
    /// The deployment of the job as it is now, before this pass.
    current: Option<&'a Arc<Deployment>>,
    /// The same, if this pass begins or changes it.
    planned: Option<Deployment>,
    /// Groups that roll, and whether all of each is healthy.
    done: Vec<bool>,
}

impl<'a> Rollout<'a> {
    pub(super) fn of(store: &'a Store, job: Option<&Job>) -> Self {
        Self {
            current: job.and_then(|job| store.deployment_of(job)),
            ..Self::default()
        }
    }

    pub(super) fn current(&self) -> Option<&'a Deployment> {
        self.current.map(AsRef::as_ref)
    }

    /// Takes up what a group calls for.
    pub(super) fn note(
        &mut self,
        rolled: &Rolled,
        job: &Job,
        group: &TaskGroup,
        now: Time,
        ids: &mut Ids,
    ) {
        self.done.push(rolled.done);
        let known = self.current.is_some_and(|current| {
            let state = current.task_groups.get(&group.name);
            state.is_some_and(|state| state.desired_canaries >= rolled.canaries)
        });
        let Some(update) = group.rolling().filter(|_| !known) else {
            return;
        };
        let goes_on = self.current.is_some_and(|current| current.active());
        if !(rolled.wants_deployment || goes_on && rolled.canaries > 0) {
            return;
        }
        let current = self.current;
        let planned = self.planned.get_or_insert_with(|| match current {
            Some(current) => (**current).clone(),
            None => Deployment::of(job, ids.next_uuid()),
        });
        let state = planned.task_groups.entry(group.name.clone());
        let state = state.or_insert_with(|| DeploymentState::of(group, update, now));
        state.desired_canaries = state.desired_canaries.max(rolled.canaries);
    }

    /// The deployment that what is placed for a group becomes a part of.
    pub(super) fn member(&self, group: &str) -> Option<String> {
        let planned = self.planned.as_ref().or(self.current());
        let active = planned.filter(|deployment| deployment.active());
        let has_group = active.filter(|deployment| deployment.task_groups.contains_key(group));
        has_group.map(|deployment| deployment.id.clone())
    }

    /// The deployment that goes on, if one does.
    pub(super) fn id(&self) -> Option<String> {
        let planned = self.planned.as_ref().or(self.current());
        let active = planned.filter(|deployment| deployment.active());
        active.map(|deployment| deployment.id.clone())
    }

    /// What a plan says of it.
    pub(super) fn planned(self) -> (Option<Deployment>, Vec<DeploymentUpdate>) {
        let ended = self.current().filter(|current| {
            let done = !self.done.is_empty() && self.done.iter().all(|done| *done);
            current.running() && done && self.planned.is_none()
        });
        let ends = ended.map(|current| DeploymentUpdate {
            deployment_id: current.id.clone(),
            status: DEPLOYMENT_SUCCESSFUL.to_owned(),
            description: described::SUCCESSFUL.to_owned(),
        });
        (self.planned, ends.into_iter().collect())
    }
}

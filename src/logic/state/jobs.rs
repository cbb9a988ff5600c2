//! Jobs: registering, stopping, and what state they are in.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::{Applying, Refusal, Reply, Store, Topic};
use crate::model::{
    CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_LOST, CLIENT_PENDING, CLIENT_RUNNING, CLIENT_UNKNOWN,
    Evaluation, JOB_DEAD, JOB_PENDING, JOB_RUNNING, JOB_SYSTEM, Job, TRIGGER_JOB_DEREGISTER,
    TRIGGER_JOB_REGISTER, described,
};
use crate::routes;

/// How many versions of a job are kept to look at and go back to.
const VERSIONS_KEPT: usize = 6;

impl Store {
    pub(super) fn register_job(
        &mut self,
        mut job: Job,
        check_index: Option<u64>,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let existing = self.jobs.get(&job.id).cloned();
        check(check_index, existing.as_deref())?;
        if existing
            .as_ref()
            .is_none_or(|old| old.stop || !same_ask(old, &job))
        {
            self.check_routes(&job)?;
        }
        job.create_index = existing.as_ref().map_or(now.index, |old| old.create_index);
        job.modify_index = now.index;
        job.submit_time = now.at.0;
        job.stop = false;
        if let Some(old) = &existing {
            if same_ask(old, &job) {
                job = Job {
                    modify_index: now.index,
                    ..(**old).clone()
                };
            } else {
                job.version = old.version + 1;
                job.job_modify_index = now.index;
                job.stable = false;
            }
            job.status.clone_from(&old.status);
        } else {
            job.version = 0;
            job.job_modify_index = now.index;
            job.stable = false;
            JOB_PENDING.clone_into(&mut job.status);
        }
        let eval = Self::eval_for(&job, TRIGGER_JOB_REGISTER, now);
        let reply = Reply::Evaluated {
            eval_id: eval.id.clone(),
            job_modify_index: job.job_modify_index,
        };
        let job_id = job.id.clone();
        if existing.is_none_or(|old| old.version != job.version) {
            self.cancel_deployments(&job_id, described::NEWER_JOB, now);
        }
        self.put_job(job, true, now);
        self.put_eval(eval, now);
        self.refresh_job(&job_id, now);
        Ok(reply)
    }

    /// Nobody else's route may be taken over by the way.
    fn check_routes(&self, job: &Job) -> Result<(), Refusal> {
        let others = self.jobs.values().map(AsRef::as_ref);
        match routes::claimed(job, others, routes::TAG_PREFIX) {
            None => Ok(()),
            Some(taken) => Err(Refusal::RouteTaken {
                route: taken.source,
                service: taken.service,
                job: taken.job,
                other_service: taken.other_service,
            }),
        }
    }

    /// Makes an earlier version of a job its newest one.
    pub(super) fn revert_job(
        &mut self,
        job_id: &str,
        version: u64,
        prior: Option<u64>,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let current = self.jobs.get(job_id);
        let current = current.ok_or_else(|| Refusal::NoSuchJob(job_id.to_owned()))?;
        let actual = current.version;
        if let Some(asked) = prior.filter(|asked| *asked != actual) {
            return Err(Refusal::OtherVersion { asked, actual });
        }
        if version == actual && !current.stop {
            return Err(Refusal::CurrentVersion);
        }
        let job = job_id.to_owned();
        let wanted = self.versions.get(&(job.clone(), version)).cloned();
        let wanted = wanted.ok_or(Refusal::NoSuchVersion { job, version })?;
        self.register_job((*wanted).clone(), None, now)
    }

    /// The same, after a rollout that failed.
    pub(super) fn go_back_to(&mut self, stable: &Job, now: &mut Applying) {
        let Some(current) = self.jobs.get(&stable.id) else {
            return;
        };
        let job = Job {
            version: current.version + 1,
            stable: false,
            status: current.status.clone(),
            modify_index: now.index,
            job_modify_index: now.index,
            submit_time: now.at.0,
            stop: false,
            ..stable.clone()
        };
        self.put_job(job, true, now);
    }

    pub(super) fn set_stability(
        &mut self,
        job_id: &str,
        version: u64,
        stable: bool,
        now: &Applying,
    ) -> Result<Reply, Refusal> {
        if !self.jobs.contains(job_id) {
            return Err(Refusal::NoSuchJob(job_id.to_owned()));
        }
        let job = job_id.to_owned();
        if !self.versions.contains(&(job.clone(), version)) {
            return Err(Refusal::NoSuchVersion { job, version });
        }
        self.set_stable(job_id, version, stable, now);
        Ok(Reply::Done)
    }

    /// Notes whether a version of a job is one to go back to.
    pub(super) fn set_stable(&mut self, job_id: &str, version: u64, stable: bool, now: &Applying) {
        let key = (job_id.to_owned(), version);
        if let Some(row) = self.versions.get(&key) {
            let mut row = (**row).clone();
            row.stable = stable;
            row.modify_index = now.index;
            self.versions.insert(key, row);
            self.touch(Topic::Jobs, now);
        }
        let current = self.jobs.get(job_id);
        if let Some(job) = current.filter(|job| job.version == version) {
            let mut job = (**job).clone();
            job.stable = stable;
            job.modify_index = now.index;
            self.put_job(job, false, now);
        }
    }

    pub(super) fn deregister_job(
        &mut self,
        job_id: &str,
        purge: bool,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let old = self
            .jobs
            .get(job_id)
            .ok_or_else(|| Refusal::NoSuchJob(job_id.to_owned()))?;
        let mut job = (**old).clone();
        let eval = Self::eval_for(&job, TRIGGER_JOB_DEREGISTER, now);
        let reply = Reply::Evaluated {
            eval_id: eval.id.clone(),
            // A job that has been stopped before isn't changed.
            job_modify_index: if job.stop && !purge {
                job.job_modify_index
            } else {
                now.index
            },
        };
        self.cancel_deployments(job_id, described::STOPPED_JOB, now);
        if purge {
            self.forget_job(job_id);
            self.forget_deployments_of(job_id, now);
            self.touch(Topic::Jobs, now);
        } else if !job.stop {
            job.stop = true;
            job.stable = false;
            job.version += 1;
            job.modify_index = now.index;
            job.job_modify_index = now.index;
            self.put_job(job, true, now);
        }
        self.put_eval(eval, now);
        self.refresh_job(job_id, now);
        Ok(reply)
    }

    pub(super) fn evaluate_job(
        &mut self,
        job_id: &str,
        now: &mut Applying,
    ) -> Result<Reply, Refusal> {
        let job = self
            .jobs
            .get(job_id)
            .cloned()
            .ok_or_else(|| Refusal::NoSuchJob(job_id.to_owned()))?;
        let eval = Self::eval_for(&job, TRIGGER_JOB_REGISTER, now);
        let reply = Reply::Evaluated {
            eval_id: eval.id.clone(),
            job_modify_index: job.job_modify_index,
        };
        self.put_eval(eval, now);
        self.refresh_job(job_id, now);
        Ok(reply)
    }

    pub(super) fn eval_for(job: &Job, trigger: &str, now: &mut Applying) -> Evaluation {
        Evaluation {
            id: now.ids.next_uuid(),
            namespace: job.namespace.clone(),
            priority: job.priority,
            r#type: job.r#type.clone(),
            triggered_by: trigger.to_owned(),
            job_id: job.id.clone(),
            job_modify_index: job.job_modify_index,
            status: crate::model::EVAL_PENDING.to_owned(),
            ..Evaluation::default()
        }
    }

    fn put_job(&mut self, job: Job, new_version: bool, now: &Applying) {
        let job = Arc::new(job);
        if new_version {
            self.versions
                .insert_shared((job.id.clone(), job.version), Arc::clone(&job));
            self.forget_old_versions(&job.id);
        }
        self.jobs.insert_shared(job.id.clone(), job);
        self.touch(Topic::Jobs, now);
    }

    /// The one to go back to is kept, however old it is.
    fn forget_old_versions(&mut self, job_id: &str) {
        let versions = self.job_versions(job_id);
        let surplus = versions.len().saturating_sub(VERSIONS_KEPT);
        let stable = versions.iter().find(|job| job.stable);
        let stable = stable.map(|job| job.version);
        let oldest_first = versions.iter().rev().map(|job| job.version);
        let forgotten: Vec<u64> = oldest_first
            .filter(|version| Some(*version) != stable)
            .take(surplus)
            .collect();
        for version in forgotten {
            self.versions.remove(&(job_id.to_owned(), version));
        }
    }

    pub(super) fn forget_job(&mut self, job_id: &str) {
        let versions: Vec<u64> = self
            .job_versions(job_id)
            .iter()
            .map(|job| job.version)
            .collect();
        for version in versions {
            self.versions.remove(&(job_id.to_owned(), version));
        }
        self.jobs.remove(job_id);
    }

    /// Sets a job's status to what its allocations and evaluations make of it.
    pub(super) fn refresh_job(&mut self, job_id: &str, now: &Applying) {
        let Some(job) = self.jobs.get(job_id) else {
            return;
        };
        let status = self.status_of(job);
        if job.status != status {
            let mut job = (**job).clone();
            status.clone_into(&mut job.status);
            job.modify_index = now.index;
            self.put_job(job, false, now);
        }
    }

    fn status_of(&self, job: &Job) -> &'static str {
        if self.allocs_of_job(&job.id).any(|alloc| !alloc.terminal()) {
            JOB_RUNNING
        } else if self.evals_of_job(&job.id).any(|eval| !eval.terminal()) {
            JOB_PENDING
        } else if !job.stop && job.r#type == JOB_SYSTEM {
            JOB_RUNNING
        } else {
            JOB_DEAD
        }
    }

    /// How many allocations of each group are in which state.
    pub fn job_summary(&self, job: &Job) -> JobSummary {
        let mut groups: BTreeMap<String, GroupSummary> = job
            .task_groups
            .iter()
            .map(|group| (group.name.clone(), GroupSummary::default()))
            .collect();
        for alloc in self.allocs_of_job(&job.id) {
            let group = groups.entry(alloc.task_group.clone()).or_default();
            let node = self.nodes.get(&alloc.node_id);
            match alloc.client_status.as_str() {
                CLIENT_UNKNOWN => group.unknown += 1,
                // It isn't replaced yet, and nobody knows whether it runs.
                _ if !alloc.client_terminal() && node.is_none_or(|node| node.away()) => {
                    group.lost += 1;
                }
                CLIENT_PENDING => group.starting += 1,
                CLIENT_RUNNING => group.running += 1,
                CLIENT_COMPLETE => group.complete += 1,
                CLIENT_FAILED => group.failed += 1,
                CLIENT_LOST => group.lost += 1,
                _ => {}
            }
        }
        // One that was unblocked and isn't done yet still tells what waits.
        for eval in self.evals_of_job(&job.id).filter(|eval| !eval.terminal()) {
            for (name, queued) in &eval.queued_allocations {
                let group = groups.entry(name.clone()).or_default();
                group.queued = group.queued.max(*queued);
            }
        }
        JobSummary {
            job_id: job.id.clone(),
            namespace: job.namespace.clone(),
            summary: groups,
        }
    }
}

/// Counts of a job's allocations by group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct JobSummary {
    #[serde(rename = "JobID")]
    pub job_id: String,
    pub namespace: String,
    pub summary: BTreeMap<String, GroupSummary>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GroupSummary {
    pub queued: i64,
    pub complete: i64,
    pub failed: i64,
    pub running: i64,
    pub starting: i64,
    pub lost: i64,
    #[serde(skip_serializing_if = "is_zero")]
    pub unknown: i64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_zero(count: &i64) -> bool {
    *count == 0
}

fn check(check_index: Option<u64>, existing: Option<&Job>) -> Result<(), Refusal> {
    match (check_index, existing) {
        (None, _) | (Some(0), None) => Ok(()),
        (Some(0), Some(_)) => Err(Refusal::JobExists),
        (Some(asked), None) => Err(Refusal::NoJobToCheck { asked }),
        (Some(asked), Some(job)) if job.job_modify_index == asked => Ok(()),
        (Some(asked), Some(job)) => Err(Refusal::JobChanged {
            asked,
            actual: job.job_modify_index,
        }),
    }
}

/// Whether two jobs ask for the same, whatever the servers have noted on them.
pub(super) fn same_ask(old: &Job, new: &Job) -> bool {
    let bare = |job: &Job| Job {
        status: String::new(),
        status_description: String::new(),
        stable: false,
        version: 0,
        submit_time: 0,
        create_index: 0,
        modify_index: 0,
        job_modify_index: 0,
        ..job.clone()
    };
    bare(old) == bare(new)
}

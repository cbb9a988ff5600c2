//! What registering a job would lead to: the scheduler at work on a copy of the state.

use std::sync::Arc;

use super::{Decision, schedule};
use crate::diff::{self, JobDiff};
use crate::id::Ids;
use crate::model::{Evaluation, Job};
use crate::state::{Command, Entry, Refusal, Store};
use crate::time::Time;

#[derive(Clone, Debug)]
pub struct DryRun {
    /// The job as it is registered now.
    pub old: Option<Arc<Job>>,
    /// The job as it would be.
    pub new: Arc<Job>,
    pub decision: Decision,
}

/// Registers `job` in a copy of `store` and looks at it once.
pub fn dry_run(store: &Store, job: Job, now: Time) -> Result<DryRun, Refusal> {
    let mut copy = store.clone();
    let id = job.id.clone();
    let registered = copy.apply(Entry {
        index: store.index() + 1,
        at: now,
        proposal: String::new(),
        command: Command::RegisterJob {
            job: Box::new(job),
            check_index: None,
        },
    });
    registered.reply?;
    let mut pending = registered.pending.into_iter();
    let eval: Option<Evaluation> = pending.find(|eval| eval.job_id == id);
    let (Some(new), Some(eval)) = (copy.job(&id).cloned(), eval) else {
        return Err(Refusal::NoSuchJob(id));
    };
    // The entry itself used the ids at its own index.
    let mut ids = Ids::at(copy.seed(), copy.index() + 1);
    let decision = schedule(&copy, &eval, now, &mut ids);
    Ok(DryRun {
        old: store.job(&id).cloned(),
        new,
        decision,
    })
}

impl DryRun {
    /// What the job asks for anew, and what the scheduler does about it.
    pub fn diff(&self) -> JobDiff {
        let old = self.old.as_deref();
        let mut diff = diff::job(old, Some(&self.new));
        diff::annotate(&mut diff, old, &self.new, &self.decision.plan.annotations);
        diff
    }

    /// Evaluations that would be left for later.
    pub fn created_evals(&self) -> impl Iterator<Item = &Evaluation> {
        let follow_ups = self.decision.follow_ups.iter();
        follow_ups.chain(&self.decision.blocked)
    }
}

//! Evaluations: from pending through blocked to done.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Applying, Store, Topic};
use crate::model::{
    EVAL_BLOCKED, EVAL_CANCELLED, EVAL_COMPLETE, EVAL_PENDING, Evaluation, TRIGGER_QUEUED_ALLOCS,
};
use crate::time::Time;

impl Store {
    pub(super) fn update_evals(&mut self, evals: Vec<Evaluation>, now: &mut Applying) {
        let mut touched = BTreeSet::new();
        for mut eval in evals {
            touched.insert(eval.job_id.clone());
            if matches!(eval.status.as_str(), EVAL_COMPLETE | EVAL_BLOCKED) {
                self.cancel_blocked(&eval, now);
            }
            if eval.status == EVAL_BLOCKED {
                if self.blocked_evals_of(&eval.job_id).next().is_some() {
                    // What is left looked at a newer state.
                    EVAL_CANCELLED.clone_into(&mut eval.status);
                } else if eval.snapshot_index < self.capacity_index {
                    // Room was freed after the scheduler looked: it has to look again.
                    EVAL_PENDING.clone_into(&mut eval.status);
                }
            }
            self.put_eval(eval, now);
        }
        for job_id in touched {
            self.refresh_job(&job_id, now);
        }
    }

    /// Stores an evaluation; a pending one is handed to a scheduler.
    pub(super) fn put_eval(&mut self, mut eval: Evaluation, now: &mut Applying) {
        if let Some(old) = self.evals.get(&eval.id) {
            eval.create_index = old.create_index;
            eval.create_time = old.create_time;
        } else {
            eval.create_index = now.index;
            eval.create_time = now.at.0;
        }
        eval.modify_index = now.index;
        eval.modify_time = now.at.0;
        self.evals_by_job
            .insert((eval.job_id.clone(), eval.id.clone()), ());
        if eval.status == EVAL_BLOCKED {
            self.evals_blocked.insert(eval.id.clone(), ());
        } else {
            self.evals_blocked.remove(&eval.id);
        }
        if eval.status == EVAL_PENDING {
            now.pending.push(eval.clone());
        }
        self.evals.insert(eval.id.clone(), eval);
        self.touch(Topic::Evals, now);
    }

    fn blocked_evals_of(&self, job_id: &str) -> impl Iterator<Item = &Arc<Evaluation>> {
        let of_job = self.evals_of_job(job_id);
        of_job.filter(|eval| eval.status == EVAL_BLOCKED)
    }

    fn blocked_evals(&self) -> impl Iterator<Item = &Arc<Evaluation>> {
        let ids = self.evals_blocked.iter().map(|(id, _)| id);
        ids.filter_map(|id| self.evals.get(id))
    }

    /// A job needs at most one evaluation that waits for room: whoever looked last knows best.
    fn cancel_blocked(&mut self, newer: &Evaluation, now: &mut Applying) {
        let older: Vec<Evaluation> = self
            .blocked_evals_of(&newer.job_id)
            .filter(|eval| eval.id != newer.id)
            .filter(|eval| eval.snapshot_index <= newer.snapshot_index)
            .map(|eval| (**eval).clone())
            .collect();
        for mut eval in older {
            EVAL_CANCELLED.clone_into(&mut eval.status);
            eval.status_description = if newer.status == EVAL_COMPLETE {
                format!("evaluation \"{}\" successful", newer.id)
            } else {
                format!("evaluation \"{}\" waits instead", newer.id)
            };
            self.put_eval(eval, now);
        }
    }

    /// There may be room now: everything that waits for some is looked at again.
    pub(super) fn unblock(&mut self, now: &mut Applying) {
        self.capacity_index = now.index;
        let blocked: Vec<Evaluation> = self.blocked_evals().map(|eval| (**eval).clone()).collect();
        for mut eval in blocked {
            EVAL_PENDING.clone_into(&mut eval.status);
            eval.status_description.clear();
            TRIGGER_QUEUED_ALLOCS.clone_into(&mut eval.triggered_by);
            eval.wait_until = Time::NEVER;
            self.put_eval(eval, now);
        }
    }

    /// What a scheduler has to take up when it starts with this state.
    pub fn pending_evals(&self) -> impl Iterator<Item = &Evaluation> {
        self.evals()
            .filter(|eval| eval.status == EVAL_PENDING)
            .map(AsRef::as_ref)
    }
}

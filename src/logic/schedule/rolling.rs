//! Rolling updates: what should change in a group of a service job whose versions replace each
//! other a few allocations at a time.
//!
//! Each name has at most two holders: a *fresh* one, of the job as it is now, and a *stale* one,
//! of an earlier version, which stays until the fresh one is healthy. Where a node has no room for
//! both, the stale one stops first (ADR 11). A canary is a fresh holder whose stale one stays
//! until somebody promotes it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::disconnect;
use super::moving::{self, is_forced_out};
use super::reconcile::{
    Fate, Handover, History, Place, Reconciled, act, fate, is_up_to_date, surplus,
};
use crate::drain;
use crate::model::{
    Allocation, CLIENT_FAILED, CLIENT_RUNNING, Deployment, DeploymentState, Evaluation, Job,
    TaskGroup, UpdateStrategy, stopped,
};
use crate::state::Store;
use crate::time::Time;

/// What is looked at, and when.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) store: &'a Store,
    pub(super) job: &'a Arc<Job>,
    pub(super) group: &'a TaskGroup,
    pub(super) update: &'a UpdateStrategy,
    /// The rollout of the job as it is now, however it ended.
    pub(super) current: Option<&'a Deployment>,
    pub(super) eval: &'a Evaluation,
    pub(super) now: Time,
}

/// What the rollout of one group calls for.
pub(super) struct Rolled {
    pub(super) reconciled: Reconciled,
    /// It needs a deployment to go on in.
    pub(super) wants_deployment: bool,
    /// Canaries that have to be healthy and promoted before the rest follows.
    pub(super) canaries: u64,
    /// All of it is of the newest version and healthy.
    pub(super) done: bool,
}

/// The holders of one name that are wanted, the newest first.
#[derive(Default)]
struct Slot {
    fresh: Vec<(Arc<Allocation>, Fate)>,
    stale: Vec<(Arc<Allocation>, Fate)>,
    /// The fresh one is unknown, and waited for.
    waits: bool,
}

struct Rolling<'a> {
    look: Look<'a>,
    out: Reconciled,
    /// Stale allocations that run well and are to be replaced, in the order of their names.
    to_replace: Vec<Arc<Allocation>>,
    /// Stale ones that need a successor of some version now.
    to_restore: Vec<(Arc<Allocation>, Fate)>,
    missing: Vec<usize>,
    /// Names that one holds which leaves, beside its successor.
    moving: BTreeSet<usize>,
    canaries: usize,
    /// Some of it is of an earlier version.
    has_older: bool,
    done: bool,
}

pub(super) fn group(look: Look<'_>) -> Rolled {
    let mut rolling = Rolling {
        look,
        out: Reconciled::default(),
        to_replace: Vec::new(),
        to_restore: Vec::new(),
        missing: Vec::new(),
        moving: BTreeSet::new(),
        canaries: 0,
        has_older: false,
        done: true,
    };
    let slots = rolling.slots();
    let limit = rolling.limit(&slots);
    for (index, slot) in slots {
        rolling.slot(index, slot);
    }
    rolling.go_on(limit)
}

impl Look<'_> {
    fn state(&self) -> Option<&DeploymentState> {
        self.current?.task_groups.get(&self.group.name)
    }

    fn active(&self) -> bool {
        self.current.is_some_and(Deployment::active)
    }

    fn failed(&self) -> bool {
        self.current.is_some_and(Deployment::failed)
    }

    fn is_member(&self, alloc: &Allocation) -> bool {
        self.current
            .is_some_and(|current| current.id == alloc.deployment_id)
    }

    /// Nothing new is begun while it is paused, or once it has failed.
    fn is_held(&self) -> bool {
        self.current
            .is_some_and(|current| current.failed() || current.active() && !current.running())
    }

    /// Whether the job as it is now was ever placed.
    fn had_run(&self) -> bool {
        self.current.is_some()
            || self.store.allocs_of_job(&self.job.id).any(|alloc| {
                alloc.task_group == self.group.name
                    && alloc.job_version() == self.job.version
                    && is_up_to_date(self.job, alloc)
            })
    }
}

/// As far as is known, requests to it are answered.
fn serves(alloc: &Allocation) -> bool {
    alloc.client_status == CLIENT_RUNNING
        && (alloc.deployment_id.is_empty() || alloc.deployment_healthy())
}

/// Healthy, if that is watched; else it is enough that it runs.
fn proven(alloc: &Allocation) -> bool {
    if alloc.deployment_id.is_empty() {
        alloc.client_status == CLIENT_RUNNING
    } else {
        alloc.deployment_healthy()
    }
}

/// It is there, on a node that is there.
fn stands(fate: Fate) -> bool {
    matches!(
        fate,
        Fate::Keep | Fate::UpdateInPlace | Fate::Replace | Fate::Migrate
    )
}

impl Rolling<'_> {
    /// The group's wanted allocations by the number in their names.
    fn slots(&mut self) -> BTreeMap<usize, Slot> {
        let Look {
            store,
            job,
            group,
            now,
            ..
        } = self.look;
        let mut allocs: Vec<Arc<Allocation>> = store
            .allocs_of_job(&job.id)
            .filter(|alloc| alloc.task_group == group.name && !alloc.server_terminal())
            .cloned()
            .collect();
        allocs.sort_by_key(|alloc| (alloc.index(), Reverse(alloc.create_index)));
        let over = |alloc: &Arc<Allocation>| {
            let goes_on = self.look.is_member(alloc) && self.look.active();
            alloc.canary() && !goes_on
        };
        let (canaries, allocs): (Vec<_>, Vec<_>) = allocs.into_iter().partition(over);
        for alloc in canaries {
            self.stop(&alloc, stopped::CANARY_OVER);
        }
        let (fresh, stale): (Vec<_>, Vec<_>) = allocs
            .into_iter()
            .partition(|alloc| is_up_to_date(job, alloc));
        let (fresh, moving) = moving::settle(&mut self.out, store, job, group, fresh, now);
        let (stale, older) = moving::settle(&mut self.out, store, job, group, stale, now);
        self.moving.extend(moving.into_iter().chain(older));
        let (fresh, waiting) = disconnect::settle(&mut self.out, store, job, group, fresh, now);
        let mut slots: BTreeMap<usize, Slot> = BTreeMap::new();
        for index in waiting {
            slots.entry(index).or_default().waits = true;
        }
        for alloc in fresh.into_iter().chain(stale) {
            let mut fate = fate(store, job, group, &alloc, now);
            if fate == Fate::Gone && !is_up_to_date(job, &alloc) {
                // What was to take over from it may not have done so.
                fate = Fate::Ended;
            }
            match alloc.index() {
                _ if fate == Fate::Gone => {}
                None => surplus(&mut self.out, &alloc),
                Some(index) => {
                    let slot = slots.entry(index).or_default();
                    if is_up_to_date(job, &alloc) {
                        slot.fresh.push((alloc, fate));
                    } else {
                        self.has_older = true;
                        slot.stale.push((alloc, fate));
                    }
                }
            }
        }
        for index in 0..group.desired_count() {
            slots.entry(index).or_default();
        }
        slots
    }

    fn stop(&mut self, alloc: &Arc<Allocation>, reason: &'static str) {
        if !alloc.client_terminal() {
            self.out.changes.stop += 1;
        }
        self.out.stops.push((Arc::clone(alloc), reason));
    }

    /// How many more may be under way.
    fn limit(&self, slots: &BTreeMap<usize, Slot>) -> usize {
        if self.look.is_held() {
            return 0;
        }
        let mut limit = usize::try_from(self.look.update.max_parallel).unwrap_or(0);
        for slot in slots.values() {
            for (alloc, fate) in &slot.fresh {
                if !self.look.is_member(alloc) || proven(alloc) && *fate == Fate::Keep {
                    continue;
                }
                if alloc.deployment_unhealthy() {
                    return 0;
                }
                limit = limit.saturating_sub(1);
            }
        }
        limit
    }

    fn slot(&mut self, index: usize, mut slot: Slot) {
        let fresh = self.choose_fresh(&mut slot);
        let stale = self.choose_stale(slot.stale);
        let on_trial = fresh.as_ref().is_some_and(|(alloc, _)| alloc.canary());
        self.canaries += usize::from(on_trial);
        if index >= self.look.group.desired_count() {
            if let Some((alloc, _)) = &stale {
                surplus(&mut self.out, alloc);
            }
            match fresh {
                Some((alloc, fate)) if on_trial => self.keep_fresh(&alloc, fate, None),
                Some((alloc, _)) => surplus(&mut self.out, &alloc),
                None => {}
            }
            return;
        }
        match (fresh, stale) {
            _ if slot.waits => self.done = false,
            (Some((alloc, fate)), stale) => self.keep_fresh(&alloc, fate, stale),
            (None, Some((alloc, Fate::Replace))) => {
                self.done = false;
                self.to_replace.push(alloc);
            }
            (None, Some(stale)) => {
                self.done = false;
                self.to_restore.push(stale);
            }
            (None, None) => {
                self.done = false;
                self.missing.push(index);
            }
        }
    }

    /// The one of the newest version; one that can become it where it is will do.
    fn choose_fresh(&mut self, slot: &mut Slot) -> Option<(Arc<Allocation>, Fate)> {
        let mut fresh = std::mem::take(&mut slot.fresh).into_iter();
        if let Some(first) = fresh.next() {
            for (other, _) in fresh {
                surplus(&mut self.out, &other);
            }
            return Some(first);
        }
        let in_place = |(_, fate): &&(Arc<Allocation>, Fate)| *fate == Fate::UpdateInPlace;
        let able = slot.stale.iter().filter(in_place);
        let best = able.max_by_key(|(alloc, _)| (serves(alloc), alloc.create_index));
        let best = best.map(|(alloc, _)| alloc.id.clone())?;
        let at = slot.stale.iter().position(|(alloc, _)| alloc.id == best)?;
        Some(slot.stale.remove(at))
    }

    /// Of several older ones, the one that serves best; the others aren't needed.
    fn choose_stale(
        &mut self,
        stale: Vec<(Arc<Allocation>, Fate)>,
    ) -> Option<(Arc<Allocation>, Fate)> {
        let worth = |(alloc, fate): &(Arc<Allocation>, Fate)| {
            (
                stands(*fate) && serves(alloc),
                stands(*fate),
                alloc.create_index,
            )
        };
        let best = stale.iter().max_by_key(|one| worth(one));
        let best = best.map(|(alloc, _)| alloc.id.clone())?;
        let mut chosen = None;
        for (alloc, fate) in stale {
            if alloc.id == best {
                chosen = Some((alloc, fate));
            } else {
                self.stop(&alloc, stopped::SUPERSEDED);
            }
        }
        chosen
    }

    /// There is one of the newest version (or about to be): what becomes of it, and of the one
    /// that it takes over from.
    fn keep_fresh(
        &mut self,
        fresh: &Arc<Allocation>,
        fate: Fate,
        stale: Option<(Arc<Allocation>, Fate)>,
    ) {
        let stale = match stale {
            Some((alloc, Fate::Migrate))
                if is_forced_out(self.look.store, &alloc, self.look.now) =>
            {
                self.stop(&alloc, stopped::MIGRATED);
                None
            }
            Some((alloc, fate)) if !stands(fate) => {
                if fresh.canary() {
                    // Nobody has said yet that this one may take its place.
                    self.to_restore.push((alloc, fate));
                } else {
                    self.stop(&alloc, stopped::SUPERSEDED);
                }
                None
            }
            stale => stale,
        };
        if let (Some((stale, _)), true) = (&stale, self.look.failed() && !proven(fresh)) {
            let stale = Arc::clone(stale);
            self.stop(fresh, stopped::ROLLOUT_FAILED);
            self.to_replace.push(stale);
            self.done = false;
            return;
        }
        let well = match fate {
            Fate::Keep => proven(fresh),
            Fate::UpdateInPlace => serves(fresh),
            _ => false,
        };
        let moves = fresh.deployment_id.is_empty();
        match &stale {
            // Nobody says how it is: then what holds of all that moves holds of this one.
            Some((stale, Fate::Migrate)) if moves && !fresh.canary() => {
                if drain::is_over(self.look.store, stale, self.look.now) {
                    self.stop(stale, stopped::MIGRATED);
                } else {
                    self.done = false;
                }
            }
            Some((stale, _)) if well && !fresh.canary() => self.stop(stale, stopped::UPDATED),
            Some(_) => self.done = false,
            None => {}
        }
        self.done &= well && fate == Fate::Keep && !fresh.canary();
        let gave_up = fate == Fate::Failed
            && self.look.failed()
            && self.look.is_member(fresh)
            && !fresh.deployment_healthy();
        if gave_up {
            self.out.changes.ignore += 1;
        } else {
            self.act(fresh, fate);
        }
    }

    fn act(&mut self, alloc: &Arc<Allocation>, fate: Fate) {
        let Look {
            store,
            group,
            eval,
            now,
            ..
        } = self.look;
        act(&mut self.out, store, group, alloc, fate, eval, now);
    }

    /// Begins what may be begun.
    fn go_on(mut self, limit: usize) -> Rolled {
        let promoted = self.look.state().is_some_and(|state| state.promoted);
        let of_group = usize::try_from(self.look.update.canary).unwrap_or(0);
        let goes_on = self.look.current.is_none() || self.look.active();
        let tried_first = goes_on
            && !promoted
            && of_group > 0
            && (self.canaries > 0 || !self.to_replace.is_empty());
        let on_trial = self.look.active()
            && self.look.state().is_some_and(DeploymentState::on_trial)
            || tried_first;
        let waits = self.look.is_held() || on_trial;
        self.restore(waits);
        // Where nothing older is to be kept, room that comes late is used all the same.
        let first = self.look.failed() && !self.has_older;
        for index in std::mem::take(&mut self.missing) {
            if !waits || first {
                self.out.changes.place += 1;
                let (job, group) = (&self.look.job.id, &self.look.group.name);
                let name = format!("{job}.{group}[{index}]");
                self.out.places.push(Place::new(name));
            }
        }
        if tried_first && !self.look.is_held() {
            self.place_canaries(of_group);
        }
        let allowed = if waits { 0 } else { limit };
        let to_replace = std::mem::take(&mut self.to_replace);
        let updating = !to_replace.is_empty() || !self.out.in_place.is_empty();
        for (nth, alloc) in to_replace.iter().enumerate() {
            if nth < allowed {
                self.out.changes.destructive_update += 1;
                let place =
                    Place::successor(alloc, Handover::Overlap, stopped::UPDATED, History::Forget);
                self.out.places.push(Place {
                    canary: false,
                    ..place
                });
            } else {
                self.out.changes.ignore += 1;
            }
        }
        moving::at_most_two(self.look.store, self.look.job, &mut self.out);
        let begins = updating || !self.out.places.is_empty();
        let wants_deployment = self.look.current.is_none_or(|current| {
            current.active() && !current.task_groups.contains_key(&self.look.group.name)
        }) && begins
            && (updating || !self.look.had_run());
        Rolled {
            wants_deployment,
            canaries: if tried_first { of_group as u64 } else { 0 },
            done: self.done && !on_trial,
            reconciled: self.out.in_order(),
        }
    }

    /// Replaces stale allocations that are gone: by the newest version, unless that isn't to go on.
    fn restore(&mut self, waits: bool) {
        for (alloc, fate) in std::mem::take(&mut self.to_restore) {
            let before = self.out.places.len();
            let failed = alloc.client_status == CLIENT_FAILED && fate == Fate::Ended;
            let fate = match fate {
                // It is to be what it was: so its own delays count.
                _ if waits && failed => Fate::Failed,
                fate => fate,
            };
            self.act(&alloc, fate);
            for place in &mut self.out.places[before..] {
                place.canary = false;
                if waits {
                    place.job.clone_from(&alloc.job);
                }
            }
        }
    }

    fn place_canaries(&mut self, wanted: usize) {
        let (job, group) = (&self.look.job.id, &self.look.group.name);
        let missing = wanted.saturating_sub(self.canaries);
        let free = |alloc: &&Arc<Allocation>| {
            let index = alloc.index();
            index.is_none_or(|index| !self.moving.contains(&index))
        };
        let beside = self.to_replace.iter().filter(free);
        let beside = beside.map(|alloc| alloc.name.clone());
        let used: BTreeSet<usize> = self
            .look
            .store
            .allocs_of_job(job)
            .filter(|alloc| alloc.task_group == *group && !alloc.server_terminal())
            .filter_map(|alloc| alloc.index())
            .collect();
        let further = (self.look.group.desired_count()..).filter(|index| !used.contains(index));
        let further = further.map(|index| format!("{job}.{group}[{index}]"));
        for name in beside.chain(further).take(missing).collect::<Vec<_>>() {
            self.out.changes.canary += 1;
            self.out.places.push(Place {
                canary: true,
                ..Place::new(name)
            });
        }
    }
}

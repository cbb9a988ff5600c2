//! What always holds of rollouts.

use std::collections::BTreeMap;

use crate::model::Allocation;
use crate::state::Store;

/// Two holders of a name are of different versions, and at least one is part of a deployment.
pub(super) fn one_replaces_the_other(one: &Allocation, other: &Allocation) -> bool {
    let version = |alloc: &Allocation| alloc.job.as_ref().map(|job| job.job_modify_index);
    let a_part = !one.deployment_id.is_empty() || !other.deployment_id.is_empty();
    a_part && version(one) != version(other)
}

pub(super) fn deployments_count(store: &Store) -> Result<(), String> {
    let mut active: BTreeMap<&str, &str> = BTreeMap::new();
    for deployment in store.deployments().filter(|row| row.active()) {
        let (id, job_id) = (&deployment.id, &deployment.job_id);
        if let Some(other) = active.insert(job_id, id) {
            return Err(format!("both {other} and {id} of job {job_id} go on"));
        }
        if !store.job(job_id).is_some_and(|job| deployment.is_of(job)) {
            return Err(format!("{id} goes on, and job {job_id} is another"));
        }
        for (group, state) in &deployment.task_groups {
            let members = store.allocs_in(job_id, id);
            let healthy = members
                .filter(|alloc| alloc.task_group == *group)
                .filter(|alloc| alloc.deployment_healthy() && !alloc.terminal())
                .count() as u64;
            if healthy != state.healthy_allocs {
                let counted = state.healthy_allocs;
                return Err(format!(
                    "{id} counts {counted} of {group}, and {healthy} are"
                ));
            }
        }
    }
    Ok(())
}

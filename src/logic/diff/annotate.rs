//! What a difference leads to: how many allocations of each group, and what each change forces.

use std::collections::BTreeMap;

use super::{GroupDiff, JobDiff, Kind, TaskDiff};
use crate::model::{GroupChanges, Job};
use crate::schedule;

const FORCES_CREATE: &str = "forces create";
const FORCES_DESTROY: &str = "forces destroy";
const FORCES_IN_PLACE: &str = "forces in-place update";
const FORCES_DESTRUCTIVE: &str = "forces create/destroy update";

/// Adds what the scheduler would do, and what of the difference between `old` and `new` makes it.
pub fn annotate(
    diff: &mut JobDiff,
    old: Option<&Job>,
    new: &Job,
    changes: &BTreeMap<String, GroupChanges>,
) {
    for group in &mut diff.task_groups {
        if let Some(changes) = changes.get(&group.name) {
            group.updates = updates(changes);
        }
        annotate_count(group);
        let kind = group.r#type;
        let old = old.and_then(|job| job.group(&group.name));
        let new = new.group(&group.name);
        for task in &mut group.tasks {
            let old = old.and_then(|group| group.task(&task.name));
            let new = new.and_then(|group| group.task(&task.name));
            let in_place = old
                .zip(new)
                .is_some_and(|(old, new)| !schedule::changed(old, new));
            task.annotations
                .extend(forced(task, kind, in_place).map(str::to_owned));
        }
    }
}

fn updates(changes: &GroupChanges) -> BTreeMap<String, u64> {
    let counts = [
        ("ignore", changes.ignore),
        ("create", changes.place),
        ("destroy", changes.stop),
        ("migrate", changes.migrate),
        ("canary", changes.canary),
        ("in-place update", changes.in_place_update),
        ("create/destroy update", changes.destructive_update),
    ];
    let some = counts.into_iter().filter(|(_, count)| *count > 0);
    some.map(|(what, count)| (what.to_owned(), count)).collect()
}

fn annotate_count(group: &mut GroupDiff) {
    let count = |text: &str| text.parse::<i64>().unwrap_or(0);
    for field in &mut group.fields {
        if field.name == "Count" {
            let more = count(&field.new) > count(&field.old);
            let forced = if more { FORCES_CREATE } else { FORCES_DESTROY };
            field.annotations.push(forced.to_owned());
        }
    }
}

fn forced(task: &TaskDiff, group: Kind, in_place: bool) -> Option<&'static str> {
    match (task.r#type, group) {
        (Kind::Same, _) => None,
        (Kind::Added, Kind::Added | Kind::Deleted) => Some(FORCES_CREATE),
        (Kind::Deleted, Kind::Added | Kind::Deleted) => Some(FORCES_DESTROY),
        (_, _) if in_place => Some(FORCES_IN_PLACE),
        (_, _) => Some(FORCES_DESTRUCTIVE),
    }
}

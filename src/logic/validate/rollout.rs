//! What is wrong with how a group is updated, or moved off a node.

use super::{Path, Report};
use crate::duration::format;
use crate::model::{TaskGroup, UpdateStrategy};

const HEALTH: [&str; 4] = ["", "checks", "task_states", "manual"];

pub(super) fn group(report: &mut Report, path: &Path, group: &TaskGroup) {
    if let Some(update) = &group.update {
        update_block(report, &path.field("Update"), update);
    }
    if let Some(migrate) = &group.migrate {
        let path = path.field("Migrate");
        let (check, what) = (path.field("HealthCheck"), "health_check");
        report.one_of(check, what, &migrate.health_check, &HEALTH, &[]);
        report.at_least(
            path.field("MaxParallel"),
            "max_parallel",
            migrate.max_parallel,
            0,
        );
    }
}

fn update_block(report: &mut Report, path: &Path, update: &UpdateStrategy) {
    let (check, what) = (path.field("HealthCheck"), "health_check");
    report.one_of(check, what, &update.health_check, &HEALTH, &[]);
    for (field, what, value) in [
        ("MaxParallel", "max_parallel", update.max_parallel),
        ("Canary", "canary", update.canary),
        ("Stagger", "stagger", update.stagger),
        (
            "MinHealthyTime",
            "min_healthy_time",
            update.min_healthy_time,
        ),
        (
            "HealthyDeadline",
            "healthy_deadline",
            update.healthy_deadline,
        ),
        (
            "ProgressDeadline",
            "progress_deadline",
            update.progress_deadline,
        ),
    ] {
        report.at_least(path.field(field), what, value, 0);
    }
    if !update.rolls() {
        return;
    }
    if update.auto_promote && update.canary == 0 {
        report.add_with(
            path.field("AutoPromote"),
            "auto_promote is set, but there are no canaries to promote",
            Some("set `canary`, or leave out `auto_promote`".to_owned()),
        );
    }
    if update.min_healthy_time >= update.healthy_deadline {
        report.add_with(
            path.field("MinHealthyTime"),
            std::format!(
                "min_healthy_time is {}, which is not less than the healthy_deadline of {}: no \
                 allocation could ever become healthy",
                format(update.min_healthy_time),
                format(update.healthy_deadline),
            ),
            Some("make min_healthy_time shorter, or healthy_deadline longer".to_owned()),
        );
    }
    let progress = update.progress_deadline;
    if progress > 0 && update.healthy_deadline >= progress {
        report.add_with(
            path.field("HealthyDeadline"),
            std::format!(
                "healthy_deadline is {}, which is not less than the progress_deadline of {}",
                format(update.healthy_deadline),
                format(progress),
            ),
            Some("make healthy_deadline shorter, or progress_deadline longer".to_owned()),
        );
    }
}

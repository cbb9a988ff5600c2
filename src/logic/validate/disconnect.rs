//! What a group wants when its node isn't heard.

use super::{Path, Report};
use crate::model::{BEST_SCORE, KEEP_ORIGINAL, KEEP_REPLACEMENT, LONGEST_RUNNING, TaskGroup};

const STRATEGIES: [&str; 4] = [KEEP_ORIGINAL, KEEP_REPLACEMENT, BEST_SCORE, LONGEST_RUNNING];

pub(super) fn group(report: &mut Report, path: &Path, group: &TaskGroup) {
    for (field, name, value) in [
        (
            "MaxClientDisconnect",
            "max_client_disconnect",
            group.max_client_disconnect,
        ),
        (
            "StopAfterClientDisconnect",
            "stop_after_client_disconnect",
            group.stop_after_client_disconnect,
        ),
    ] {
        report.at_least(path.field(field), name, value.unwrap_or(0), 0);
        if value.is_some() && group.disconnect.is_some() {
            report.add_with(
                path.field(field),
                format!("`{name}` and a `disconnect` block say the same"),
                Some(format!("leave out `{name}`")),
            );
        }
    }
    if group.max_client_disconnect.is_some() && group.stop_after_client_disconnect.is_some() {
        report.add(
            path.field("MaxClientDisconnect"),
            "`max_client_disconnect` and `stop_after_client_disconnect` contradict each other: \
             use one of them",
        );
    }
    let Some(strategy) = &group.disconnect else {
        return;
    };
    let path = path.field("Disconnect");
    let stop = strategy.stop_on_client_after;
    report.at_least(
        path.field("LostAfter"),
        "lost_after",
        strategy.lost_after,
        0,
    );
    report.at_least(
        path.field("StopOnClientAfter"),
        "stop_on_client_after",
        stop.unwrap_or(0),
        0,
    );
    if strategy.lost_after > 0 && stop.is_some() {
        report.add(
            path.field("LostAfter"),
            "`lost_after` and `stop_on_client_after` contradict each other: use one of them",
        );
    }
    if !strategy.reconcile.is_empty() {
        report.one_of(
            path.field("Reconcile"),
            "reconcile strategy",
            &strategy.reconcile,
            &STRATEGIES,
            &[],
        );
    }
}

//! Why allocations have no place: the counts the anchors print, and each node's reason in numbers.

use std::collections::BTreeMap;

use logic::model::AllocMetric;

/// Nodes whose reason is told when the rest isn't asked for.
const NODES_SHOWN: usize = 5;

/// A group's line and its reasons, indented below it.
pub(super) fn group(name: &str, metric: &AllocMetric, indent: &str, verbose: bool) -> Vec<String> {
    let count = metric.coalesced_failures + 1;
    let plural = if count == 1 { "" } else { "s" };
    let head =
        format!("{indent}Task Group \"{name}\" (failed to place {count} allocation{plural}):");
    let mut lines = vec![head];
    lines.extend(reasons(metric, &format!("{indent}  "), verbose));
    lines
}

/// What a scheduler's pass over the nodes came to, one line each.
pub(super) fn reasons(metric: &AllocMetric, indent: &str, verbose: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if metric.nodes_evaluated == 0 {
        lines.push("No nodes were eligible for evaluation".to_owned());
    }
    for (datacenter, count) in &metric.nodes_available {
        if *count == 0 {
            lines.push(format!(
                "No nodes are available in datacenter \"{datacenter}\""
            ));
        }
    }
    counts(&mut lines, "Class", &metric.class_filtered, "filtered");
    counts(
        &mut lines,
        "Constraint",
        &metric.constraint_filtered,
        "filtered",
    );
    if metric.nodes_exhausted > 0 {
        lines.push(format!(
            "Resources exhausted on {} nodes",
            metric.nodes_exhausted
        ));
    }
    counts(&mut lines, "Class", &metric.class_exhausted, "exhausted on");
    counts(
        &mut lines,
        "Dimension",
        &metric.dimension_exhausted,
        "exhausted on",
    );
    lines.extend(by_node(&metric.reasons, verbose));
    lines
        .into_iter()
        .map(|line| format!("{indent}* {line}"))
        .collect()
}

fn counts(lines: &mut Vec<String>, what: &str, by_name: &BTreeMap<String, u64>, verb: &str) {
    for (name, count) in by_name {
        lines.push(format!("{what} \"{name}\" {verb} {count} nodes"));
    }
}

fn by_node(reasons: &BTreeMap<String, String>, verbose: bool) -> Vec<String> {
    let shown = if verbose { usize::MAX } else { NODES_SHOWN };
    let line = |(node, reason): (&String, &String)| format!("Node \"{node}\": {reason}");
    let mut lines: Vec<_> = reasons.iter().take(shown).map(line).collect();
    let rest = reasons.len().saturating_sub(lines.len());
    if rest > 0 {
        lines.push(format!("... and {rest} more nodes (-verbose shows them)"));
    }
    lines
}

/// What of a score or a reason is worth showing of a placement that worked.
pub(super) fn scores(metric: &AllocMetric) -> Vec<String> {
    let score = |(name, score): (&String, &f64)| format!("  * Score \"{name}\" = {score:.6}");
    metric.scores.iter().map(score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(name: &str, count: u64) -> BTreeMap<String, u64> {
        BTreeMap::from([(name.to_owned(), count)])
    }

    #[test]
    fn exhausted_resources_read_as_in_the_anchor_with_our_reasons_below() {
        let metric = AllocMetric {
            nodes_evaluated: 3,
            nodes_exhausted: 3,
            coalesced_failures: 1,
            dimension_exhausted: counted("memory", 3),
            reasons: BTreeMap::from([(
                "n1".to_owned(),
                "needs 10000 MB of memory, 4096 of 4096 MB are free".to_owned(),
            )]),
            ..AllocMetric::default()
        };
        assert_eq!(
            group("bad", &metric, "    ", false).join("\n"),
            "    Task Group \"bad\" (failed to place 2 allocations):
      * Resources exhausted on 3 nodes
      * Dimension \"memory\" exhausted on 3 nodes
      * Node \"n1\": needs 10000 MB of memory, 4096 of 4096 MB are free"
        );
    }

    #[test]
    fn constraints_and_datacenters_read_as_in_the_anchor() {
        let metric = AllocMetric {
            constraint_filtered: counted("${attr.kernel.name} = windows", 3),
            nodes_available: counted("dc9", 0),
            ..AllocMetric::default()
        };
        assert_eq!(
            reasons(&metric, "  ", false).join("\n"),
            "  * No nodes were eligible for evaluation
  * No nodes are available in datacenter \"dc9\"
  * Constraint \"${attr.kernel.name} = windows\" filtered 3 nodes"
        );
    }

    #[test]
    fn many_nodes_are_summed_up_unless_asked_for() {
        let node = |number: u32| (format!("n{number}"), "full".to_owned());
        let metric = AllocMetric {
            nodes_evaluated: 9,
            reasons: (1..=9).map(node).collect(),
            ..AllocMetric::default()
        };
        let short = reasons(&metric, "", false);
        assert_eq!(short.len(), 6);
        assert_eq!(short[5], "* ... and 4 more nodes (-verbose shows them)");
        assert_eq!(reasons(&metric, "", true).len(), 9);
    }
}

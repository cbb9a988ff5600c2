//! `distinct_hosts` and `distinct_property`: how a job's allocations must spread.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::feasible::{self, is_distinct};
use super::room::Room;
use crate::model::{Constraint, Job, Node, TaskGroup};

/// The limits of one group, and how far they are used up.
#[derive(Default)]
pub(super) struct Distinct {
    limits: Vec<Limit>,
}

/// At most so many allocations where a property has the same value.
struct Limit {
    label: String,
    property: String,
    at_most: usize,
    used: BTreeMap<String, usize>,
    /// Which of the nodes that are searched share a value.
    sharing: BTreeMap<String, Vec<usize>>,
}

impl Distinct {
    /// The limits for `group` on `nodes`, with what the job has already.
    pub(super) fn new(room: &Room<'_>, job: &Job, group: &TaskGroup, nodes: &[&Arc<Node>]) -> Self {
        let of_job = job.constraints.iter().map(|constraint| (constraint, None));
        let name = Some(group.name.as_str());
        let of_group = group
            .constraints
            .iter()
            .map(|constraint| (constraint, name));
        let limits = of_job.chain(of_group).filter_map(|(constraint, only)| {
            let (property, at_most) = read(constraint)?;
            let mut limit = Limit {
                label: constraint.to_string(),
                property: property.to_owned(),
                at_most,
                used: BTreeMap::new(),
                sharing: BTreeMap::new(),
            };
            limit.count(room, job, only);
            for (at, node) in nodes.iter().enumerate() {
                if let Some(value) = feasible::resolve(property, node) {
                    limit.sharing.entry(value).or_default().push(at);
                }
            }
            Some(limit)
        });
        Self {
            limits: limits.collect(),
        }
    }

    /// Whether one more may go to `node`; if not, what to count it under and a sentence.
    pub(super) fn check(&self, node: &Node) -> Result<(), (String, String)> {
        for limit in &self.limits {
            let property = &limit.property;
            let Some(value) = feasible::value(property, node) else {
                return Err((limit.label.clone(), format!("the node has no {property}")));
            };
            let used = limit.used.get(value).copied().unwrap_or(0);
            if used >= limit.at_most {
                let sentence = format!(
                    "{used} of at most {} allocations with {property} = {value} are placed",
                    limit.at_most
                );
                return Err((limit.label.clone(), sentence));
            }
        }
        Ok(())
    }

    /// One allocation more or less on `node`. Answers which of the searched nodes that concerns.
    pub(super) fn changed(&mut self, node: &Node, more: bool) -> Vec<usize> {
        let mut concerned = Vec::new();
        for limit in &mut self.limits {
            let Some(value) = feasible::resolve(&limit.property, node) else {
                continue;
            };
            let used = limit.used.entry(value.clone()).or_default();
            *used = if more {
                *used + 1
            } else {
                used.saturating_sub(1)
            };
            concerned.extend(limit.sharing.get(&value).into_iter().flatten());
        }
        concerned
    }
}

impl Limit {
    fn count(&mut self, room: &Room<'_>, job: &Job, only: Option<&str>) {
        let staying = room.staying(&job.id, only).map(|alloc| &alloc.node_id);
        // What the plan places before a group's turn belongs to the job's other groups.
        let placed = room.placed_on().iter().filter(|_| only.is_none());
        for node_id in staying.chain(placed) {
            let node = room.store().node(node_id);
            if let Some(value) = node.and_then(|node| feasible::resolve(&self.property, node)) {
                *self.used.entry(value).or_default() += 1;
            }
        }
    }
}

/// The property and the limit that a constraint sets, if it is one of this kind.
fn read(constraint: &Constraint) -> Option<(&str, usize)> {
    if !is_distinct(constraint) {
        return None;
    }
    match constraint.operand.as_str() {
        "distinct_hosts" if constraint.right == "false" => None,
        "distinct_hosts" => Some(("${node.unique.id}", 1)),
        _ => Some((
            constraint.left.as_str(),
            constraint.right.parse().unwrap_or(1),
        )),
    }
}

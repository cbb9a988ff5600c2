//! Where a group goes best: every ready node is looked at, the fullest that still fits wins,
//! unless the job is there already.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::feasible::{self, is_distinct};
use super::ports::{self, Assigned};
use crate::id::Ids;
use crate::model::{AllocMetric, Allocation, Job, Node, Resources, TaskGroup};
use crate::state::{Store, Usage};

/// Reasons are kept for at most this many nodes.
const REASONS_KEPT: usize = 32;

/// A node, and what the group gets there.
pub(super) struct Chosen {
    pub(super) node: Arc<Node>,
    pub(super) networks: Assigned,
    pub(super) metric: AllocMetric,
}

/// The nodes as they will be once the plan made so far is carried out.
pub(super) struct Placing<'a> {
    store: &'a Store,
    /// Nodes whose usage the plan changes.
    usage: BTreeMap<String, Usage>,
    /// Ports given up by allocations that the plan stops, by node.
    releasing: BTreeMap<String, BTreeSet<u16>>,
    /// Allocations of the job that the plan places or stops, by node.
    placed: BTreeMap<String, Vec<(String, String)>>,
    stopped: BTreeSet<String>,
}

impl<'a> Placing<'a> {
    pub(super) fn new(store: &'a Store) -> Self {
        Self {
            store,
            usage: BTreeMap::new(),
            releasing: BTreeMap::new(),
            placed: BTreeMap::new(),
            stopped: BTreeSet::new(),
        }
    }

    fn usage(&self, node_id: &str) -> Usage {
        self.usage
            .get(node_id)
            .cloned()
            .unwrap_or_else(|| self.store.usage(node_id))
    }

    /// Accounts for an allocation that the plan stops. Its ports stay taken for dynamic choices.
    pub(super) fn release(&mut self, alloc: &Allocation) {
        if !alloc.occupies() || !self.stopped.insert(alloc.id.clone()) {
            return;
        }
        let mut usage = self.usage(&alloc.node_id);
        usage.cpu -= alloc.resources.cpu;
        usage.memory_mb -= alloc.resources.memory_mb;
        usage.disk_mb -= alloc.resources.disk_mb;
        self.usage.insert(alloc.node_id.clone(), usage);
        let ports = alloc.ports().map(|(_, port)| port.value);
        self.releasing
            .entry(alloc.node_id.clone())
            .or_default()
            .extend(ports);
    }

    /// Accounts for an allocation that the plan places.
    pub(super) fn hold(&mut self, alloc: &Allocation) {
        let mut usage = self.usage(&alloc.node_id);
        usage.add(alloc);
        self.usage.insert(alloc.node_id.clone(), usage);
        let group = alloc.task_group.clone();
        self.placed
            .entry(alloc.node_id.clone())
            .or_default()
            .push((alloc.job_id.clone(), group));
    }

    /// The best node for one more allocation of `group`.
    pub(super) fn choose(
        &self,
        job: &Job,
        group: &TaskGroup,
        eval_id: &str,
        avoid: &[String],
        ids: &mut Ids,
    ) -> Result<Chosen, Box<AllocMetric>> {
        let mut metric = AllocMetric::default();
        let mut best: Option<(f64, u64, &Arc<Node>)> = None;
        let asked = group.resources();
        for node in self.store.nodes().filter(|node| node.ready()) {
            if !feasible::in_datacenter(job, node) {
                continue;
            }
            *metric
                .nodes_available
                .entry(node.datacenter.clone())
                .or_default() += 1;
            metric.nodes_evaluated += 1;
            if !self.feasible(job, group, node, &mut metric) {
                continue;
            }
            if let Some(lack) = lacking(node, &self.usage(&node.id), &asked) {
                exhausted(&mut metric, node, &lack);
                continue;
            }
            let score = self.score(job, group, node, &asked, avoid);
            metric.scores.insert(format!("{}.binpack", node.id), score);
            let tie = tie_break(eval_id, &node.id);
            if best.is_none_or(|(top, top_tie, _)| (score, tie) > (top, top_tie)) {
                best = Some((score, tie, node));
            }
        }
        let Some((_, _, node)) = best else {
            return Err(Box::new(metric));
        };
        match self.assign(group, node, ids) {
            Ok(networks) => Ok(self.chosen(node, networks, metric)),
            Err(lack) => {
                exhausted(&mut metric, node, &lack);
                self.next_best(job, group, &asked, avoid, metric, ids)
            }
        }
    }

    /// The best node lacked ports, which is rare: try the others in order of score.
    fn next_best(
        &self,
        job: &Job,
        group: &TaskGroup,
        asked: &Resources,
        avoid: &[String],
        mut metric: AllocMetric,
        ids: &mut Ids,
    ) -> Result<Chosen, Box<AllocMetric>> {
        let mut candidates: Vec<(f64, &Arc<Node>)> = self
            .store
            .nodes()
            .filter(|node| metric.scores.contains_key(&format!("{}.binpack", node.id)))
            .map(|node| (self.score(job, group, node, asked, avoid), node))
            .collect();
        candidates.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        for (_, node) in candidates.into_iter().skip(1) {
            match self.assign(group, node, ids) {
                Ok(networks) => return Ok(self.chosen(node, networks, metric)),
                Err(lack) => exhausted(&mut metric, node, &lack),
            }
        }
        metric.scores.clear();
        Err(Box::new(metric))
    }

    /// Whether one more allocation fits on this very node (for system jobs).
    pub(super) fn fit_on(
        &self,
        job: &Job,
        group: &TaskGroup,
        node: &Arc<Node>,
        ids: &mut Ids,
    ) -> Result<Chosen, Box<AllocMetric>> {
        let mut metric = AllocMetric {
            nodes_evaluated: 1,
            ..AllocMetric::default()
        };
        metric.nodes_available.insert(node.datacenter.clone(), 1);
        let asked = group.resources();
        if let Some(lack) = lacking(node, &self.usage(&node.id), &asked) {
            exhausted(&mut metric, node, &lack);
            return Err(Box::new(metric));
        }
        match self.assign(group, node, ids) {
            Ok(networks) => {
                let score = self.score(job, group, node, &asked, &[]);
                metric.scores.insert(format!("{}.binpack", node.id), score);
                Ok(self.chosen(node, networks, metric))
            }
            Err(lack) => {
                exhausted(&mut metric, node, &lack);
                Err(Box::new(metric))
            }
        }
    }

    fn chosen(&self, node: &Arc<Node>, networks: Assigned, mut metric: AllocMetric) -> Chosen {
        let key = format!("{}.binpack", node.id);
        metric.scores.retain(|name, _| *name == key);
        metric.reasons.clear();
        Chosen {
            node: Arc::clone(node),
            networks,
            metric,
        }
    }

    fn assign(&self, group: &TaskGroup, node: &Node, ids: &mut Ids) -> Result<Assigned, Lack> {
        let empty = BTreeSet::new();
        let releasing = self.releasing.get(&node.id).unwrap_or(&empty);
        ports::assign(group, node, &self.usage(&node.id), releasing, ids).map_err(|no| Lack {
            dimension: no.dimension,
            detail: no.detail,
        })
    }

    fn feasible(
        &self,
        job: &Job,
        group: &TaskGroup,
        node: &Node,
        metric: &mut AllocMetric,
    ) -> bool {
        let verdict =
            feasible::check(job, group, node).map_err(|why| (why.label(), why.to_string()));
        let Err((label, sentence)) = verdict.and_then(|()| self.distinct(job, group, node)) else {
            return true;
        };
        metric.nodes_filtered += 1;
        *metric.constraint_filtered.entry(label).or_default() += 1;
        explain(metric, node, sentence);
        false
    }

    /// `distinct_hosts` and `distinct_property`: how the job's allocations must spread.
    fn distinct(&self, job: &Job, group: &TaskGroup, node: &Node) -> Result<(), (String, String)> {
        let of_job = job.constraints.iter().map(|constraint| (constraint, None));
        let of_group = group
            .constraints
            .iter()
            .map(|constraint| (constraint, Some(&group.name)));
        for (constraint, only) in of_job.chain(of_group).filter(|(c, _)| is_distinct(c)) {
            let (limit, property) = match constraint.operand.as_str() {
                "distinct_hosts" if constraint.right == "false" => continue,
                "distinct_hosts" => (1, "${node.unique.id}"),
                _ => (
                    constraint.right.parse().unwrap_or(1),
                    constraint.left.as_str(),
                ),
            };
            let label = constraint.to_string();
            let Some(value) = feasible::resolve(property, node) else {
                return Err((label, format!("the node has no {property}")));
            };
            let used = self.count_with(job, only.map(String::as_str), property, &value);
            if used >= limit {
                let sentence =
                    format!("{used} of {limit} allocations with {property} = {value} are placed");
                return Err((label, sentence));
            }
        }
        Ok(())
    }

    /// Allocations of the job (of one group, if given) on nodes where `property` is `value`.
    fn count_with(&self, job: &Job, group: Option<&str>, property: &str, value: &str) -> usize {
        let matches = |node_id: &str| {
            self.store
                .node(node_id)
                .and_then(|node| feasible::resolve(property, node))
                .is_some_and(|other| other == value)
        };
        let existing = self
            .store
            .allocs_of_job(&job.id)
            .filter(|alloc| !alloc.terminal() && !self.stopped.contains(&alloc.id))
            .filter(|alloc| group.is_none_or(|group| alloc.task_group == group))
            .filter(|alloc| matches(&alloc.node_id));
        let planned = self
            .placed
            .iter()
            .filter(|(node_id, _)| matches(node_id))
            .flat_map(|(_, allocs)| allocs)
            .filter(|(_, placed)| group.is_none_or(|group| placed == group));
        existing.count() + planned.count()
    }

    /// Best fit as Google published it for clusters (0 empty to 18 full), less 20 for each
    /// allocation of the same group already there, less 10 for a node it failed on.
    fn score(
        &self,
        job: &Job,
        group: &TaskGroup,
        node: &Node,
        asked: &Resources,
        avoid: &[String],
    ) -> f64 {
        let (have, usage) = (node.available(), self.usage(&node.id));
        let free = |have: i64, used: i64| {
            #[expect(clippy::cast_precision_loss, reason = "a score needs no exactness")]
            if have <= 0 {
                0.0
            } else {
                1.0 - used as f64 / have as f64
            }
        };
        let cpu = free(have.cpu, usage.cpu + asked.cpu);
        let memory = free(have.memory_mb, usage.memory_mb + asked.memory_mb);
        let fit = (20.0 - (10f64.powf(cpu) + 10f64.powf(memory))).clamp(0.0, 18.0);
        let same = |alloc: &&Arc<Allocation>| {
            alloc.job_id == job.id && alloc.task_group == group.name && !alloc.terminal()
        };
        let existing = self
            .store
            .allocs_on_node(&node.id)
            .filter(same)
            .filter(|alloc| !self.stopped.contains(&alloc.id))
            .count();
        let planned = self.placed.get(&node.id).map_or(0, |allocs| {
            allocs
                .iter()
                .filter(|(id, name)| *id == job.id && *name == group.name)
                .count()
        });
        #[expect(clippy::cast_precision_loss, reason = "a score needs no exactness")]
        let collisions = (existing + planned) as f64;
        let failed_here = if avoid.contains(&node.id) { 10.0 } else { 0.0 };
        fit - 20.0 * collisions - failed_here
    }
}

/// What a node has too little of.
struct Lack {
    dimension: String,
    detail: String,
}

fn lacking(node: &Node, usage: &Usage, asked: &Resources) -> Option<Lack> {
    let have = node.available();
    [
        ("cpu", "MHz", have.cpu, usage.cpu, asked.cpu),
        (
            "memory",
            "MB",
            have.memory_mb,
            usage.memory_mb,
            asked.memory_mb,
        ),
        ("disk", "MB", have.disk_mb, usage.disk_mb, asked.disk_mb),
    ]
    .into_iter()
    .find(|(_, _, have, used, asked)| used + asked > *have)
    .map(|(dimension, unit, have, used, asked)| Lack {
        dimension: dimension.to_owned(),
        detail: format!(
            "needs {asked} {unit} of {dimension}, {} of {have} {unit} are free",
            (have - used).max(0)
        ),
    })
}

fn exhausted(metric: &mut AllocMetric, node: &Node, lack: &Lack) {
    metric.nodes_exhausted += 1;
    *metric
        .dimension_exhausted
        .entry(lack.dimension.clone())
        .or_default() += 1;
    explain(metric, node, lack.detail.clone());
}

fn explain(metric: &mut AllocMetric, node: &Node, sentence: String) {
    if metric.reasons.len() < REASONS_KEPT {
        metric.reasons.insert(node.name.clone(), sentence);
    }
}

/// Among equals each evaluation prefers another node, so that jobs spread over an empty cluster.
fn tie_break(eval_id: &str, node_id: &str) -> u64 {
    eval_id
        .bytes()
        .chain(node_id.bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
}

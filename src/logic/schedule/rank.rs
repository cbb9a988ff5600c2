//! Where a group goes best: the fullest node that still fits wins, unless the group is there
//! already. Every ready node is scored once; afterwards only those that the plan touched.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::distinct::Distinct;
use super::feasible;
use super::ports::Assigned;
use super::room::{Held, Lack, Room};
use crate::id::Ids;
use crate::model::{AllocMetric, Allocation, JOB_BATCH, Job, Node, Resources, TaskGroup};

/// Reasons are kept for at most this many nodes.
pub(super) const REASONS_KEPT: usize = 32;

/// What an allocation of the same group takes off a node's score. The best score is 18.
const CROWDING: f64 = 20.0;
const CROWDING_BATCH: f64 = 10.0;
/// What it takes off if an earlier attempt failed there.
const FAILED_THERE: f64 = 50.0;

/// A node, and what the group gets there.
pub(super) struct Chosen {
    pub(super) node: Arc<Node>,
    pub(super) networks: Assigned,
    pub(super) metric: AllocMetric,
}

/// The search for places for one group.
pub(super) struct Search<'a> {
    group: &'a TaskGroup,
    asked: Resources,
    crowding: f64,
    /// By node id.
    candidates: Vec<Candidate<'a>>,
    ranking: BTreeSet<Rank>,
    distinct: Distinct,
    /// Counts of the candidates' states.
    metric: AllocMetric,
}

struct Candidate<'a> {
    node: &'a Arc<Node>,
    /// Allocations of the same group there.
    same: u32,
    tie_break: u64,
    state: State,
}

#[derive(Clone)]
enum State {
    Ranked(Rank),
    Exhausted(Lack),
    /// What it is counted under, and a sentence.
    Filtered(String, String),
    /// As before, but it can change with the plan.
    Crowded(String, String),
}

/// A candidate's place in the ranking; the greatest is the best.
#[derive(Clone, Copy)]
struct Rank {
    score: f64,
    tie_break: u64,
    at: usize,
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let scores = self.score.total_cmp(&other.score);
        scores.then((self.tie_break, self.at).cmp(&(other.tie_break, other.at)))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Rank {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Rank {}

impl<'a> Search<'a> {
    /// Looks at every ready node of the job's datacenters.
    pub(super) fn new(room: &Room<'a>, job: &Job, group: &'a TaskGroup, eval_id: &str) -> Self {
        let ready = room.store().nodes().filter(|node| node.ready());
        let nodes: Vec<_> = ready
            .filter(|node| feasible::in_datacenter(job, node))
            .collect();
        let mut same: BTreeMap<&str, u32> = BTreeMap::new();
        for alloc in room.staying(&job.id, Some(&group.name)) {
            *same.entry(&alloc.node_id).or_default() += 1;
        }
        let mut search = Self {
            group,
            asked: group.resources(),
            crowding: if job.r#type == JOB_BATCH {
                CROWDING_BATCH
            } else {
                CROWDING
            },
            distinct: Distinct::new(room, job, group, &nodes),
            candidates: Vec::with_capacity(nodes.len()),
            ranking: BTreeSet::new(),
            metric: AllocMetric::default(),
        };
        for named in job.datacenters.iter().filter(|name| !name.contains('*')) {
            // One that has no nodes is what people look for.
            search.metric.nodes_available.insert(named.clone(), 0);
        }
        for (at, node) in nodes.into_iter().enumerate() {
            search.metric.nodes_evaluated += 1;
            one_more(&mut search.metric.nodes_available, &node.datacenter);
            let mut candidate = Candidate {
                node,
                same: same.get(node.id.as_str()).copied().unwrap_or(0),
                tie_break: tie_break(eval_id, &node.id),
                state: State::Filtered(String::new(), String::new()),
            };
            candidate.state = match feasible::check(job, group, node) {
                Ok(()) => search.outlook(room, at, &candidate),
                Err(why) => State::Filtered(why.label(), why.to_string()),
            };
            search.count(&candidate.state, true);
            search.candidates.push(candidate);
        }
        search
    }

    /// The plan places an allocation of the group.
    pub(super) fn joined(&mut self, room: &Room<'_>, alloc: &Allocation) {
        self.changed(room, alloc, true);
    }

    /// The plan stops an allocation of the group.
    pub(super) fn left(&mut self, room: &Room<'_>, alloc: &Allocation) {
        self.changed(room, alloc, false);
    }

    fn changed(&mut self, room: &Room<'_>, alloc: &Allocation, more: bool) {
        if alloc.terminal() {
            return;
        }
        self.crowds(room, alloc, more);
        if let Some(node) = room.store().node(&alloc.node_id) {
            for at in self.distinct.changed(node, more) {
                self.look_at(room, at);
            }
        }
    }

    /// Whether others of the group keep away from an allocation's node for its sake.
    pub(super) fn crowds(&mut self, room: &Room<'_>, alloc: &Allocation, yes: bool) {
        if let Some(at) = self.find(&alloc.node_id) {
            let same = &mut self.candidates[at].same;
            *same = if yes {
                *same + 1
            } else {
                same.saturating_sub(1)
            };
            self.look_at(room, at);
        }
    }

    fn find(&self, node_id: &str) -> Option<usize> {
        self.candidates
            .binary_search_by(|candidate| candidate.node.id.as_str().cmp(node_id))
            .ok()
    }

    /// Works out anew what becomes of a candidate.
    fn look_at(&mut self, room: &Room<'_>, at: usize) {
        let candidate = &self.candidates[at];
        if !matches!(candidate.state, State::Filtered(..)) {
            let state = self.outlook(room, at, candidate);
            self.set(at, state);
        }
    }

    /// What becomes of a candidate that is feasible.
    fn outlook(&self, room: &Room<'_>, at: usize, candidate: &Candidate<'_>) -> State {
        let node = candidate.node;
        if let Err((label, sentence)) = self.distinct.check(node) {
            return State::Crowded(label, sentence);
        }
        let held = room.held(node);
        match held.lack(self.group, &self.asked) {
            Some(lack) => State::Exhausted(lack),
            None => State::Ranked(Rank {
                score: fit(&held, &self.asked) - self.crowding * f64::from(candidate.same),
                tie_break: candidate.tie_break,
                at,
            }),
        }
    }

    fn set(&mut self, at: usize, state: State) {
        let old = self.candidates[at].state.clone();
        self.count(&old, false);
        self.count(&state, true);
        self.candidates[at].state = state;
    }

    fn count(&mut self, state: &State, more: bool) {
        let (total, by_label, label) = match state {
            State::Ranked(rank) if more => {
                self.ranking.insert(*rank);
                return;
            }
            State::Ranked(rank) => {
                self.ranking.remove(rank);
                return;
            }
            State::Exhausted(lack) => (
                &mut self.metric.nodes_exhausted,
                &mut self.metric.dimension_exhausted,
                &lack.dimension,
            ),
            State::Filtered(label, _) | State::Crowded(label, _) => (
                &mut self.metric.nodes_filtered,
                &mut self.metric.constraint_filtered,
                label,
            ),
        };
        if more {
            *total += 1;
            one_more(by_label, label);
        } else {
            *total -= 1;
            one_less(by_label, label);
        }
    }

    /// The best node for one more allocation; rather not one of `avoid`.
    pub(super) fn choose(
        &mut self,
        room: &Room<'_>,
        avoid: &[String],
        ids: &mut Ids,
    ) -> Result<Chosen, Box<AllocMetric>> {
        let avoid: BTreeSet<usize> = avoid.iter().filter_map(|node| self.find(node)).collect();
        while let Some(best) = self.best(&avoid) {
            let node = self.candidates[best.at].node;
            let held = room.held(node);
            match held.assign(self.group, ids) {
                Ok(networks) => {
                    let mut metric = self.metric.clone();
                    let fit = fit(&held, &self.group.resources());
                    metric.scores.insert(score_key(node, "binpack"), fit);
                    if best.score < fit {
                        let penalty = best.score - fit;
                        metric
                            .scores
                            .insert(score_key(node, "job-anti-affinity"), penalty);
                    }
                    return Ok(Chosen {
                        node: Arc::clone(node),
                        networks,
                        metric,
                    });
                }
                Err(lack) => self.set(best.at, State::Exhausted(lack)),
            }
        }
        Err(Box::new(self.failure()))
    }

    fn best(&self, avoid: &BTreeSet<usize>) -> Option<Rank> {
        let free = self.ranking.iter().rev();
        let free = free.copied().find(|rank| !avoid.contains(&rank.at));
        let avoided = avoid
            .iter()
            .filter_map(|at| match self.candidates[*at].state {
                State::Ranked(rank) => Some(Rank {
                    score: rank.score - FAILED_THERE,
                    ..rank
                }),
                State::Exhausted(_) | State::Filtered(..) | State::Crowded(..) => None,
            });
        free.into_iter().chain(avoided).max()
    }

    /// Why nothing was found, node by node.
    pub(super) fn failure(&self) -> AllocMetric {
        let reasons = self.candidates.iter().filter_map(|candidate| {
            let sentence = match &candidate.state {
                State::Ranked(_) => return None,
                State::Exhausted(lack) => &lack.detail,
                State::Filtered(_, sentence) | State::Crowded(_, sentence) => sentence,
            };
            Some((candidate.node.name.clone(), sentence.clone()))
        });
        AllocMetric {
            reasons: reasons.take(REASONS_KEPT).collect(),
            ..self.metric.clone()
        }
    }
}

/// Whether one more allocation fits on this very node (for system jobs).
pub(super) fn fit_on(
    room: &Room<'_>,
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
    let held = room.held(node);
    let networks = match held.lack(group, &asked) {
        Some(lack) => Err(lack),
        None => held.assign(group, ids),
    };
    match networks {
        Ok(networks) => {
            let score = fit(&held, &asked);
            metric.scores.insert(score_key(node, "binpack"), score);
            Ok(Chosen {
                node: Arc::clone(node),
                networks,
                metric,
            })
        }
        Err(lack) => {
            metric.nodes_exhausted = 1;
            metric.dimension_exhausted.insert(lack.dimension, 1);
            metric.reasons.insert(node.name.clone(), lack.detail);
            Err(Box::new(metric))
        }
    }
}

fn one_more(counts: &mut BTreeMap<String, u64>, label: &str) {
    if let Some(count) = counts.get_mut(label) {
        *count += 1;
    } else {
        counts.insert(label.to_owned(), 1);
    }
}

fn one_less(counts: &mut BTreeMap<String, u64>, label: &str) {
    if let Some(count) = counts.get_mut(label) {
        *count -= 1;
        if *count == 0 {
            counts.remove(label);
        }
    }
}

fn score_key(node: &Node, scorer: &str) -> String {
    format!("{}.{scorer}", node.id)
}

/// Best fit as Google published it for clusters: 0 for an empty node to 18 for a full one.
fn fit(held: &Held<'_>, asked: &Resources) -> f64 {
    let (have, usage) = (held.node.available(), held.usage);
    #[expect(clippy::cast_precision_loss, reason = "a score needs no exactness")]
    let free = |have: i64, used: i64| {
        if have <= 0 {
            0.0
        } else {
            1.0 - used as f64 / have as f64
        }
    };
    let cpu = free(have.cpu, usage.cpu + asked.cpu);
    let memory = free(have.memory_mb, usage.memory_mb + asked.memory_mb);
    (20.0 - (10f64.powf(cpu) + 10f64.powf(memory))).clamp(0.0, 18.0)
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

//! A cluster without machines: servers that apply and schedule, and nodes that do as they are told.

use std::sync::Arc;

use crate::duration::SECOND;
use crate::id::{Ids, uuid};
use crate::invariants;
use crate::model::{
    AllocReport, Allocation, CLIENT_COMPLETE, CLIENT_FAILED, CLIENT_PENDING, CLIENT_RUNNING,
    CatalogNode, DrainStrategy, DriverInfo, EVAL_FAILED, EVAL_PENDING, Evaluation, JOB_SERVICE,
    Job, NODE_DOWN, NODE_READY, Network, Node, Port, Resources, Service, TRIGGER_NODE_DRAIN, Task,
    TaskGroup, Value,
};
use crate::schedule::verify::{Verified, verify};
use crate::schedule::{Decision, schedule};
use crate::state::{Command, Entry, Outcome, Refusal, Reply, Store};
use crate::time::Time;

/// More evaluations than any story needs.
const EVALS_MAX: usize = 2_000;

#[derive(Clone)]
pub(crate) struct Cluster {
    pub(crate) store: Store,
    pub(crate) now: Time,
    pub(crate) log: Vec<Entry>,
    nodes: u64,
    schedulings: u64,
}

impl Cluster {
    /// An empty cluster.
    pub(crate) fn new() -> Self {
        let mut cluster = Self {
            store: Store::default(),
            now: Time::from_secs(1_000),
            log: Vec::new(),
            nodes: 0,
            schedulings: 0,
        };
        cluster.apply(Command::Found { seed: 7 });
        cluster
    }

    /// A cluster of equal nodes: `n1`, `n2`, ...
    pub(crate) fn of(nodes: usize) -> Self {
        let mut cluster = Self::new();
        for _ in 0..nodes {
            cluster.join(|_| {});
        }
        cluster
    }

    /// One more node, different from the others as `but` says.
    pub(crate) fn join(&mut self, but: impl FnOnce(&mut Node)) -> String {
        self.nodes += 1;
        let mut node = Node {
            id: uuid(self.nodes, 0),
            name: format!("n{}", self.nodes),
            datacenter: "dc1".into(),
            address: format!("10.0.0.{}", self.nodes),
            resources: Resources {
                cpu: 4_000,
                memory_mb: 4_096,
                disk_mb: 20_000,
                ..Resources::default()
            },
            drivers: [(
                "docker".to_owned(),
                DriverInfo {
                    detected: true,
                    healthy: true,
                    ..DriverInfo::default()
                },
            )]
            .into(),
            ..Node::default()
        };
        but(&mut node);
        let name = node.name.clone();
        self.register(node);
        name
    }

    pub(crate) fn register(&mut self, node: Node) {
        let catalog = CatalogNode {
            id: node.id.clone(),
            node: node.name.clone(),
            address: node.address.clone(),
            datacenter: node.datacenter.clone(),
            ..CatalogNode::default()
        };
        let node = Box::new(node);
        self.apply(Command::RegisterNode { node, catalog });
    }

    pub(crate) fn node(&self, name: &str) -> Arc<Node> {
        let mut nodes = self.store.nodes();
        nodes.find(|node| node.name == name).expect("node").clone()
    }

    pub(crate) fn down(&mut self, name: &str) {
        let node_id = self.node(name).id.clone();
        self.apply(Command::SetNodeStatus {
            node_id,
            status: NODE_DOWN.into(),
            description: "no heartbeat".into(),
        });
    }

    pub(crate) fn up(&mut self, name: &str) {
        let node = (*self.node(name)).clone();
        self.register(node);
    }

    /// A node registers again with so many MB of memory.
    pub(crate) fn resize(&mut self, name: &str, memory_mb: i64) {
        let mut node = (*self.node(name)).clone();
        node.resources.memory_mb = memory_mb;
        self.register(node);
    }

    pub(crate) fn eligible(&mut self, name: &str, eligible: bool) {
        let node_id = self.node(name).id.clone();
        self.apply(Command::SetNodeEligibility { node_id, eligible });
    }

    /// A node is to be emptied, with this deadline; or not any more.
    pub(crate) fn set_drain(&mut self, name: &str, deadline: Option<i64>) {
        self.apply(Command::SetNodeDrain {
            node_id: self.node(name).id.clone(),
            drain: deadline.map(|deadline| DrainStrategy {
                deadline,
                ..DrainStrategy::default()
            }),
            eligible: true,
            complete: false,
        });
    }

    pub(crate) fn emptied(&mut self, node_id: String) {
        self.apply(Command::SetNodeDrain {
            node_id,
            drain: None,
            eligible: false,
            complete: true,
        });
    }

    pub(crate) fn send_away(&mut self, alloc_ids: Vec<String>) {
        self.apply(Command::MigrateAllocs {
            alloc_ids,
            trigger: TRIGGER_NODE_DRAIN.into(),
        });
    }

    /// Appends an entry to the log, applies it, and looks whether everything is in order.
    pub(crate) fn apply(&mut self, command: Command) -> Outcome {
        let entry = Entry {
            index: self.store.index() + 1,
            at: self.now,
            proposal: String::new(),
            command,
        };
        self.log.push(entry.clone());
        let outcome = self.store.apply(entry);
        if let Err(broken) = invariants::check(&self.store) {
            panic!("{broken}\nafter {:?}", self.log.last());
        }
        outcome
    }

    /// Registers a job and runs the cluster until it rests. Answers the evaluation's id.
    pub(crate) fn run(&mut self, job: &Job) -> String {
        let reply = self.submit(job, None).expect("registered");
        self.settle();
        let Reply::Evaluated { eval_id, .. } = reply else {
            panic!("{reply:?}")
        };
        eval_id
    }

    pub(crate) fn submit(&mut self, job: &Job, check_index: Option<u64>) -> Result<Reply, Refusal> {
        let job = Box::new(job.clone());
        self.apply(Command::RegisterJob { job, check_index }).reply
    }

    pub(crate) fn stop(&mut self, job_id: &str, purge: bool) {
        let job_id = job_id.to_owned();
        self.apply(Command::DeregisterJob { job_id, purge });
    }

    pub(crate) fn evaluate_again(&mut self, job_id: &str) {
        let job_id = job_id.to_owned();
        self.apply(Command::EvaluateJob { job_id });
        self.settle();
    }

    /// Time passes, and what was due by then happens.
    pub(crate) fn wait(&mut self, secs: i64) {
        self.now = Time(self.now.0 + secs * SECOND);
        self.settle();
    }

    /// Schedules, and lets the nodes do what they are told, until nothing is left to do.
    pub(crate) fn settle(&mut self) {
        loop {
            self.evaluate_all();
            if !self.obey() {
                return;
            }
        }
    }

    /// Runs every evaluation that is due.
    pub(crate) fn evaluate_all(&mut self) {
        for _ in 0..EVALS_MAX {
            let Some(eval) = self.due().into_iter().next() else {
                return;
            };
            self.evaluate(&eval);
        }
        panic!("evaluations don't come to an end");
    }

    /// Pending evaluations whose time has come, the most urgent first.
    pub(crate) fn due(&self) -> Vec<Evaluation> {
        let due = |eval: &&Evaluation| eval.wait_until <= self.now;
        let mut due: Vec<_> = self.store.pending_evals().filter(due).cloned().collect();
        due.sort_by_key(|eval| (-eval.priority, eval.create_index, eval.id.clone()));
        due
    }

    /// One evaluation from pending to complete; refused plans are made anew.
    pub(crate) fn evaluate(&mut self, eval: &Evaluation) {
        for _ in 0..10 {
            let current = self.store.eval(&eval.id);
            if current.is_none_or(|eval| eval.status != EVAL_PENDING) {
                return;
            }
            let decision = self.decide(&self.store.clone(), eval);
            if self.carry_out(decision) {
                return;
            }
        }
        let given_up = Evaluation {
            status: EVAL_FAILED.into(),
            ..eval.clone()
        };
        self.apply(Command::UpdateEvals {
            evals: vec![given_up],
        });
    }

    pub(crate) fn decide(&mut self, snapshot: &Store, eval: &Evaluation) -> Decision {
        self.schedulings += 1;
        // Never the seed that the store derives its own ids from.
        let ids = || Ids::at(self.schedulings + 100, snapshot.index());
        let decision = schedule(snapshot, eval, self.now, &mut ids());
        let again = schedule(snapshot, eval, self.now, &mut ids());
        assert_eq!(decision, again, "the same inputs give the same plan");
        let mut after = snapshot.clone();
        after.apply(Entry {
            index: snapshot.index() + 1,
            at: self.now,
            proposal: String::new(),
            command: Command::ApplyPlan {
                plan: Box::new(decision.plan.clone()),
            },
        });
        if let Err(detail) = invariants::successors_first(snapshot, &after) {
            panic!("{detail}\nby {decision:?}");
        }
        decision
    }

    /// Commits a decision; `false` if some of its plan was refused.
    pub(crate) fn carry_out(&mut self, decision: Decision) -> bool {
        if !decision.follow_ups.is_empty() {
            let evals = decision.follow_ups;
            self.apply(Command::UpdateEvals { evals });
        }
        if !decision.plan.is_empty() {
            let plan = Box::new(decision.plan);
            let Verified { refused, .. } = verify(&self.store, (*plan).clone());
            let reply = self.apply(Command::ApplyPlan { plan }).reply;
            let is_whole = refused.is_empty();
            let refused = refused.into_iter().collect();
            assert_eq!(reply, Ok(Reply::Planned { refused }));
            if !is_whole {
                return false;
            }
        }
        let evals = [vec![decision.done], decision.blocked.into_iter().collect()].concat();
        self.apply(Command::UpdateEvals { evals });
        true
    }

    /// Nodes that are up start what they should and stop what they should. Whether any did.
    pub(crate) fn obey(&mut self) -> bool {
        let up = |alloc: &Allocation| {
            let node = self.store.node(&alloc.node_id);
            node.is_some_and(|node| node.status == NODE_READY)
        };
        let mut reports = Vec::new();
        for alloc in self.store.allocs().filter(|alloc| up(alloc)) {
            let status = match (alloc.server_terminal(), alloc.client_status.as_str()) {
                (true, CLIENT_PENDING | CLIENT_RUNNING) => CLIENT_COMPLETE,
                (false, CLIENT_PENDING) => CLIENT_RUNNING,
                _ => continue,
            };
            reports.push((alloc.id.clone(), status));
        }
        for (id, status) in &reports {
            self.report(id, status);
        }
        !reports.is_empty()
    }

    /// A node reports on an allocation.
    pub(crate) fn report(&mut self, alloc_id: &str, status: &str) {
        let alloc = self.store.alloc(alloc_id).expect("allocation").clone();
        self.apply(Command::ReportAllocs {
            node_id: alloc.node_id.clone(),
            serial: 0,
            reports: vec![AllocReport {
                alloc_id: alloc.id.clone(),
                client_status: status.into(),
                client_description: String::new(),
                task_states: alloc.task_states.clone(),
                health: None,
            }],
        });
    }

    pub(crate) fn fail(&mut self, alloc: &Allocation) {
        self.report(&alloc.id, CLIENT_FAILED);
    }

    /// A job's live allocations by name.
    pub(crate) fn live(&self, job_id: &str) -> Vec<Arc<Allocation>> {
        let allocs = self.store.allocs_of_job(job_id);
        let mut live: Vec<_> = allocs.filter(|alloc| !alloc.terminal()).cloned().collect();
        live.sort_by_key(|alloc| (alloc.name.clone(), alloc.node_name.clone()));
        live
    }

    /// The only live allocation of a job.
    pub(crate) fn only(&self, job_id: &str) -> Arc<Allocation> {
        let live = self.live(job_id);
        assert_eq!(live.len(), 1, "{live:?}");
        live[0].clone()
    }

    /// Where a job's live allocations are, by allocation name.
    pub(crate) fn nodes_of(&self, job_id: &str) -> Vec<String> {
        let live = self.live(job_id);
        live.iter().map(|alloc| alloc.node_name.clone()).collect()
    }

    pub(crate) fn ids_of(&self, job_id: &str) -> Vec<String> {
        let live = self.live(job_id);
        live.iter().map(|alloc| alloc.id.clone()).collect()
    }

    pub(crate) fn eval(&self, id: &str) -> Arc<Evaluation> {
        self.store.eval(id).expect("evaluation").clone()
    }
}

/// A service with `count` instances of 500 MHz and 256 MB, each with a port.
pub(crate) fn service(id: &str, count: i64) -> Job {
    job(id, JOB_SERVICE, count)
}

pub(crate) fn job(id: &str, kind: &str, count: i64) -> Job {
    let network = Network {
        dynamic_ports: vec![Port {
            label: "http".into(),
            ..Port::default()
        }],
        ..Network::default()
    };
    let task = Task {
        name: "t".into(),
        driver: "docker".into(),
        config: [("image".to_owned(), Value::String("web:1".into()))].into(),
        resources: Resources {
            cpu: 500,
            memory_mb: 256,
            networks: vec![network],
            ..Resources::default()
        },
        services: vec![Service {
            name: id.into(),
            port_label: "http".into(),
            ..Service::default()
        }],
        ..Task::default()
    };
    let group = TaskGroup {
        name: "g".into(),
        count: Some(count),
        tasks: vec![task],
        ..TaskGroup::default()
    };
    let mut job = Job {
        id: id.into(),
        r#type: kind.into(),
        datacenters: vec!["dc1".into()],
        task_groups: vec![group],
        ..Job::default()
    };
    job.canonicalize();
    job
}

/// The same job, but its group is different.
pub(crate) fn but(job: &Job, change: impl FnOnce(&mut TaskGroup)) -> Job {
    let mut job = job.clone();
    change(&mut job.task_groups[0]);
    job
}

/// The same job with another image.
pub(crate) fn image(job: &Job, image: &str) -> Job {
    but(job, |group| {
        let config = &mut group.tasks[0].config;
        config.insert("image".to_owned(), Value::String(image.into()));
    })
}

/// The same job with so many MB of memory.
pub(crate) fn memory(job: &Job, memory_mb: i64) -> Job {
    but(job, |group| {
        group.tasks[0].resources.memory_mb = memory_mb;
    })
}

/// The same job on a port with a number.
pub(crate) fn on_port(job: &Job, port: u16) -> Job {
    but(job, |group| {
        let network = &mut group.tasks[0].resources.networks[0];
        network.dynamic_ports.clear();
        network.reserved_ports = vec![Port {
            label: "http".into(),
            value: port,
            to: 0,
        }];
    })
}

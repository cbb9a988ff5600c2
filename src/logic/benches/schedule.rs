//! How fast the scheduler is: `cargo bench -p logic`. No harness: it prints a line for each case.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::io::Write;
use std::time::{Duration, Instant};

use logic::id::{Ids, uuid};
use logic::model::{
    CatalogNode, DriverInfo, Evaluation, JOB_SERVICE, Job, Network, Node, Port, Resources, Task,
    TaskGroup,
};
use logic::schedule::schedule;
use logic::state::{Command, Entry, Store};
use logic::time::Time;

/// Each case is repeated until it has run this long.
const AT_LEAST: Duration = Duration::from_secs(2);

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (nodes, count) in [(1_000, 1_000), (5_000, 1), (5_000, 1_000), (5_000, 10_000)] {
        let (scheduling, committing) = measure(nodes, count);
        writeln!(
            out,
            "{nodes:>5} nodes, count {count:>6}: {:>8.1} evals/s, {:>8.0} allocs/s; verified and applied {:>8.0} allocs/s",
            1.0 / scheduling,
            f64::from(count) / scheduling,
            f64::from(count) / committing,
        )?;
    }
    Ok(())
}

/// Seconds to schedule one evaluation, and to verify and apply its plan.
fn measure(nodes: u32, count: u32) -> (f64, f64) {
    let (store, eval) = cluster(nodes, count);
    let (mut scheduling, mut committing) = (Duration::ZERO, Duration::ZERO);
    let mut rounds: u32 = 0;
    while scheduling < AT_LEAST {
        rounds += 1;
        let begun = Instant::now();
        let mut ids = Ids::at(u64::from(rounds) + 1_000, store.index());
        let decision = schedule(&store, &eval, Time::from_secs(1), &mut ids);
        scheduling += begun.elapsed();
        assert_eq!(decision.plan.places.len(), count as usize);
        let mut store = store.clone();
        let begun = Instant::now();
        let plan = Box::new(decision.plan);
        apply(&mut store, Command::ApplyPlan { plan });
        committing += begun.elapsed();
        let placed = store.allocs().count();
        assert_eq!(placed, count as usize);
    }
    let each = |total: Duration| total.as_secs_f64() / f64::from(rounds);
    (each(scheduling), each(committing))
}

fn apply(store: &mut Store, command: Command) -> Vec<Evaluation> {
    let index = store.index() + 1;
    let at = Time::from_secs(1);
    store
        .apply(Entry {
            index,
            at,
            proposal: String::new(),
            command,
        })
        .pending
}

/// Nodes, and a job that asks for 100 MHz, 128 MB, a port and a constraint, not placed yet.
fn cluster(nodes: u32, count: u32) -> (Store, Evaluation) {
    let mut store = Store::default();
    apply(&mut store, Command::Found { seed: 7 });
    for number in 1..=nodes {
        let node = node(number);
        let catalog = CatalogNode {
            node: node.name.clone(),
            ..CatalogNode::default()
        };
        apply(
            &mut store,
            Command::RegisterNode {
                node: Box::new(node),
                catalog,
            },
        );
    }
    let job = Box::new(job(count));
    let mut pending = apply(
        &mut store,
        Command::RegisterJob {
            job,
            check_index: None,
        },
    );
    (store, pending.remove(0))
}

fn node(number: u32) -> Node {
    let docker = DriverInfo {
        detected: true,
        healthy: true,
        ..DriverInfo::default()
    };
    Node {
        id: uuid(u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15), 0),
        name: format!("n{number}"),
        datacenter: "dc1".into(),
        attributes: [("kernel.name".to_owned(), "linux".to_owned())].into(),
        resources: Resources {
            cpu: 4_000,
            memory_mb: 8_192 + i64::from(number % 7) * 1_024,
            disk_mb: 100_000,
            ..Resources::default()
        },
        drivers: [("docker".to_owned(), docker)].into(),
        ..Node::default()
    }
}

fn job(count: u32) -> Job {
    let port = Port {
        label: "http".into(),
        ..Port::default()
    };
    let network = Network {
        dynamic_ports: vec![port],
        ..Network::default()
    };
    let constraint = logic::model::Constraint {
        left: "${attr.kernel.name}".into(),
        operand: "=".into(),
        right: "linux".into(),
    };
    let task = Task {
        name: "t".into(),
        driver: "docker".into(),
        resources: Resources {
            cpu: 100,
            memory_mb: 128,
            networks: vec![network],
            ..Resources::default()
        },
        ..Task::default()
    };
    let group = TaskGroup {
        name: "g".into(),
        count: Some(i64::from(count)),
        tasks: vec![task],
        ..TaskGroup::default()
    };
    let mut job = Job {
        id: "web".into(),
        r#type: JOB_SERVICE.into(),
        datacenters: vec!["dc1".into()],
        constraints: vec![constraint],
        task_groups: vec![group],
        ..Job::default()
    };
    job.canonicalize();
    job
}

//! How agents ask servers when some of them are dead, cut off or without a leader.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::rpc::{NodeProof, Request, Response, Rpc};
use agent::wire;
use logic::catalog::Contents;
use logic::model::Allocation;
use sim::{SimHost, world};
use turmoil::net::TcpListener;

const PORT: u16 = 4647;

fn at(server: &str) -> String {
    format!("{server}:{PORT}")
}

fn beat() -> Request {
    Request::Heartbeat {
        proof: NodeProof::default(),
    }
}

fn watch() -> Request {
    Request::WatchCatalog {
        after: 1,
        wait_ms: 30_000,
    }
}

type Log = Arc<Mutex<Vec<(&'static str, Request)>>>;

type Answer = Pin<Box<dyn Future<Output = Response>>>;

/// A server that notes what it is asked, and answers what it is told to.
fn serve(
    sim: &mut turmoil::Sim<'_>,
    name: &'static str,
    log: &Log,
    answer: fn(&'static str, Request) -> Answer,
) {
    let log = log.clone();
    sim.host(name, move || {
        let log = log.clone();
        async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).await?;
            loop {
                let (mut stream, _) = listener.accept().await?;
                let log = log.clone();
                tokio::task::spawn_local(async move {
                    while let Ok(request) = wire::read_frame::<Request>(&mut stream).await {
                        log.lock()
                            .expect("not poisoned")
                            .push((name, request.clone()));
                        let response = answer(name, request).await;
                        if wire::write_frame(&mut stream, &response).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
}

/// Leases are renewed; `s1` never has news of the catalog, the others have at once. The one named
/// `leaderless` can't answer anything.
async fn lease_or_catalog(name: &str, request: Request) -> Response {
    if name == "leaderless" {
        return Response::NoLeader("there is no leader".to_owned());
    }
    if !matches!(request, Request::WatchCatalog { .. }) {
        return Response::Lease { ttl_ms: 5_000 };
    }
    if name == "s1" {
        std::future::pending::<()>().await;
    }
    Response::Catalog(Contents::default())
}

/// Plays a story with the servers `s1`, `s2` and `leaderless`.
fn play<F>(story: impl FnOnce(Rpc, Log) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let mut sim = turmoil::Builder::new()
        .rng_seed(5)
        .simulation_duration(Duration::from_secs(120))
        .build();
    let log = Log::default();
    for name in ["s1", "s2", "leaderless"] {
        serve(&mut sim, name, &log, |name, request| {
            Box::pin(lease_or_catalog(name, request))
        });
    }
    sim.client("agent", async move {
        let world = world(&SimHost::new("agent", 5));
        story(Rpc::new(world, vec![at("s1"), at("s2")]), log).await;
        Ok(())
    });
    sim.run().expect("the story goes well");
}

async fn timed<T>(asking: impl Future<Output = T>) -> (T, Duration) {
    let began = turmoil::elapsed();
    let answer = asking.await;
    (answer, turmoil::elapsed().saturating_sub(began))
}

fn lease(answer: &Result<Response, agent::rpc::Error>) -> bool {
    matches!(answer, Ok(Response::Lease { .. }))
}

#[test]
fn a_dead_server_costs_less_than_a_second_and_is_asked_last_then() {
    play(async |rpc, log| {
        turmoil::partition("agent", "s1");
        let (answer, took) = timed(rpc.ask(beat())).await;
        assert!(lease(&answer), "{answer:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert_eq!(rpc.servers(), [at("s2"), at("s1")]);
        let (_, took) = timed(rpc.ask(beat())).await;
        assert!(took < Duration::from_millis(300), "{took:?}");
        assert!(
            log.lock()
                .expect("not poisoned")
                .iter()
                .all(|(name, _)| *name == "s2")
        );
    });
}

#[test]
fn a_server_that_dies_with_a_connection_open_is_left_too() {
    play(async |rpc, _| {
        assert!(lease(&rpc.ask(beat()).await));
        turmoil::partition("agent", "s1");
        let (answer, took) = timed(rpc.ask(beat())).await;
        assert!(lease(&answer), "{answer:?}");
        assert!(took < Duration::from_millis(1_500), "{took:?}");
        assert_eq!(rpc.servers()[0], at("s2"));
    });
}

#[test]
fn who_waits_at_a_dead_server_goes_elsewhere_when_a_heartbeat_fails_there() {
    play(async |rpc, _| {
        let waiting = tokio::task::spawn_local({
            let rpc = rpc.clone();
            async move { rpc.ask(watch()).await }
        });
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(!waiting.is_finished());
        turmoil::partition("agent", "s1");
        assert!(lease(&rpc.ask(beat()).await));
        let (answer, took) = timed(waiting).await;
        assert!(matches!(answer, Ok(Ok(Response::Catalog(_)))), "{answer:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    });
}

#[test]
fn a_server_without_a_leader_is_passed_over() {
    play(async |rpc, _| {
        rpc.set_servers(vec![at("leaderless"), at("s2")]);
        assert!(lease(&rpc.ask(beat()).await));
        rpc.set_servers(vec![at("leaderless")]);
        let error = rpc.ask(beat()).await.expect_err("no answer").to_string();
        assert!(error.contains("there is no leader"), "{error}");
    });
}

#[test]
fn one_server_can_be_asked_and_no_other() {
    play(async |rpc, log| {
        turmoil::partition("agent", "s1");
        let within = Duration::from_millis(300);
        let (answer, took) = timed(rpc.ask_at(&at("s1"), &beat(), within)).await;
        assert!(answer.is_err());
        assert!(took < within * 2, "{took:?}");
        assert!(log.lock().expect("not poisoned").is_empty());
        assert!(lease(&rpc.ask_at(&at("s2"), &beat(), within).await));
        assert_eq!(rpc.servers()[0], at("s1"), "its order is its own");
    });
}

#[test]
fn the_servers_that_are_known_change_and_the_preferred_one_stays() {
    play(async |rpc, _| {
        rpc.set_servers(vec![at("s3"), at("s2"), at("s1")]);
        assert_eq!(rpc.servers(), [at("s1"), at("s2"), at("s3")]);
        rpc.set_servers(vec![at("s3"), at("s2")]);
        assert_eq!(rpc.servers(), [at("s3"), at("s2")]);
        rpc.set_servers(Vec::new());
        assert_eq!(rpc.servers(), [at("s1"), at("s2")], "those configured");
    });
}

/// A job whose only task idles, placed on a node by hand.
fn placed(node_id: &str) -> Allocation {
    let text = r#"job "idle" {
        datacenters = ["dc1"]
        group "g" {
            task "t" {
                driver = "docker"
                config { image = "idle" }
            }
        }
    }"#;
    let job = jobspec::parse_job("idle.nomad", text.as_bytes())
        .expect("a job")
        .job;
    Allocation {
        id: "a0000000-0000-0000-0000-000000000001".to_owned(),
        name: "idle.g[0]".to_owned(),
        node_id: node_id.to_owned(),
        job_id: job.id.clone(),
        task_group: "g".to_owned(),
        job: Some(Arc::new(job)),
        desired_status: "run".to_owned(),
        client_status: "pending".to_owned(),
        alloc_modify_index: 100,
        ..Allocation::default()
    }
}

/// Nodes are registered at index 90; `s1` has placed an allocation at index 100, the others are
/// older and know nothing of it.
async fn allocations(name: &str, request: Request) -> Response {
    match request {
        Request::RegisterNode { .. } => Response::Registered { index: 90 },
        Request::Heartbeat { .. } => Response::Lease { ttl_ms: 3_000 },
        Request::WatchAllocs { after, .. } if name == "s1" && after >= 100 => {
            std::future::pending().await
        }
        Request::WatchAllocs { proof, .. } if name == "s1" => Response::Allocs {
            index: 100,
            allocs: vec![Arc::new(placed(&proof.node_id))],
        },
        Request::WatchAllocs { .. } => Response::Allocs {
            index: 95,
            allocs: Vec::new(),
        },
        Request::WatchCatalog { .. } => std::future::pending().await,
        Request::ReportAllocs { .. }
        | Request::RegisterCatalogNode { .. }
        | Request::ChangeCatalog { .. } => Response::Done,
        Request::Http(_)
        | Request::Raft { .. }
        | Request::Propose(_)
        | Request::PreVote(_)
        | Request::Begin(_)
        | Request::ReadIndex
        | Request::TakeOver
        | Request::RemoveServer(_)
        | Request::RenewSession(_)
        | Request::Health => Response::Refused("not here".to_owned()),
    }
}

#[test]
fn a_node_does_not_follow_a_server_that_is_older_than_what_it_knows() {
    let mut sim = turmoil::Builder::new()
        .rng_seed(6)
        .simulation_duration(Duration::from_secs(120))
        .build();
    let log = Log::default();
    for name in ["s1", "s2"] {
        serve(&mut sim, name, &log, |name, request| {
            Box::pin(allocations(name, request))
        });
    }
    sim.client("node", async move {
        let machine = SimHost::new("node", 6);
        let mut config = logic::config::AgentConfig {
            name: "node".to_owned(),
            data_dir: "/var/lib/drover".to_owned(),
            bind_addr: Ipv4Addr::UNSPECIFIED.into(),
            advertise_addr: Some(turmoil::lookup("node")),
            ..Default::default()
        };
        config.client.enabled = true;
        config.client.servers = vec!["s1".to_owned(), "s2".to_owned()];
        let agent = agent::start(world(&machine), config).await?;
        while machine.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        turmoil::partition("node", "s1");
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(machine.running().len(), 1, "it runs on");
        let log = log.lock().expect("not poisoned");
        let asked: Vec<u64> = log
            .iter()
            .filter_map(|(name, request)| match request {
                Request::WatchAllocs { min_index, .. } if *name == "s2" => Some(*min_index),
                _ => None,
            })
            .collect();
        assert!(!asked.is_empty(), "it has moved");
        assert!(asked.iter().all(|index| *index == 100), "{asked:?}");
        drop(agent);
        Ok(())
    });
    sim.run().expect("the story goes well");
}

#[test]
fn a_server_answers_only_from_a_state_as_new_as_the_node_knows() {
    let mut sim = turmoil::Builder::new()
        .rng_seed(8)
        .simulation_duration(Duration::from_secs(120))
        .build();
    sim.host("real", || async {
        let mut config = logic::config::AgentConfig {
            name: "real".to_owned(),
            data_dir: "/var/lib/drover".to_owned(),
            bind_addr: Ipv4Addr::UNSPECIFIED.into(),
            advertise_addr: Some(turmoil::lookup("real")),
            ..Default::default()
        };
        config.server.enabled = true;
        let agent = agent::start(world(&SimHost::new("real", 8)), config).await?;
        std::future::pending::<()>().await;
        drop(agent);
        Ok(())
    });
    sim.client("node", async {
        let rpc = Rpc::new(world(&SimHost::new("node", 8)), vec![at("real")]);
        let node = logic::model::Node {
            id: "n1".to_owned(),
            name: "node".to_owned(),
            secret_id: "s".to_owned(),
            ..Default::default()
        };
        let register = Request::RegisterNode {
            node: Box::new(node),
            catalog: logic::model::CatalogNode {
                id: "n1".to_owned(),
                node: "node".to_owned(),
                ..Default::default()
            },
        };
        let index = loop {
            match rpc.ask(register.clone()).await {
                Ok(Response::Registered { index }) => break index,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        assert!(index > 0);
        let watch = |min_index| Request::WatchAllocs {
            proof: NodeProof {
                node_id: "n1".to_owned(),
                secret: "s".to_owned(),
            },
            after: 0,
            min_index,
            wait_ms: 0,
        };
        let answer = rpc.ask(watch(index)).await;
        assert!(matches!(answer, Ok(Response::Allocs { .. })), "{answer:?}");
        let reason = rpc
            .ask(watch(index + 1_000))
            .await
            .expect_err("no answer")
            .to_string();
        assert!(reason.contains("older"), "{reason}");
        Ok(())
    });
    sim.run().expect("the story goes well");
}

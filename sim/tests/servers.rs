//! How agents ask servers when some of them are dead, cut off or without a leader.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::rpc::{NodeProof, Request, Response, Rpc};
use agent::wire;
use logic::catalog::Contents;
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

/// A server that renews leases; `s1` never has news of the catalog, the others have at once. The
/// one named `leaderless` can't answer anything.
fn serve(sim: &mut turmoil::Sim<'_>, name: &'static str, log: &Log) {
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
                        log.lock().unwrap().push((name, request.clone()));
                        let response = match request {
                            _ if name == "leaderless" => {
                                Response::NoLeader("there is no leader".to_owned())
                            }
                            Request::WatchCatalog { .. } if name == "s1" => {
                                std::future::pending().await
                            }
                            Request::WatchCatalog { .. } => Response::Catalog(Contents::default()),
                            _ => Response::Lease { ttl_ms: 5_000 },
                        };
                        if wire::write_frame(&mut stream, &response).await.is_err() {
                            return;
                        }
                    }
                });
            }
        }
    });
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
        serve(&mut sim, name, &log);
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
    (answer, turmoil::elapsed() - began)
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
        assert!(log.lock().unwrap().iter().all(|(name, _)| *name == "s2"));
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
        let error = rpc.ask(beat()).await.unwrap_err().to_string();
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
        assert!(log.lock().unwrap().is_empty());
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

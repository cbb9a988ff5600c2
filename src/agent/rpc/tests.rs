//! Connections to a server that goes silent without closing them.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use super::*;
use crate::edge::loopback::world;

const BRIEFLY: Duration = Duration::from_millis(200);

/// Answers whatever is asked, except lists of allocations, until told to be silent; then only on
/// connections made since.
async fn server() -> (SocketAddr, watch::Sender<bool>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    let silent = watch::Sender::new(false);
    let told = silent.clone();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (born_silent, told) = (*told.borrow(), told.subscribe());
            spawn_local(converse(stream, told, born_silent));
        }
    });
    (address, silent)
}

async fn converse(mut stream: TcpStream, silent: watch::Receiver<bool>, born_silent: bool) {
    let random = world(1).random;
    while let Ok(request) = wire::read_sealed::<Request>(&mut stream, &Seal::None).await {
        let waits = matches!(request, Request::WatchAllocs { .. });
        if waits || *silent.borrow() != born_silent {
            std::future::pending::<()>().await;
        }
        let answered = wire::write_sealed(&mut stream, &Seal::None, &random, &Response::Done);
        answered.await.expect("the asker reads");
    }
}

fn story(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let timed = async { tokio::time::timeout(Duration::from_secs(30), test).await };
    let ended = LocalSet::new().block_on(&runtime, timed);
    ended.expect("the test ends in time");
}

#[test]
fn one_request_without_an_answer_is_enough_to_leave_dead_connections() {
    story(async {
        let (address, silent) = server().await;
        let server = address.to_string();
        let rpc = Rpc::new(world(1), vec![server.clone()]);
        let (patient, proof) = (rpc.clone(), NodeProof::default());
        let waiting = spawn_local(async move {
            let request = Request::WatchAllocs {
                proof,
                after: 0,
                min_index: 0,
                wait_ms: 60_000,
            };
            patient.ask(request).await
        });
        let ask = || rpc.ask_at(&server, &Request::Health, BRIEFLY);
        let asked = futures_util::future::join_all((0..4).map(|_| ask())).await;
        assert!(asked.iter().all(Result::is_ok), "{asked:?}");
        silent.send_replace(true);
        ask().await.expect_err("on a connection that died unseen");
        ask().await.expect("on a fresh one");
        assert!(!waiting.is_finished(), "others wait on");
    });
}

/// A server that starts again closes the connections of before, but one that it had no power to
/// close stays as it was.
#[test]
fn who_waits_at_a_server_that_has_begun_anew_asks_again() {
    story(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let server = listener.local_addr().expect("an address").to_string();
        spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                spawn_local(async move {
                    let random = world(1).random;
                    let request = wire::read_sealed::<Request>(&mut stream, &Seal::None).await;
                    if matches!(request, Ok(Request::WatchAllocs { .. })) {
                        std::future::pending::<()>().await;
                    }
                    let done = Response::Done;
                    wire::write_sealed(&mut stream, &Seal::None, &random, &done).await
                });
            }
        });
        let rpc = Rpc::new(world(1), vec![server.clone()]);
        let ask = || rpc.ask_at(&server, &Request::Health, BRIEFLY);
        ask().await.expect("it answers, and ends the connection");
        let (patient, proof) = (rpc.clone(), NodeProof::default());
        let waiting = spawn_local(async move {
            let request = Request::WatchAllocs {
                proof,
                after: 0,
                min_index: 0,
                wait_ms: 60_000,
            };
            patient.ask(request).await
        });
        tokio::task::yield_now().await;
        while !waiting.is_finished() {
            ask().await.expect("on a fresh connection");
            tokio::task::yield_now().await;
        }
        waiting.await.expect("no panic").expect_err("it asks again");
    });
}

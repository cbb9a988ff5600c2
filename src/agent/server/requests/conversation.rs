//! Connections from other agents: so many at a time, none that idles or doesn't read its answers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ports::{Listener, Random, Stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::rpc::{Request, Response};
use crate::seal::Seal;
use crate::wire;

/// After a failed accept (out of file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Further connections wait until one of these is closed.
    connections_max: usize,
    /// A connection that asks nothing for this long is closed.
    idle_within: Duration,
    /// So is one that doesn't take an answer in this time.
    write_within: Duration,
}

pub(super) const LIMITS: Limits = Limits {
    connections_max: 4_096,
    idle_within: Duration::from_secs(120),
    write_within: Duration::from_secs(10),
};

/// Who answers.
pub(super) trait Answers: Clone + 'static {
    fn answer(&self, request: Request) -> impl Future<Output = Response>;
}

/// How messages on the connections look.
#[derive(Clone)]
pub(super) struct Envelope {
    pub(super) seal: Seal,
    pub(super) random: Random,
}

/// Takes connections for ever.
pub(super) async fn accept(
    mut listener: Box<dyn Listener>,
    limits: Limits,
    envelope: Envelope,
    answers: impl Answers,
) {
    let room = Arc::new(Semaphore::new(limits.connections_max));
    let mut full = false;
    loop {
        let Some(permit) = permit(&room, &mut full, limits).await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (envelope, answers) = (envelope.clone(), answers.clone());
                actix_rt::spawn(async move {
                    converse(stream, limits, envelope, answers).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection from an agent could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn permit(
    room: &Arc<Semaphore>,
    full: &mut bool,
    limits: Limits,
) -> Option<OwnedSemaphorePermit> {
    if let Ok(permit) = Arc::clone(room).try_acquire_owned() {
        *full = false;
        return Some(permit);
    }
    if !std::mem::replace(full, true) {
        let connections = limits.connections_max;
        tracing::warn!(
            connections,
            "agents wait for a connection: no more are taken"
        );
    }
    Arc::clone(room).acquire_owned().await.ok()
}

async fn converse(
    mut stream: Box<dyn Stream>,
    limits: Limits,
    Envelope { seal, random }: Envelope,
    answers: impl Answers,
) {
    loop {
        let request = wire::read_sealed(&mut stream, &seal);
        let request = match timeout(limits.idle_within, request).await {
            Ok(Ok(request)) => request,
            Ok(Err(wire::Error::Closed)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::debug!(%error, "an agent's request could not be read");
                return;
            }
        };
        let response = answers.answer(request).await;
        let writing = wire::write_sealed(&mut stream, &seal, &random, &response);
        match timeout(limits.write_within, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                tracing::debug!("an agent doesn't read its answer");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;
    use crate::edge::loopback::world;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn limits() -> Limits {
        Limits {
            connections_max: 2,
            write_within: Duration::from_millis(50),
            ..LIMITS
        }
    }

    fn envelope() -> Envelope {
        Envelope {
            seal: Seal::None,
            random: world(1).random,
        }
    }

    /// Answers everything at length.
    #[derive(Clone)]
    struct Talkative;

    impl Answers for Talkative {
        async fn answer(&self, _: Request) -> Response {
            Response::Refused("no ".repeat(50_000))
        }
    }

    async fn ask(stream: &mut impl Stream) {
        wire::write_frame(stream, &Request::Health)
            .await
            .expect("it is read");
    }

    #[actix::test]
    async fn who_does_not_read_an_answer_is_left() {
        let (mut asker, stream): (DuplexStream, _) = tokio::io::duplex(1_000);
        ask(&mut asker).await;
        let talking = converse(Box::new(stream), limits(), envelope(), Talkative);
        timeout(PATIENCE, talking).await.expect("it ends");
        let mut read = Vec::new();
        asker.read_to_end(&mut read).await.expect("what was sent");
        assert_eq!(read.len(), 1_000);
    }

    #[actix::test]
    async fn one_connection_too_many_waits_until_another_is_closed() {
        let network = world(1).network;
        let listener = network.listen((Ipv4Addr::LOCALHOST, 0).into()).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().to_string();
        actix_rt::spawn(accept(listener, limits(), envelope(), Talkative));
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(
                network
                    .connect(address.clone())
                    .await
                    .expect("someone listens"),
            );
            ask(open.last_mut().expect("one")).await;
        }
        let mut last = open.pop().expect("three");
        for stream in &mut open {
            wire::read_frame::<Response>(stream)
                .await
                .expect("an answer");
        }
        let brief = Duration::from_millis(100);
        let early = timeout(brief, wire::read_frame::<Response>(&mut last)).await;
        assert!(early.is_err(), "it has to wait");
        open.pop();
        let answer = timeout(PATIENCE, wire::read_frame::<Response>(&mut last)).await;
        answer.expect("in time").expect("an answer");
    }
}

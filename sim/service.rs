//! What runs inside a simulated container.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use agent::edge::standalone;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use logic::fabio;
use ports::{Exit, Listener};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::engine::Behaviour;
use crate::tls;
use crate::world::{SimHost, world};

/// How a task is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Signal(i64),
    Kill,
}

const SIGINT: i64 = 2;
const SIGKILL: i64 = 9;

impl Stop {
    pub(crate) fn named(signal: &str) -> Self {
        let upper = signal.trim().to_uppercase();
        match upper.strip_prefix("SIG").unwrap_or(&upper) {
            "KILL" | "9" => Self::Kill,
            "HUP" | "1" => Self::Signal(1),
            "QUIT" | "3" => Self::Signal(3),
            "USR1" | "10" => Self::Signal(10),
            "USR2" | "12" => Self::Signal(12),
            "TERM" | "15" => Self::Signal(15),
            _ => Self::Signal(SIGINT),
        }
    }

    fn number(self) -> i64 {
        match self {
            Self::Signal(number) => number,
            Self::Kill => SIGKILL,
        }
    }
}

/// How a task ended, before its driver puts it into its own terms.
pub(crate) enum Ended {
    ByItself(i64),
    By(Stop),
}

impl Ended {
    /// Engines report a signal as part of the exit code; plain processes as itself.
    pub(crate) fn exit(&self, engine: bool) -> Exit {
        match self {
            Self::ByItself(code) => Exit {
                code: *code,
                ..Exit::default()
            },
            Self::By(stop) if engine => Exit {
                code: 128 + stop.number(),
                ..Exit::default()
            },
            Self::By(stop) => Exit {
                signal: stop.number(),
                ..Exit::default()
            },
        }
    }
}

/// Runs until it is stopped or, for what ends by itself, `lifetime` is over. What is stopped by a
/// signal takes `lifetime` to end.
pub(crate) async fn run(
    behaviour: Behaviour,
    listeners: Vec<Box<dyn Listener>>,
    mut stop: watch::Receiver<Option<Stop>>,
    lifetime: Duration,
) -> Ended {
    let mut served = JoinSet::new();
    for listener in listeners {
        served.spawn_local(serve(listener, behaviour.clone()));
    }
    let ended = until_ended(&behaviour, &mut stop, lifetime).await;
    // Its ports are free and its connections closed before anybody hears of its end.
    served.shutdown().await;
    ended
}

/// The edge as a program of its own: on the host's network, beside the host's catalog.
pub(crate) async fn run_edge(
    host: &SimHost,
    arguments: &[String],
    mut stop: watch::Receiver<Option<Stop>>,
) -> Ended {
    let configured =
        fabio::typed(arguments).and_then(|typed| fabio::configured(&typed, &BTreeMap::new(), None));
    let started = match &configured {
        Ok((fabio, _)) => standalone::start(&world(host), fabio)
            .await
            .map_err(|error| error.to_string()),
        Err(wrong) => Err(wrong.clone()),
    };
    let edge = match started {
        Ok(edge) => edge,
        Err(why) => {
            tracing::error!(why, "the edge doesn't start");
            return Ended::ByItself(1);
        }
    };
    let first = asked(&mut stop, false).await;
    if first == Stop::Kill {
        return Ended::By(first);
    }
    tokio::select! {
        biased;
        by = asked(&mut stop, true) => Ended::By(by),
        () = edge.stop() => Ended::By(first),
    }
}

async fn until_ended(
    behaviour: &Behaviour,
    stop: &mut watch::Receiver<Option<Stop>>,
    lifetime: Duration,
) -> Ended {
    match behaviour {
        Behaviour::Exits { code, .. } => tokio::select! {
            biased;
            by = asked(stop, false) => Ended::By(by),
            () = tokio::time::sleep(lifetime) => Ended::ByItself(*code),
        },
        Behaviour::Stubborn => Ended::By(asked(stop, true).await),
        Behaviour::Http { .. } | Behaviour::Https { .. } | Behaviour::Edge | Behaviour::Idle => {
            let first = asked(stop, false).await;
            tokio::select! {
                biased;
                by = asked(stop, true) => Ended::By(by),
                () = tokio::time::sleep(lifetime) => Ended::By(first),
            }
        }
    }
}

async fn asked(stop: &mut watch::Receiver<Option<Stop>>, only_kill: bool) -> Stop {
    let wanted = |stop: &Option<Stop>| match stop {
        Some(Stop::Kill) => true,
        Some(Stop::Signal(_)) => !only_kill,
        None => false,
    };
    match stop.wait_for(wanted).await {
        Ok(stop) => stop.unwrap_or(Stop::Kill),
        // Nobody can reach the task any more.
        Err(_) => Stop::Kill,
    }
}

async fn serve(mut listener: Box<dyn Listener>, behaviour: Behaviour) {
    let mut connections = JoinSet::new();
    let tls = match &behaviour {
        Behaviour::Https { .. } => tls::acceptor().ok(),
        _ => None,
    };
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else { return };
        match &behaviour {
            Behaviour::Http { status, body } => {
                connections.spawn_local(answer(stream, *status, Bytes::from(body.clone())));
            }
            Behaviour::Https { body } => {
                let (tls, body) = (tls.clone(), Bytes::from(body.clone()));
                connections.spawn_local(async move {
                    // A check that only connects shakes no hands.
                    if let Some(tls) = tls
                        && let Ok(stream) = tls.accept(stream).await
                    {
                        answer(stream, 200, body).await;
                    }
                });
            }
            Behaviour::Edge | Behaviour::Idle | Behaviour::Stubborn | Behaviour::Exits { .. } => {
                drop(stream);
            }
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, status: u16, body: Bytes) {
    let service = service_fn(move |_: Request<Incoming>| {
        let mut response = Response::new(Full::new(body.clone()));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        async move { Ok::<_, Infallible>(response) }
    });
    // A peer that leaves in the middle of a request is no news to a server.
    let _ = hyper::server::conn::http1::Builder::new()
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

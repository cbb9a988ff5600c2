//! The signals that end an agent.

use std::fmt;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::exit::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Received {
    Interrupt,
    Terminate,
    Hangup,
    /// No signal: somebody asked the agent over its API to leave.
    Leave,
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interrupt => "SIGINT",
            Self::Terminate => "SIGTERM",
            Self::Hangup => "SIGHUP",
            Self::Leave => "a request to leave",
        })
    }
}

pub(in crate::cli) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// For commands that end by signals.
pub(in crate::cli) fn listen() -> Result<Signals, Failure> {
    Signals::listen().map_err(|error| Failure::new(format!("can't listen for signals: {error}")))
}

impl Signals {
    /// From now on, signals no longer end the process by themselves.
    pub(in crate::cli) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    pub(in crate::cli) async fn next(&mut self) -> Received {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Received::Interrupt,
            _ = self.terminate.recv() => Received::Terminate,
            _ = self.hangup.recv() => Received::Hangup,
        }
    }
}

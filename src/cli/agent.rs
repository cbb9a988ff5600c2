//! `drover agent`: a server, a client, the catalog, DNS and the edge proxy in one process, until a
//! signal ends it.

mod banner;
mod configuration;
mod consul;
mod consul_flags;
mod edge_flags;
mod followers;
pub(super) mod logging;
mod neighbour;
mod reloading;
pub(super) mod signals;

use std::time::Duration;

use agent::Agent;
use anyhow::{Context, anyhow};
use jobspec::Configured;
use logic::config::AgentConfig;
use ports::World;

use super::exit::{Exit, Failure, Outcome};
use super::terminal;
use super::version::Program;
use configuration::one_line;
pub(super) use configuration::{AgentArgs, dev, shift_ports};
pub(super) use consul::{ConsulAgentArgs, read_consul_files};
use logging::Log;
use reloading::Reloading;
use signals::{Received, Signals};

/// How long tasks may take to end when a dev agent leaves: the longest usual kill timeout.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(30);

/// In each turn every actor runs that can; those it creates come next. None goes this deep.
const SETTLE_TURNS: usize = 16;

/// Reads the configuration, at the beginning and again later.
type Reading<'a> = &'a dyn Fn() -> anyhow::Result<Configured>;

pub(super) fn run(args: &AgentArgs, program: Program) -> Outcome {
    run_configured(&|| args.config(program), program)
}

/// `consul agent`: a server of the catalog.
pub(super) fn run_consul(args: &ConsulAgentArgs) -> Outcome {
    run_configured(&|| args.config(), Program::Consul)
}

fn run_configured(reading: Reading<'_>, program: Program) -> Outcome {
    let ended = reading().and_then(|Configured { config, warnings }| {
        for warning in &warnings {
            terminal::complain(&format!("warning: {}", one_line(warning)));
        }
        let log = logging::to_stdout(&config.log_level, config.log_json);
        actix_rt::System::new().block_on(serve(config, program, log, reading))
    });
    ended.map_err(|error| Failure::new(format!("{error:#}")))
}

async fn serve(
    mut config: AgentConfig,
    program: Program,
    log: Log,
    reading: Reading<'_>,
) -> anyhow::Result<Exit> {
    let reloading = Reloading {
        reading,
        started: config.clone(),
        log: &log,
    };
    let mut signals = Signals::listen().context("can't listen for signals")?;
    if program != Program::Consul {
        let environment = neighbour::Environment::read();
        neighbour::consider(&mut config, program, environment).await?;
    }
    let world = host::world(&config);
    if consul::must_find_its_address(&config) {
        config.advertise_addr = world.machine.fingerprint().address;
    }
    let started = tokio::select! {
        biased;
        started = start(world.clone(), config.clone()) => started,
        _ = signals.next() => {
            settle().await;
            return Ok(Exit::Failed);
        }
    };
    let introduction = match &started {
        Ok(agent) if !config.log_json => {
            let drivers = world.containers.drivers().await;
            banner::text(&config, &agent.identity, &drivers)
        }
        Ok(_) | Err(_) => String::new(),
    };
    // The agent runs on even if nobody reads what it says.
    log.held
        .release(introduction.as_bytes())
        .unwrap_or_default();
    let agent = started?;
    let received = until_told_to_end(&agent, &reloading, &mut signals).await;
    Ok(end(agent, &config, received, &mut signals).await)
}

/// Starts an agent, or says in one line why it can't.
pub(super) async fn start(world: World, config: AgentConfig) -> anyhow::Result<Agent> {
    match agent::start(world, config).await {
        Ok(agent) => Ok(agent),
        Err(error) => {
            settle().await;
            // The error tells its source itself.
            Err(anyhow!(error.to_string()))
        }
    }
}

/// Lets actors that were created begin: dropped before, they would do so outside the runtime.
pub(super) async fn settle() {
    for _ in 0..SETTLE_TURNS {
        tokio::task::yield_now().await;
    }
}

async fn until_told_to_end(
    agent: &Agent,
    reloading: &Reloading<'_>,
    signals: &mut Signals,
) -> Received {
    let mut asked = agent.owner.reloads.listen();
    let mut follows = agent.owner.follows.listen();
    loop {
        tokio::select! {
            biased;
            received = signals.next() => {
                if received != Received::Hangup || reloading.started.dev_mode {
                    return received;
                }
                // What was wrong is in the log.
                reloading.reload(agent).await.ok();
            }
            () = agent.leaving.notified() => return Received::Leave,
            Some(follow) = follows.recv() => reloading.log.follow(&follow),
            Some(told) = asked.recv() => {
                let outcome = reloading.reload(agent).await;
                // Who has asked may have left.
                told.send(outcome).ok();
            }
        }
    }
}

async fn end(
    agent: Agent,
    config: &AgentConfig,
    received: Received,
    signals: &mut Signals,
) -> Exit {
    let gracefully = match received {
        Received::Interrupt => config.leave_on_interrupt,
        Received::Terminate => config.leave_on_terminate,
        Received::Hangup | Received::Leave => true,
    };
    tracing::info!("{received} received: ending; once more ends at once");
    tokio::select! {
        biased;
        again = signals.next() => {
            tracing::warn!("{again} received: ending at once");
            Exit::Failed
        }
        left = tokio::time::timeout(LEAVE_TIMEOUT, agent.end(gracefully)) => if left.is_ok() {
            tracing::info!("ended");
            Exit::Done
        } else {
            tracing::warn!("some tasks haven't ended after {} s", LEAVE_TIMEOUT.as_secs());
            Exit::Failed
        }
    }
}

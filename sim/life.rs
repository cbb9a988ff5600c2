//! The life of a simulated machine: it boots, and its agent runs for as long as fate wants.

use std::time::Duration;

use logic::config::AgentConfig;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::sight::Sight;
use crate::world::{SimHost, world};

/// How long a machine waits before it starts an agent again that couldn't start.
const START_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What fate wants of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Up,
    /// It says goodbye and ends.
    Leaving,
    /// It ends at once.
    Dead,
}

/// Adds a machine, which boots when the simulation begins and after every crash. `config` is
/// made on the machine itself, where names can be looked up.
pub(crate) fn add(
    sim: &mut turmoil::Sim<'_>,
    machine: SimHost,
    config: impl Fn() -> AgentConfig + Clone + 'static,
    sight: Sight,
    wanted: watch::Receiver<Wanted>,
) {
    sim.host(machine.name().to_owned(), move || {
        let (machine, sight, config) = (machine.clone(), sight.clone(), config.clone());
        let wanted = wanted.clone();
        async move { Box::pin(live(machine, config(), sight, wanted)).await }
    });
}

async fn live(
    machine: SimHost,
    config: AgentConfig,
    sight: Sight,
    mut wanted: watch::Receiver<Wanted>,
) -> turmoil::Result {
    machine.boot();
    loop {
        wanted.wait_for(|wanted| *wanted == Wanted::Up).await?;
        // What the agent spawns ends with it; what the machine runs doesn't.
        let tasks = LocalSet::new();
        let life = agent_life(&machine, config.clone(), &sight, wanted.clone());
        let lived = Box::pin(tasks.run_until(life)).await;
        sight.agent_gone(machine.name());
        drop(tasks);
        if let Err(error) = lived {
            if !machine.disk_is_full() {
                return Err(format!("{}: no agent can start: {error}", machine.name()).into());
            }
            tokio::time::sleep(START_AGAIN_AFTER).await;
        }
    }
}

/// Returns when the agent has ended as fate wanted.
async fn agent_life(
    machine: &SimHost,
    config: AgentConfig,
    sight: &Sight,
    mut wanted: watch::Receiver<Wanted>,
) -> turmoil::Result {
    let mut dies = wanted.clone();
    let dead = async move {
        // Fails only when the simulation is over.
        dies.wait_for(|wanted| *wanted == Wanted::Dead).await.ok();
    };
    let life = async {
        let agent = agent::start(world(machine), config).await?;
        sight.agent_runs(machine.name(), &agent);
        wanted.wait_for(|wanted| *wanted != Wanted::Up).await?;
        agent.end(false).await;
        Ok(())
    };
    tokio::select! {
        biased;
        () = dead => Ok(()),
        ended = life => ended,
    }
}

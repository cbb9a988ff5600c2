//! Reading the configuration again while the agent runs, on SIGHUP or because it is asked to.

use agent::Agent;
use jobspec::Configured;
use logic::config::{AgentConfig, needs_restart};

use super::Reading;
use super::configuration::one_line;
use super::logging::Log;

pub(super) struct Reloading<'a> {
    pub(super) reading: Reading<'a>,
    /// The configuration that the agent was started with, as it was read.
    pub(super) started: AgentConfig,
    pub(super) log: &'a Log,
}

impl Reloading<'_> {
    /// Takes what can be taken now, and tells what can't. With a mistake in the configuration
    /// everything stays as it is.
    pub(super) async fn reload(&self, agent: &Agent) -> Result<(), String> {
        let reloaded = self.try_reload(agent).await;
        match &reloaded {
            Ok(()) => tracing::info!("the configuration was read again"),
            Err(why) => tracing::error!("the configuration stays as it was: {why}"),
        }
        reloaded
    }

    async fn try_reload(&self, agent: &Agent) -> Result<(), String> {
        let Configured { config, warnings } =
            (self.reading)().map_err(|error| format!("{error:#}"))?;
        for warning in &warnings {
            tracing::warn!("{}", one_line(warning));
        }
        for what in needs_restart(&self.started, &config) {
            tracing::warn!("{what}: what differs has no effect before the agent is started again");
        }
        agent.settled.take(&config).await?;
        self.log.level.set(&config.log_level);
        Ok(())
    }
}

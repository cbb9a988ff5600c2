//! `agent`: runs an agent until it is told to leave.

mod banner;
mod configuration;
pub(super) mod logging;
pub(super) mod signals;

use logic::config::AgentConfig;

use super::exit::{Exit, Failure, Outcome};
use super::terminal;
pub(super) use configuration::{AgentArgs, dev, shift_ports};
use logging::HeldLog;
use signals::{Received, Signals};

pub(super) fn run(args: &AgentArgs) -> Outcome {
    let config = args
        .config()
        .map_err(|error| Failure::new(format!("Error starting agent: {error:#}")))?;
    let log = logging::to_stdout(&config.log_level, config.log_json);
    actix_rt::System::new().block_on(serve(config, &log))
}

async fn serve(config: AgentConfig, log: &HeldLog) -> Outcome {
    let failed = |why: String| Failure::new(format!("Error starting agent: {why}"));
    let mut signals = Signals::listen().map_err(|error| failed(error.to_string()))?;
    let world = host::world(&config);
    let starting = agent::start(world.clone(), config.clone());
    let agent = tokio::select! {
        biased;
        received = signals.next() => return Err(failed(format!("{received} came first"))),
        started = starting => started.map_err(|error| failed(error.to_string()))?,
    };
    let introduction = if config.log_json {
        String::new()
    } else {
        let drivers = world.containers.drivers().await;
        banner::text(&config, &agent.identity, &drivers)
    };
    // A reader that has left is no reason to stop.
    log.release(introduction.as_bytes()).unwrap_or_default();
    let received = signals.next().await;
    say(&config, &format!("Caught signal: {received}"));
    let gracefully = match received {
        Received::Interrupt => config.leave_on_interrupt,
        Received::Terminate => config.leave_on_terminate,
        Received::Hangup => false,
    };
    if gracefully {
        say(&config, "Gracefully shutting down agent...");
        tokio::select! {
            biased;
            _ = signals.next() => return Ok(Exit::Failed),
            () = agent.leave() => {}
        }
    }
    Ok(Exit::Done)
}

/// For people, among the logs.
fn say(config: &AgentConfig, text: &str) {
    if config.log_json {
        tracing::info!("{text}");
    } else {
        terminal::print(&format!("==> {text}"));
    }
}

//! Consul's `monitor`: an agent's log as it is written.

use clap::Args;
use http_body_util::BodyExt;

use super::agent::signals;
use super::connection::CatalogConnection;
use super::exit::{Exit, Failure, Outcome};
use super::http::escaped;
use super::terminal;

/// Follow an agent's log, until interrupted
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ consul monitor
  $ consul monitor -log-level=debug -http-addr=10.0.0.2:8500")]
pub(super) struct LogMonitor {
    /// Lines of this level and above, whatever the agent itself shows: trace, debug, info, warn or
    /// error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
    /// Lines in JSON
    #[arg(long)]
    log_json: bool,
    #[command(flatten)]
    connection: CatalogConnection,
}

impl LogMonitor {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let mut signals = signals::listen()?;
        let json = if self.log_json { "&logjson=true" } else { "" };
        let level = escaped(&self.log_level);
        let path = format!("/v1/agent/monitor?loglevel={level}{json}");
        let lines = client.stream(&path).await;
        let mut lines =
            lines.map_err(|error| Failure::from(error).during("Error starting monitor"))?;
        loop {
            let frame = tokio::select! {
                biased;
                _ = signals.next() => return Ok(Exit::Done),
                frame = lines.frame() => frame,
            };
            let ended = "the agent's log has ended: the agent itself may have";
            let frame = frame.ok_or_else(|| Failure::new(ended))?;
            let frame = frame.map_err(|error| Failure::new(format!("{ended} ({error})")))?;
            if let Some(bytes) = frame.data_ref() {
                terminal::write(bytes);
            }
        }
    }
}

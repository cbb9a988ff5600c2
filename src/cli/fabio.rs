//! `fabio`: the edge as a program of its own, with fabio's options, until a signal ends it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use agent::edge::standalone;
use logic::config::AgentConfig;
use logic::fabio::{self, Fabio, Typed};

use super::agent::logging;
use super::agent::settle;
use super::agent::signals::{self, Received};
use super::exit::{Exit, Failure, Outcome};
use super::version::Program;
use super::{help, terminal};

pub(super) fn run(arguments: &[OsString]) -> Outcome {
    let text = |argument: &OsString| argument.to_string_lossy().into_owned();
    let arguments: Vec<String> = arguments.iter().map(text).collect();
    let hinted = |why: String| Failure::new(why).hint("`fabio -h` lists the options");
    let typed = fabio::typed(&arguments).map_err(hinted)?;
    if typed.version {
        terminal::print(&Program::Fabio.version());
        return Ok(Exit::Done);
    }
    if typed.help {
        terminal::print(&help::short(Program::Fabio));
        return Ok(Exit::Done);
    }
    let (fabio, warnings) = configured(&typed)?;
    for warning in warnings {
        terminal::complain(&format!("warning: {warning}"));
    }
    logging::as_fabio(&fabio.log_level);
    actix_rt::System::new().block_on(serve(&fabio))
}

fn configured(typed: &Typed) -> Result<(Fabio, Vec<String>), Failure> {
    let env: BTreeMap<String, String> = std::env::vars_os()
        .map(|(name, value)| {
            let text = |text: OsString| text.to_string_lossy().into_owned();
            (text(name), text(value))
        })
        .collect();
    let file = typed.file.as_deref().map(read_file).transpose()?;
    let configured = fabio::configured(typed, &env, file.as_deref());
    configured.map_err(|why| match &typed.file {
        Some(path) => Failure::new(why).hint(format!("options also come from {path}")),
        None => Failure::new(why),
    })
}

fn read_file(path: &str) -> Result<String, Failure> {
    if path.contains("://") {
        let why = format!("-cfg: {path}: options are read from files only");
        return Err(Failure::new(why).hint("download it before, and name the file"));
    }
    std::fs::read_to_string(path).map_err(|error| Failure::new(format!("-cfg: {path}: {error}")))
}

async fn serve(fabio: &Fabio) -> Outcome {
    let failed = |what: &str, why: String| Failure::new(format!("{what}: {why}"));
    let mut signals = signals::listen()?;
    // Only the network, the clock and the machine are used: nothing is kept on disk.
    let world = host::world(&AgentConfig {
        dev_mode: true,
        ..AgentConfig::default()
    });
    let started = standalone::start(&world, fabio).await;
    let running = match started {
        Ok(running) => running,
        Err(error) => {
            settle().await;
            return Err(failed("can't start", error.to_string()));
        }
    };
    for (listener, address) in fabio.edge.listeners.iter().zip(&running.edge.addresses) {
        let protocol = listener.protocol.name();
        tracing::info!("{protocol} proxy listening on {address}");
    }
    tracing::info!("admin server listening on {}", running.edge.admin);
    while let Received::Hangup = signals.next().await {
        tracing::warn!("options are only read at the start: restart it");
    }
    tracing::info!("ending; once more ends at once");
    tokio::select! {
        biased;
        _ = signals.next() => Ok(Exit::Failed),
        () = running.stop() => Ok(Exit::Done),
    }
}

//! `quickstart`: a whole cluster in this process, a service in it, and a look at everything.

mod ask;
mod instances;
mod screen;

use super::exit::{Exit, Outcome};

/// A whole cluster in this process, and a small web service in it to look at
#[derive(clap::Args, Debug)]
pub(crate) struct QuickstartArgs {
    /// End when everything has been shown
    #[arg(long)]
    once: bool,
    /// Added to every port, if the usual ones are taken
    #[arg(long, value_name = "N", default_value_t = 0)]
    port_offset: u16,
}

pub(super) fn run(args: &QuickstartArgs) -> Outcome {
    let _ = (args.once, args.port_offset);
    Ok(Exit::Done)
}

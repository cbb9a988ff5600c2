//! The one binary: `drover`, or whichever of `nomad`, `consul` and `fabio` it is called.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(cli::run(std::env::args_os()))
}

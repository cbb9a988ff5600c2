//! The one binary: `drover`, or whichever of `nomad`, `consul` and `fabio` it is called.

mod cli;

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A request at the edge takes and gives back two buffers of 8 KiB, which it is quicker at.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(cli::run(std::env::args_os()))
}

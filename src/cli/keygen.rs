//! `keygen`: a key for the agents of a cluster to keep what they say to themselves.

use std::fs::File;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;

use super::exit::{Exit, Failure, Outcome};
use super::{format, terminal};

/// Where the kernel's randomness is.
const RANDOM: &str = "/dev/urandom";

/// Print a new key for `encrypt`: 32 random bytes in base64
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover agent -encrypt=$(drover keygen) -config=agent.hcl")]
pub(super) struct Keygen {
    /// `{\"Key\": \"...\"}`
    #[arg(long)]
    json: bool,
}

impl Keygen {
    pub(super) fn run(self) -> Outcome {
        let mut key = [0; 32];
        let read = File::open(RANDOM).and_then(|mut file| file.read_exact(&mut key));
        read.map_err(|error| Failure::new(format!("can't read {RANDOM}: {error}")))?;
        let key = STANDARD.encode(key);
        if self.json {
            terminal::print(&format::json(&json!({ "Key": key })));
        } else {
            terminal::print(&key);
        }
        Ok(Exit::Done)
    }
}

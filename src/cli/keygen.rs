//! `keygen`: a key for the agents of a cluster to keep what they say to themselves.

use std::fs::File;
use std::io::Read;

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
        let key = base64(&key);
        if self.json {
            terminal::print(&format::json(&json!({ "Key": key })));
        } else {
            terminal::print(&key);
        }
        Ok(Exit::Done)
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place)) & 63;
            text.push(if place > three.len() {
                '='
            } else {
                char::from(DIGITS[digit as usize])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_in_base64() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (&[0xfb, 0xff, 0xfe], "+//+"),
        ] {
            assert_eq!(base64(bytes), text);
        }
        assert_eq!(base64(&[0; 32]).len(), 44);
    }
}

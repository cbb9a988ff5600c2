//! What the anchors answered and printed, for tests: JSON in, the same text out.

use std::path::PathBuf;

use serde::de::DeserializeOwned;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/golden")
}

/// A recorded file; `None`, and a word about it, where there are no recordings.
fn read(path: &str) -> Option<String> {
    if let Ok(text) = std::fs::read_to_string(folder().join(path)) {
        return Some(text);
    }
    super::terminal::complain(&format!("skipped: no recording {path}"));
    None
}

/// A recorded answer of the Nomad or Consul API.
pub(super) fn answer<T: DeserializeOwned>(path: &str) -> Option<T> {
    let text = read(path)?;
    Some(super::http::decode(text.as_bytes()).expect("a recorded answer is what it should be"))
}

/// What a command printed, without spaces at the ends of lines.
pub(super) fn output(path: &str) -> Option<String> {
    let text = read(path)?;
    let lines: Vec<_> = text.trim_end().lines().map(str::trim_end).collect();
    Some(lines.join("\n"))
}

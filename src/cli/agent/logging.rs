//! What a process logs, and how: lines for people, or JSON.

use std::io::{IsTerminal, Result as IoResult, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::EnvFilter;

/// The crates whose logs are about Drover; the others' are only shown if something is wrong.
const OWN: [&str; 4] = ["drover", "agent", "host", "jobspec"];

/// Logs to standard output, once the log is released: not before the agent has introduced itself.
pub(in crate::cli) fn to_stdout(level: &str, json: bool) -> HeldLog {
    let log = HeldLog::default();
    let writer = log.clone();
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .with_writer(move || writer.clone());
    if json {
        logs.json().init();
    } else {
        let colours = std::io::stdout().is_terminal();
        logs.compact().with_ansi(colours).init();
    }
    log
}

/// Standard output that keeps what is written until it is released.
#[derive(Clone)]
pub(in crate::cli) struct HeldLog {
    /// Nothing once it is released.
    held: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Default for HeldLog {
    fn default() -> Self {
        Self {
            held: Arc::new(Mutex::new(Some(Vec::new()))),
        }
    }
}

impl HeldLog {
    /// Writes `first`, then what was held; from now on the log goes straight out.
    pub(super) fn release(&self, first: &[u8]) -> IoResult<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout().lock();
        let written = out.write_all(first);
        let kept = held.take().unwrap_or_default();
        written
            .and_then(|()| out.write_all(&kept))
            .and_then(|()| out.flush())
    }
}

impl Write for HeldLog {
    fn write(&mut self, bytes: &[u8]) -> IoResult<usize> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.as_mut() {
            Some(held) => held.write(bytes),
            None => std::io::stdout().write(bytes),
        }
    }

    fn flush(&mut self) -> IoResult<()> {
        std::io::stdout().flush()
    }
}

/// Beside a program's own output.
pub(in crate::cli) fn to_stderr(level: &str) {
    tracing_subscriber::fmt()
        .with_env_filter(filter(level))
        .compact()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(directives(level))
}

fn directives(level: &str) -> String {
    let others = if level == "error" { "error" } else { "warn" };
    let own = OWN.map(|name| format!(",{name}={level}"));
    format!("{others}{}", own.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_held_until_it_is_released() {
        let log = HeldLog::default();
        log.clone().write_all(b"early").expect("held");
        let kept = |log: &HeldLog| log.held.lock().expect("no panic").clone();
        assert_eq!(kept(&log).as_deref(), Some(&b"early"[..]));
        log.release(b"").expect("written");
        assert_eq!(kept(&log), None);
    }

    #[test]
    fn other_crates_only_say_what_is_wrong() {
        assert_eq!(
            directives("debug"),
            "warn,drover=debug,agent=debug,host=debug,jobspec=debug"
        );
        assert!(directives("error").starts_with("error,"));
    }
}

//! What a process logs, and how: lines for people, or JSON.

use std::io::{IsTerminal, Result as IoResult, Write};
use std::sync::{Arc, Mutex, PoisonError};

use agent::edge::access_log;
use agent::wishes::Follow;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{self, FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer, Registry, registry, reload};

use super::followers::Followers;

/// The crates whose logs are about Drover; the others' are only shown if something is wrong.
const OWN: [&str; 4] = ["drover", "agent", "host", "jobspec"];

/// Logs to standard output, once the log is released: not before the agent has introduced itself.
/// The access log's lines go there as they are, or in JSON like the others.
pub(in crate::cli) fn to_stdout(level: &str, json: bool) -> Log {
    let held = HeldLog::default();
    let (writer, lines) = (held.clone(), held.clone());
    let shown = if json { "info" } else { "off" };
    let filter = move |level: &str| {
        let directives = directives(level);
        EnvFilter::new(format!("{directives},{}={shown}", access_log::TARGET))
    };
    let (chosen, handle) = reload::Layer::new(filter(level));
    let (plain, in_json) = (Followers::default(), Followers::default());
    let mut layers: Layers = vec![follow_plain(&plain), follow_in_json(&in_json)];
    if json {
        let logs = fmt::layer().json().with_writer(move || writer.clone());
        layers.push(logs.with_filter(chosen).boxed());
    } else {
        let logs = fmt::layer()
            .compact()
            .with_ansi(std::io::stdout().is_terminal())
            .with_writer(move || writer.clone());
        layers.push(logs.with_filter(chosen).boxed());
        let lines = fmt::layer()
            .event_format(AsIs)
            .with_writer(move || lines.clone())
            .with_filter(filter_fn(|about| about.target() == access_log::TARGET));
        layers.push(lines.boxed());
    }
    registry().with(layers).init();
    // It fails only once the log is gone.
    let level = Level(Box::new(move |level| {
        handle.reload(filter(level)).ok();
    }));
    Log {
        held,
        level,
        plain,
        in_json,
    }
}

type Layers = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

/// Lines for those who follow the log, as people read them.
fn follow_plain(followers: &Followers) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = fmt::layer().compact().with_ansi(false);
    lines
        .with_writer(followers.clone())
        .with_filter(wanted_by(followers))
        .boxed()
}

fn follow_in_json(followers: &Followers) -> Box<dyn Layer<Registry> + Send + Sync> {
    let lines = fmt::layer().json().with_writer(followers.clone());
    lines.with_filter(wanted_by(followers)).boxed()
}

/// Lets through what somebody wants. Requests' lines are no part of it.
fn wanted_by(followers: &Followers) -> reload::Layer<EnvFilter, Registry> {
    let (wanted, handle) = reload::Layer::new(EnvFilter::new("off"));
    followers.adjust_by(move |level| {
        let wanted = level.map_or_else(
            || "off".to_owned(),
            |level| format!("{},{}=off", directives(level), access_log::TARGET),
        );
        // Fails only once the log is gone.
        handle.reload(EnvFilter::new(wanted)).ok();
    });
    wanted
}

/// A log, what sets how much is in it, and those who follow it.
pub(in crate::cli) struct Log {
    pub(super) held: HeldLog,
    pub(super) level: Level,
    plain: Followers,
    in_json: Followers,
}

impl Log {
    pub(super) fn follow(&self, follow: &Follow) {
        let followers = if follow.json {
            &self.in_json
        } else {
            &self.plain
        };
        followers.add(follow);
    }
}

/// Sets how much is logged.
pub(super) struct Level(Box<dyn Fn(&str)>);

impl Level {
    pub(super) fn set(&self, level: &str) {
        (self.0)(level);
    }
}

/// Lines that are whole already.
struct AsIs;

impl<S, N> FormatEvent<S, N> for AsIs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
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

/// As fabio logs: lines for people on standard error, requests on standard output.
pub(in crate::cli) fn as_fabio(level: &str) {
    let logs = fmt::layer()
        .event_format(GoLines)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .with_filter(EnvFilter::new(format!(
            "{},{}=off",
            directives(level),
            access_log::TARGET
        )));
    let lines = fmt::layer()
        .event_format(AsIs)
        .with_writer(std::io::stdout)
        .with_filter(filter_fn(|about| about.target() == access_log::TARGET));
    registry().with(logs).with(lines).init();
}

/// `2026/11/24 13:13:50 [INFO] what happened`.
struct GoLines;

impl<S, N> FormatEvent<S, N> for GoLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let (at, level) = (crate::cli::now().go_log(), event.metadata().level());
        write!(writer, "{at} [{level}] ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
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

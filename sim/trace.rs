//! The history of a run: every event that the code under test logs, with simulated time and host.
//!
//! Two runs of one seed must give the same bytes.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::clock;
use crate::world::lock;

/// Lines kept for people to read; the hash covers all of them.
const LINES_KEPT: usize = 200_000;

/// A growing history. Clones share it.
#[derive(Clone, Default)]
pub struct Trace(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    kept: Vec<String>,
    count: u64,
    hash: u64,
    /// Nothing is added any more.
    over: bool,
}

impl Trace {
    /// Adds a line, and the simulated time in front of it.
    pub fn note(&self, line: &str) {
        let at = clock::elapsed();
        self.push(format!("{:>9.3} {line}", at.as_secs_f64()));
    }

    /// The story is over: how machines are cleared away isn't part of it, and has no order.
    pub(crate) fn end(&self) {
        lock(&self.0).over = true;
    }

    fn push(&self, line: String) {
        let mut lines = lock(&self.0);
        if lines.over {
            return;
        }
        lines.count += 1;
        let seed = if lines.hash == 0 {
            0xcbf2_9ce4_8422_2325
        } else {
            lines.hash
        };
        lines.hash = line.bytes().chain([b'\n']).fold(seed, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        if lines.kept.len() < LINES_KEPT {
            lines.kept.push(line);
        }
    }

    pub fn lines(&self) -> Vec<String> {
        lock(&self.0).kept.clone()
    }

    /// How many lines there are, and the hash of all of them.
    pub fn digest(&self) -> (u64, u64) {
        let lines = lock(&self.0);
        (lines.count, lines.hash)
    }
}

/// A subscriber's layer that writes into a [`Trace`].
pub struct TraceLayer {
    trace: Trace,
    /// Also the simulated network's own events: every packet.
    packets: bool,
}

impl TraceLayer {
    pub fn new(trace: Trace, packets: bool) -> Self {
        Self { trace, packets }
    }
}

/// The simulated host that a span belongs to.
struct HostName(String);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for TraceLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        if attributes.metadata().name() != "node" {
            return;
        }
        let mut text = Fields::default();
        attributes.record(&mut text);
        if let (Some(span), Some(name)) = (ctx.span(id), text.name) {
            span.extensions_mut().insert(HostName(name));
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let target = event.metadata().target();
        let ours = ["agent", "logic", "jobspec", "ports", "sim"]
            .iter()
            .any(|name| target.split("::").next() == Some(name));
        let packet = self.packets && target.starts_with("turmoil");
        if !ours && !packet {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let host = ctx
            .event_scope(event)
            .into_iter()
            .flatten()
            .find_map(|span| {
                span.extensions()
                    .get::<HostName>()
                    .map(|name| name.0.clone())
            })
            .unwrap_or_else(|| "-".to_owned());
        let level = event.metadata().level();
        self.trace
            .note(&format!("{host:<9} {level:<5} {target}: {}", fields.text));
    }
}

#[derive(Default)]
struct Fields {
    text: String,
    name: Option<String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let shown = format!("{value:?}");
        let value = sealed(&shown).unwrap_or(shown);
        // Writing to a string can't fail.
        let result = if field.name() == "message" {
            write!(self.text, "{value} ")
        } else {
            write!(self.text, "{}={value} ", field.name())
        };
        debug_assert!(result.is_ok());
        if field.name() == "name" {
            self.name = Some(value.trim_matches('"').to_owned());
        }
    }
}

/// A packet that begins with a TLS record: its bytes come from keys that aren't the seed's, so
/// that only their number can be told.
fn sealed(packet: &str) -> Option<String> {
    let bytes = packet.strip_prefix("TCP [0x1")?;
    let is_record = bytes.starts_with(['4', '5', '6', '7']) && bytes.get(1..7) == Some(", 0x3,");
    is_record.then(|| format!("TLS {}", packet.split(", ").count()))
}

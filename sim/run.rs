//! Runs one scenario with one seed, and tells how it went.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::planted::{self, Planted};
use anyhow::{Context, Result};
use ports::Random;
use tracing_subscriber::layer::SubscriberExt;

use crate::cluster::{Cluster, Size, USER};
use crate::scenarios::Scenario;
use crate::sight::Sight;
use crate::trace::{Trace, TraceLayer};
use crate::user::User;
use crate::world::lock;

/// A run that was carried out to its end, good or bad.
pub struct Outcome {
    pub seed: u64,
    pub result: Result<()>,
    pub trace: Trace,
    /// How much simulated time it took.
    pub elapsed: Duration,
}

impl Outcome {
    /// The trace's length and hash, and what came of the run: the same for the same seed.
    pub fn digest(&self) -> String {
        let (lines, hash) = self.trace.digest();
        let end = match &self.result {
            Ok(()) => "passed".to_owned(),
            Err(error) => format!("failed: {error:#}"),
        };
        format!(
            "{lines} lines, hash {hash:016x}, {:.3} s, {end}",
            self.elapsed.as_secs_f64()
        )
    }
}

/// What is special about a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub seed: u64,
    /// Instead of as many as the scenario asks for.
    pub servers: Option<usize>,
    /// The trace also holds every packet of the network.
    pub packets: bool,
    /// A mistake that all agents make.
    pub planted: Option<Planted>,
}

/// The command that plays this run again.
pub fn reproduce(scenario: &Scenario, options: Options) -> String {
    let servers = options
        .servers
        .map_or_else(String::new, |servers| format!(" --servers {servers}"));
    let planted = options.planted.map_or_else(String::new, |planted| {
        format!(" --planted {}", planted.name())
    });
    format!(
        "cargo run --release -p sim -- run {} --seed {}{servers}{planted} --trace",
        scenario.name, options.seed
    )
}

/// Plays a scenario as it is.
pub fn run(scenario: &Scenario, seed: u64, packets: bool) -> Outcome {
    let options = Options {
        seed,
        packets,
        ..Options::default()
    };
    run_with(scenario, options)
}

pub fn run_with(scenario: &Scenario, options: Options) -> Outcome {
    let trace = Trace::default();
    let layer = TraceLayer::new(trace.clone(), options.packets);
    let subscriber = tracing_subscriber::registry().with(layer);
    planted::plant(options.planted);
    let played = tracing::subscriber::with_default(subscriber, || play(scenario, options, trace));
    planted::plant(None);
    played
}

fn play(scenario: &Scenario, options: Options, trace: Trace) -> Outcome {
    let seed = options.seed;
    let size = Size {
        good_network: scenario.good_network,
        servers: options.servers.unwrap_or_else(|| scenario.servers(seed)),
        clients: scenario.clients,
        snapshot_after: scenario.snapshot_after,
        consul: scenario.consul(),
    };
    let mut cluster = Cluster::new(seed, size, trace.clone());
    let user = User {
        sight: cluster.sight.clone(),
        trace: trace.clone(),
        random: Random::seeded(seed ^ 0x75e2),
        size,
    };
    let told: Arc<Mutex<Option<Result<()>>>> = Arc::default();
    let (story, end) = (scenario.story, told.clone());
    cluster.sim.client(USER, async move {
        let result = story(user).await;
        *lock(&end) = Some(result);
        Ok(())
    });
    let watched = watch_panics(&cluster.sight, reproduce(scenario, options));
    let result = loop {
        match cluster.step() {
            Ok(false) => {}
            Ok(true) => {
                let told = lock(&told).take();
                break told
                    .context("the story ended without an end")
                    .and_then(|result| result);
            }
            Err(error) => break Err(error),
        }
        if lock(&told).is_some() {
            let told = lock(&told).take();
            break told.unwrap_or(Ok(()));
        }
    };
    drop(watched);
    trace.end();
    let elapsed = cluster.sim.elapsed();
    Outcome {
        seed,
        result,
        trace,
        elapsed,
    }
}

/// While it lives, a panic anywhere fails the run (an actor's panic would go unseen otherwise).
struct WatchedPanics;

impl Drop for WatchedPanics {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            drop(std::panic::take_hook());
        }
    }
}

#[expect(clippy::print_stderr, reason = "the last words of a process")]
fn watch_panics(sight: &Sight, reproduce: String) -> WatchedPanics {
    let sight = sight.clone();
    std::panic::set_hook(Box::new(move |panic| {
        sight.panicked(panic.to_string());
        // Where panics end the process, nobody looks at the next step.
        if cfg!(panic = "abort") {
            eprintln!("{panic}; reproduce: {reproduce}");
        }
    }));
    WatchedPanics
}

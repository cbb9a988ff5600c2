//! Runs one scenario with one seed, and tells how it went.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use ports::Random;
use tracing_subscriber::layer::SubscriberExt;

use crate::cluster::{Cluster, Sight, USER};
use crate::scenarios::Scenario;
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

/// The command that plays this run again.
pub fn reproduce(scenario: &Scenario, seed: u64) -> String {
    format!(
        "cargo run --release -p sim -- run {} --seed {seed} --trace",
        scenario.name
    )
}

/// Plays a scenario. With `packets`, the trace also holds every packet of the network.
pub fn run(scenario: &Scenario, seed: u64, packets: bool) -> Outcome {
    let trace = Trace::default();
    let layer = TraceLayer::new(trace.clone(), packets);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || play(scenario, seed, trace))
}

fn play(scenario: &Scenario, seed: u64, trace: Trace) -> Outcome {
    let mut cluster = Cluster::new(seed, scenario.clients, trace.clone());
    let user = User {
        sight: cluster.sight.clone(),
        trace: trace.clone(),
        random: Random::seeded(seed ^ 0x75e2),
    };
    let told: Arc<Mutex<Option<Result<()>>>> = Arc::default();
    let (story, end) = (scenario.story, told.clone());
    cluster.sim.client(USER, async move {
        let result = story(user).await;
        *lock(&end) = Some(result);
        Ok(())
    });
    let watched = watch_panics(&cluster.sight);
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

fn watch_panics(sight: &Sight) -> WatchedPanics {
    let sight = sight.clone();
    std::panic::set_hook(Box::new(move |panic| {
        Cluster::panicked(&sight, panic.to_string());
    }));
    WatchedPanics
}

//! The `sim` command: plays scenarios in the simulated world.

use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};
use sim::run::{Options, Outcome, reproduce, run, run_with};
use sim::scenarios::{self, Scenario};

/// Runs Drover's agents in a deterministic simulator: same seed, same history.
#[derive(Parser)]
#[command(name = "sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the scenarios
    List,
    /// Play a scenario with one seed, or with several
    Run {
        scenario: String,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// How many seeds, counted up from the first
        #[arg(long, default_value_t = 1)]
        seeds: u64,
        /// Print the history
        #[arg(long)]
        trace: bool,
    },
    /// Play a seed twice and compare the two histories byte for byte
    Meta {
        #[arg(default_value = "first-job")]
        scenario: String,
        #[arg(long, default_value_t = 0)]
        seed: u64,
        #[arg(long, default_value_t = 1)]
        seeds: u64,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::List => list(),
        Command::Run {
            scenario,
            seed,
            seeds,
            trace,
        } => with_scenario(&scenario, |scenario| {
            run_seeds(scenario, seed, seeds, trace)
        }),
        Command::Meta {
            scenario,
            seed,
            seeds,
        } => with_scenario(&scenario, |scenario| meta(scenario, seed, seeds)),
    }
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn list() -> ExitCode {
    for scenario in scenarios::ALL {
        println!("{:<16} {}", scenario.name, scenario.about);
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "this is a command")]
fn with_scenario(name: &str, play: impl FnOnce(&Scenario) -> ExitCode) -> ExitCode {
    if let Some(scenario) = scenarios::find(name) {
        return play(scenario);
    }
    eprintln!("there is no scenario `{name}`; `sim list` lists those there are");
    ExitCode::from(2)
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn run_seeds(scenario: &Scenario, first: u64, seeds: u64, trace: bool) -> ExitCode {
    let began = Instant::now();
    for seed in first..first.saturating_add(seeds) {
        let outcome = run(scenario, seed, false);
        if trace {
            for line in outcome.trace.lines() {
                println!("{line}");
            }
        }
        println!("{} seed {seed}: {}", scenario.name, outcome.digest());
        if outcome.result.is_err() {
            failed(scenario, &outcome);
            return ExitCode::FAILURE;
        }
    }
    println!(
        "{seeds} passed, 0 failed: {} in {:.1?}",
        scenario.name,
        began.elapsed()
    );
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn failed(scenario: &Scenario, outcome: &Outcome) {
    let lines = outcome.trace.lines();
    println!("the last of {} lines of its history:", lines.len());
    for line in lines.iter().rev().take(30).rev() {
        println!("  {line}");
    }
    println!("reproduce: {}", reproduce(scenario, outcome.seed));
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn meta(scenario: &Scenario, first: u64, seeds: u64) -> ExitCode {
    for seed in first..first.saturating_add(seeds) {
        let (one, other) = (run(scenario, seed, true), run(scenario, seed, true));
        let (lines, others) = (one.trace.lines(), other.trace.lines());
        if one.digest() == other.digest() && lines == others {
            println!(
                "{} seed {seed}: twice the same, {}",
                scenario.name,
                one.digest()
            );
            continue;
        }
        let at = lines
            .iter()
            .zip(&others)
            .take_while(|(a, b)| a == b)
            .count();
        println!(
            "{} seed {seed}: two histories, from line {} on:",
            scenario.name,
            at + 1
        );
        println!("  {}", lines.get(at).map_or("(the end)", String::as_str));
        println!("  {}", others.get(at).map_or("(the end)", String::as_str));
        println!(
            "reproduce: cargo run --release -p sim -- meta {} --seed {seed}",
            scenario.name
        );
        return ExitCode::FAILURE;
    }
    println!("{seeds} passed, 0 failed: same seed, same history");
    ExitCode::SUCCESS
}

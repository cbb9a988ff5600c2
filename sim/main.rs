//! The `sim` command: plays scenarios in the simulated world.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use agent::planted::Planted;
use clap::{Args, Parser, Subcommand};
use sim::run::{Options, Outcome, reproduce, run_with};
use sim::scenarios::{self, Scenario};
use sim::swarm::{hunt, swarm};
use sim::{invariants, pool};

/// Runs Drover's agents in a deterministic simulator: same seed, same history.
#[derive(Parser)]
#[command(name = "sim", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the scenarios, and what must hold in all of them
    List,
    /// Play a scenario with one seed, or with several
    Run {
        scenario: String,
        #[command(flatten)]
        how: How,
        /// Print the history
        #[arg(long)]
        trace: bool,
        /// Let all agents make a deliberate mistake; `sim planted` names them
        #[arg(long, value_parser = planted_named)]
        planted: Option<Planted>,
    },
    /// Play a seed twice and compare the two histories byte for byte
    Meta {
        #[arg(default_value = "first-job")]
        scenario: String,
        #[command(flatten)]
        how: How,
    },
    /// Play many seeds on all cores: of one scenario, or of all in turn
    Swarm {
        /// The first seed
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many seeds
        #[arg(long, default_value_t = 100)]
        seeds: u64,
        #[arg(long)]
        scenario: Option<String>,
        /// Servers of each cluster, instead of what the scenario asks for
        #[arg(long)]
        servers: Option<usize>,
    },
    /// Plant deliberate mistakes, and see whether each is noticed
    Planted {
        /// Only this one
        name: Option<String>,
        /// The first seed
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// The most seeds to play for each
        #[arg(long, default_value_t = 200)]
        seeds: u64,
    },
    /// Measure what it costs one server that many nodes stay alive
    Nodes {
        #[arg(long, default_value_t = 50_000)]
        count: usize,
        /// How long, in simulated time
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
    /// Play what comes in on standard input
    #[command(hide = true)]
    Play,
}

#[derive(Args)]
struct How {
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many seeds, counted up from the first
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Servers of the cluster, instead of what the scenario asks for
    #[arg(long)]
    servers: Option<usize>,
}

impl How {
    fn seeds(&self) -> std::ops::Range<u64> {
        self.seed..self.seed.saturating_add(self.seeds)
    }
}

fn planted_named(name: &str) -> Result<Planted, String> {
    Planted::named(name).ok_or_else(|| {
        let names = Planted::ALL.map(Planted::name).join(", ");
        format!("no mistake has this name; there are {names}")
    })
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::List => list(),
        Command::Run {
            scenario,
            how,
            trace,
            planted,
        } => with_scenario(&scenario, |scenario| {
            run_seeds(scenario, &how, trace, planted)
        }),
        Command::Meta { scenario, how } => {
            with_scenario(&scenario, |scenario| meta(scenario, &how))
        }
        Command::Swarm {
            from,
            seeds,
            scenario: None,
            servers,
        } => swarm_of(from, seeds, None, servers),
        Command::Swarm {
            from,
            seeds,
            scenario: Some(name),
            servers,
        } => with_scenario(&name, |scenario| {
            swarm_of(from, seeds, Some(scenario), servers)
        }),
        Command::Planted { name, from, seeds } => planted(name.as_deref(), from, seeds),
        Command::Nodes {
            count,
            seconds,
            seed,
        } => nodes(count, seconds, seed),
        Command::Play => play(),
    }
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn list() -> ExitCode {
    println!("Scenarios");
    for scenario in scenarios::ALL {
        println!("  {:<30} {}", scenario.name, scenario.about);
    }
    println!("\nInvariants");
    let of_states = logic::invariants::ALL
        .iter()
        .map(|rule| (rule.id, rule.sentence));
    let of_clusters = invariants::ALL.iter().map(|rule| (rule.id, rule.sentence));
    for (id, sentence) in of_clusters.chain(of_states) {
        println!("  {id:<30} {sentence}");
    }
    ExitCode::SUCCESS
}

#[expect(clippy::print_stderr, reason = "this is a command")]
fn with_scenario(name: &str, play: impl FnOnce(&'static Scenario) -> ExitCode) -> ExitCode {
    if let Some(scenario) = scenarios::find(name) {
        return play(scenario);
    }
    eprintln!("there is no scenario `{name}`; `sim list` lists those there are");
    ExitCode::from(2)
}

#[expect(clippy::print_stderr, reason = "this is a command")]
fn wrong(error: &anyhow::Error) -> ExitCode {
    eprintln!("{error:#}");
    ExitCode::from(2)
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn run_seeds(scenario: &Scenario, how: &How, trace: bool, planted: Option<Planted>) -> ExitCode {
    let began = Instant::now();
    for seed in how.seeds() {
        let options = Options {
            seed,
            servers: how.servers,
            planted,
            packets: false,
        };
        let outcome = run_with(scenario, options);
        if trace {
            for line in outcome.trace.lines() {
                println!("{line}");
            }
        }
        println!("{} seed {seed}: {}", scenario.name, outcome.digest());
        if outcome.result.is_err() {
            failed(&outcome, &reproduce(scenario, options));
            return ExitCode::FAILURE;
        }
    }
    println!(
        "{} passed, 0 failed: {} in {:.1?}",
        how.seeds,
        scenario.name,
        began.elapsed()
    );
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn failed(outcome: &Outcome, reproduce: &str) {
    let lines = outcome.trace.lines();
    println!("the last of {} lines of its history:", lines.len());
    for line in lines.iter().rev().take(30).rev() {
        println!("  {line}");
    }
    println!("reproduce: {reproduce}");
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn meta(scenario: &Scenario, how: &How) -> ExitCode {
    for seed in how.seeds() {
        let options = Options {
            seed,
            servers: how.servers,
            planted: None,
            packets: true,
        };
        let (one, other) = (run_with(scenario, options), run_with(scenario, options));
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
    println!("{} passed, 0 failed: same seed, same history", how.seeds);
    ExitCode::SUCCESS
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn swarm_of(
    from: u64,
    seeds: u64,
    scenario: Option<&'static Scenario>,
    servers: Option<usize>,
) -> ExitCode {
    let began = Instant::now();
    let counted = swarm(from, seeds, scenario, servers, |verdict| {
        let (name, seed) = (verdict.task.scenario.name, verdict.task.options.seed);
        println!("{name} seed {seed}: {}", verdict.digest);
        println!("  reproduce: {}", verdict.task.reproduce());
    });
    match counted {
        Ok(count) => {
            println!(
                "{} passed, {} failed: seeds {from} to {} in {:.1?}",
                count.passed,
                count.failed,
                from.saturating_add(seeds).saturating_sub(1),
                began.elapsed()
            );
            ExitCode::from(u8::from(count.failed > 0))
        }
        Err(error) => wrong(&error),
    }
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn planted(name: Option<&str>, from: u64, seeds: u64) -> ExitCode {
    let chosen = match name.map(planted_named) {
        None => Planted::ALL.to_vec(),
        Some(Ok(planted)) => vec![planted],
        Some(Err(problem)) => return wrong(&anyhow::anyhow!(problem)),
    };
    let mut missed = 0;
    for planted in chosen {
        let name = planted.name();
        match hunt(planted, from, seeds) {
            Ok(Some(caught)) => {
                let task = caught.by.task;
                let why = caught.by.digest.split_once("failed: ");
                let why = why.map_or(caught.by.digest.as_str(), |(_, why)| why);
                println!(
                    "{name}: caught after {} seeds ({} seed {}: {why})",
                    caught.runs, task.scenario.name, task.options.seed
                );
            }
            Ok(None) => {
                println!("{name}: missed");
                missed += 1;
            }
            Err(error) => return wrong(&error),
        }
    }
    ExitCode::from(u8::from(missed > 0))
}

#[expect(clippy::print_stdout, reason = "this is a command")]
fn nodes(count: usize, seconds: u64, seed: u64) -> ExitCode {
    match sim::nodes::measure(count, seconds, seed) {
        Ok(measured) => {
            let cores = measured.beating.as_secs_f64() / Duration::from_secs(seconds).as_secs_f64();
            println!(
                "{count} nodes: registered in {:.1} s of CPU, {} ready; {} heartbeats in {seconds} \
                 simulated seconds took {:.2} s of CPU: {cores:.2} cores, nodes and simulator included",
                measured.registering.as_secs_f64(),
                measured.ready,
                measured.beats,
                measured.beating.as_secs_f64(),
            );
            ExitCode::from(u8::from(measured.ready < count))
        }
        Err(error) => wrong(&error),
    }
}

fn play() -> ExitCode {
    match pool::work(std::io::stdin().lock(), std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => wrong(&error),
    }
}

//! Runs every corpus file through its target, and mutations of them: fuzzing without libFuzzer.
//!
//! `replay [TARGET] [--mutate N] [--seed S]`; a failing input is written to `artifacts/TARGET/`.

mod mutate;

use std::error::Error;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// What a target does with its bytes; it panics if something is wrong.
type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 9] = [
    ("job_file", jobspec::fuzz_job_file),
    ("client_hello", logic::fuzz::client_hello),
    ("route_commands", logic::fuzz::route_commands),
    ("requests", logic::fuzz::requests),
    ("properties", logic::fuzz::properties),
    ("heads", agent::fuzz::heads),
    ("exchanges", agent::fuzz::exchanges),
    ("dns", agent::fuzz::dns),
    ("frames", agent::fuzz::frames),
];

type CorpusFile = (PathBuf, Vec<u8>);

struct Options {
    target: Option<String>,
    mutations: u64,
    seed: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = options(std::env::args().skip(1))?;
    for (name, target) in TARGETS {
        if options
            .target
            .as_deref()
            .is_none_or(|wanted| wanted == name)
        {
            replay(name, target, &options)?;
        }
    }
    Ok(())
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        target: None,
        mutations: 0,
        seed: 1,
    };
    while let Some(arg) = args.next() {
        let mut number = || args.next().ok_or(format!("{arg} wants a number"));
        match arg.as_str() {
            "--mutate" => options.mutations = number()?.parse()?,
            "--seed" => options.seed = number()?.parse()?,
            name if TARGETS.iter().any(|(target, _)| *target == name) => {
                options.target = Some(arg);
            }
            _ => return Err(format!("unknown argument `{arg}`").into()),
        }
    }
    Ok(options)
}

fn replay(name: &str, target: Target, options: &Options) -> Result<(), Box<dyn Error>> {
    let corpus = corpus(name)?;
    if corpus.is_empty() {
        return Err(format!("the corpus of {name} is empty").into());
    }
    for (path, bytes) in &corpus {
        run(name, target, bytes, &path.display().to_string())?;
    }
    println!("{name}: {} corpus files", corpus.len());
    let mut mutator = mutate::Mutator::new(options.seed);
    for round in 0..options.mutations {
        let bytes = mutator.mutant(&corpus);
        let origin = format!("mutation {round} of seed {}", options.seed);
        run(name, target, &bytes, &origin)?;
    }
    if options.mutations > 0 {
        println!("{name}: {} mutations", options.mutations);
    }
    Ok(())
}

fn corpus(name: &str) -> Result<Vec<CorpusFile>, Box<dyn Error>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir)? {
        paths.push(entry?.path());
    }
    paths.sort();
    paths
        .into_iter()
        .map(|path| Ok((path.clone(), fs::read(path)?)))
        .collect()
}

/// Fails with the place of the saved input if the target panics.
fn run(name: &str, target: Target, bytes: &[u8], origin: &str) -> Result<(), Box<dyn Error>> {
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_ok() {
        return Ok(());
    }
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("artifacts")
        .join(name);
    fs::create_dir_all(&dir)?;
    let path = dir.join("failed");
    fs::write(&path, bytes)?;
    Err(format!("{name} fails on {origin}: saved as {}", path.display()).into())
}

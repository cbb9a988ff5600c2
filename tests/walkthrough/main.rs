//! The walk-through on three hosts with Docker, every command in its order, compared with what
//! Nomad 0.8.7, Consul 1.8.7 and fabio 1.5.15 answered: docs/TESTING.md says how to run it.

#![expect(clippy::print_stdout, reason = "it prints a line for each step")]

mod beyond;
mod chapters;
mod compare;
mod hosts;
mod images;
mod normal;
mod walk;

use std::path::{Path, PathBuf};
use std::process::Command;

use compare::Meant;
use hosts::Hosts;
use walk::Walk;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the real three answered; it isn't part of this repository.
fn golden() -> PathBuf {
    let usual = || repository().join("../shared/golden");
    std::env::var_os("DROVER_GOLDEN").map_or_else(usual, PathBuf::from)
}

/// What is missing to walk, in words.
fn missing() -> Option<String> {
    let answers = |program: &str, args: &[&str]| {
        Command::new(program)
            .args(args)
            .output()
            .ok()
            .map(|output| output.stdout)
    };
    if !golden().join("01-consul-version.cmd").exists() {
        return Some(format!(
            "no recordings in {} ($DROVER_GOLDEN)",
            golden().display()
        ));
    }
    if answers("id", &["-u"]).is_none_or(|uid| uid != b"0\n") {
        return Some("it needs root, for namespaces".to_owned());
    }
    let programs = [
        ("dockerd", "--version"),
        ("docker", "--version"),
        ("ip", "-V"),
        ("dig", "-v"),
        ("curl", "--version"),
        ("ping", "-V"),
        ("nsenter", "--version"),
        ("setpriv", "--version"),
        ("python3", "--version"),
    ];
    let absent = programs
        .iter()
        .find(|(program, args)| answers(program, &[args]).is_none());
    absent.map(|(program, _)| format!("{program} isn't installed"))
}

#[test]
#[ignore = "takes minutes, and needs root and Docker: docs/TESTING.md"]
fn every_command_of_the_walk_through_answers_as_recorded() {
    if let Some(why) = missing() {
        println!("skipped: {why}");
        return;
    }
    let meant = Meant::read(include_str!("differences.txt"));
    let hosts = Hosts::new(Path::new(env!("CARGO_BIN_EXE_drover")));
    for note in images::provide(&hosts) {
        println!("note: {note}");
    }
    let mut walk = Walk::new(hosts, golden(), meant);
    chapters::all(&mut walk);
    beyond::all(&mut walk);
    println!(
        "{} steps: {} the same, {} differ as meant, {} differ",
        walk.same + walk.as_meant + walk.wrong.len(),
        walk.same,
        walk.as_meant,
        walk.wrong.len(),
    );
    if std::env::var_os("DROVER_WALK_HOLD").is_some() {
        walk.hosts.hold();
    }
    for line in walk.unused_rules() {
        println!("note: differences.txt:{line} isn't needed any more");
    }
    if !walk.wrong.is_empty() {
        let wrong = walk.wrong.join(", ");
        let kept = walk.hosts.keep();
        panic!(
            "these differ: {wrong}; what the agents wrote is below {}",
            kept.display()
        );
    }
}

//! The repository's own rules.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::repository;

const LINES_MAX: usize = 500;
const COLUMNS_MAX: usize = 100;
const MAP_LINES_MAX: usize = 250;
const NAMES_THAT_SAY_NOTHING: [&str; 4] = ["utils", "common", "helpers", "misc"];

fn files_in(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if name != "target" && !name.to_string_lossy().starts_with('.') {
                files_in(&path, found);
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Every Rust file of the repository: its path from the root, and its text.
fn sources() -> Vec<(String, String)> {
    let root = repository();
    let mut paths = Vec::new();
    files_in(&root, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("text");
        let name = path.strip_prefix(&root).expect("below the root");
        (name.to_string_lossy().into_owned(), text)
    };
    let sources: Vec<_> = paths.into_iter().map(read).collect();
    assert!(
        sources.len() > 100,
        "only {} files were looked at",
        sources.len()
    );
    sources
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fails with every place that breaks the rule.
fn none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n{}", found.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |(path, text): &(String, String)| (!text.starts_with("//!")).then(|| path.clone());
    let found: Vec<_> = sources().iter().filter_map(silent).collect();
    none("a file starts with `//!`", &found);
}

#[test]
fn no_file_is_too_long() {
    let found: Vec<_> = sources()
        .into_iter()
        .filter(|(path, _)| !path.ends_with("tests.rs") && !path.contains("tests/"))
        .filter_map(|(path, text)| {
            let own = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default();
            let lines = own.lines().count();
            (lines >= LINES_MAX).then(|| format!("{path}: {lines}"))
        })
        .collect();
    none("a file has fewer than 500 lines, its tests aside", &found);
}

#[test]
fn no_line_is_too_wide_but_for_its_strings() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            let wide = line.chars().count() > COLUMNS_MAX;
            if wide && !line.contains('"') {
                found.push(format!("{path}:{}", number + 1));
            }
        }
    }
    none("a line has at most 100 columns", &found);
}

#[test]
fn file_names_say_something() {
    let nothing = |path: &str| {
        let stem = Path::new(path).file_stem().unwrap_or_default();
        NAMES_THAT_SAY_NOTHING.iter().any(|name| stem == *name)
    };
    let paths = sources().into_iter().map(|(path, _)| path);
    let found: Vec<_> = paths.filter(|path| nothing(path)).collect();
    none("a file's name says what is in it", &found);
}

#[test]
fn nothing_is_left_to_be_done_in_the_code() {
    // Put together here, so that this file doesn't break the rule itself.
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["todo", "!("].concat(),
    ];
    let mut found = Vec::new();
    for (path, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    none("what is left to be done is no comment", &found);
}

#[test]
fn the_map_is_short_and_names_every_crate() {
    let map = read("docs/ARCHITECTURE.md");
    let lines = map.lines().count();
    assert!(
        lines <= MAP_LINES_MAX,
        "docs/ARCHITECTURE.md has {lines} lines"
    );
    let manifest = read("Cargo.toml");
    let members = manifest
        .split_once("members = [")
        .and_then(|(_, rest)| rest.split_once(']'));
    let (members, _) = members.expect("the workspace's members");
    let unnamed: Vec<_> = members
        .split(',')
        .map(|member| member.trim().trim_matches('"'))
        .filter(|member| !member.is_empty() && !map.contains(&format!("{member}/")))
        .map(str::to_owned)
        .collect();
    none("docs/ARCHITECTURE.md names every crate", &unnamed);
}

#[test]
fn every_decision_is_in_the_index() {
    let index = read("docs/adr/README.md");
    let folder = fs::read_dir(repository().join("docs/adr")).expect("readable");
    let names = folder
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let records: Vec<_> = names.filter(|name| name != "README.md").collect();
    assert!(!records.is_empty());
    let missing: Vec<_> = records
        .into_iter()
        .filter(|name| !index.contains(&format!("({name})")))
        .collect();
    none("docs/adr/README.md lists every decision", &missing);
}

//! What users get wrong, and what they are told: where the mistake is, and nothing is broken by it.

use std::fs;
use std::net::TcpListener;

use crate::program::{Agent, drover, golden, run, text};

/// Runs an agent that can't start; returns the one line it says.
fn refused(args: &[&str]) -> String {
    let output = run(drover().arg("agent").args(args));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{args:?}: {out}{err}");
    assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
    assert!(!out.contains("agent started"), "{out}");
    err
}

#[test]
fn a_busy_port_names_the_port_and_its_setting() {
    let taken = TcpListener::bind("127.0.0.1:10059").expect("the port is free");
    let said = refused(&["-dev", "-port-offset", "60"]);
    drop(taken);
    assert!(said.contains("127.0.0.1:10059"), "{said}");
    assert!(said.contains("edge { proxy_addr"), "{said}");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("data");
    fs::write(&file, "a file is in its place").expect("written");
    let path = file.to_str().expect("text");
    let said = refused(&[
        "-server",
        "-bind",
        "127.0.0.1",
        "-data-dir",
        path,
        "-port-offset",
        "70",
    ]);
    assert!(said.contains(path), "{said}");
}

#[test]
fn configuration_mistakes_are_placed() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("agent.hcl");
    fs::write(
        &file,
        "datacenter = \"dc1\"\n\nserver {\n  enable = true\n}\n",
    )
    .expect("written");
    let said = refused(&["-dev", "-config", file.to_str().expect("text")]);
    assert!(said.contains("agent.hcl:4:3: "), "{said}");
    assert!(said.contains("enable"), "{said}");
    let said = refused(&["-config=/no/such/file"]);
    assert!(said.contains("/no/such/file"), "{said}");
    let said = refused(&["-server"]);
    assert!(said.contains("data_dir"), "{said}");
}

/// Files of the collection whose text is fine: what they ask for can't be had, or nothing is
/// wrong with them at all.
const NOT_FOR_THE_PARSER: [&str; 5] = [
    "18-no-such-dc",
    "23-port-map-label-mismatch",
    "25-memory-too-big",
    "27-impossible-constraint",
    "35-count-zero",
];

#[test]
fn malformed_jobs_are_refused_and_nothing_is_stored() {
    let agent = Agent::dev(80);
    let answer = agent
        .nomad("PUT", "/v1/jobs", "{\"Job\": {\"ID\": \"\"}}")
        .expect("an answer");
    assert_eq!(answer.status, 400, "{answer:?}");
    let answer = agent
        .nomad("PUT", "/v1/jobs", "{\"Job\": ")
        .expect("an answer");
    assert_eq!(answer.status, 400, "{answer:?}");
    let bad = agent.write("bad.nomad", "job \"bad\" {\n  datacentres = [\"dc1\"]\n}\n");
    let output = run(&mut agent.command(&["job", "run", "-detach", &bad]));
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("bad.nomad:2:3"), "{err}");
    if let Some(folder) = golden("malformed") {
        let mut tried = 0;
        for entry in fs::read_dir(folder).expect("readable").flatten() {
            let path = entry.path();
            let name = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let is_job = path.extension().is_some_and(|ending| ending == "nomad");
            let for_parser = !NOT_FOR_THE_PARSER.contains(&name.as_str());
            // The anchor accepts this one too.
            let accepted = fs::read_to_string(path.with_extension("run.rc"));
            let accepted = accepted.is_ok_and(|code| code.trim() == "0");
            if !is_job || !for_parser || accepted {
                continue;
            }
            tried += 1;
            let path = path.to_string_lossy();
            let output = run(&mut agent.command(&["job", "run", "-detach", &path]));
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{path}: {said}");
            assert!(!said.trim().is_empty(), "{path}: no reason");
        }
        assert!(tried >= 10, "only {tried} files");
    }
    let jobs = agent
        .nomad("GET", "/v1/jobs", "")
        .expect("an answer")
        .json();
    assert_eq!(jobs, serde_json::json!([]));
}

#[test]
fn without_an_agent_commands_say_that_there_is_none() {
    let output = run(drover().args(["job", "status", "-address=http://127.0.0.1:1"]));
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("connection refused"), "{err}");
    assert!(err.contains("drover agent -dev"), "{err}");
}

//! `drover quickstart`: a newcomer's first minute.

use std::net::TcpListener;
use std::process::Stdio;

use crate::program::{drover, ended, eventually, processes_in, run, signal, text};

#[test]
fn once_shows_everything_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let output = run(drover()
        .args(["quickstart", "-once", "-port-offset", "10"])
        .env("TMPDIR", folder.path()));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}{err}", output.status);
    assert_eq!(err, "", "nothing is worth a warning");
    for expected in [
        "hello[0]    placed on",
        "hello[1]    placed on",
        "hello[0]    healthy",
        "hello[1]    healthy",
        "GET http://hello.localhost:10009/",
        "hello[0] answered",
        "hello[1] answered",
        "this is httpbackendservice, version: v1.0.0",
        "It works.",
        "nothing is left running",
    ] {
        assert!(out.contains(expected), "{expected:?} is missing in\n{out}");
    }
    assert_eq!(processes_in(folder.path()), [], "no process is left");
    let left: Vec<_> = folder
        .path()
        .read_dir()
        .expect("readable")
        .flatten()
        .collect();
    assert!(left.is_empty(), "no file is left: {left:?}");
}

#[test]
fn it_stays_until_it_is_told_to_end() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let shown = folder.path().join("shown");
    let mut child = drover()
        .args(["quickstart", "-port-offset", "20"])
        .env("TMPDIR", folder.path())
        .stdout(std::fs::File::create(&shown).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("drover can be run");
    let read = || std::fs::read_to_string(&shown).unwrap_or_default();
    eventually("it says what to do next", || {
        read().contains("Ctrl-C").then_some(())
    });
    assert!(read().contains("curl http://hello.localhost:10019/"));
    signal(child.id(), "INT");
    assert!(ended(&mut child).success(), "{}", read());
    assert_eq!(processes_in(folder.path()), [], "no process is left");
}

#[test]
fn a_busy_port_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:10029").expect("the port is free");
    let output = run(drover().args(["quickstart", "-once", "-port-offset", "30"]));
    drop(taken);
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(err.contains("127.0.0.1:10029"), "{err}");
}

//! What the recordings have beyond the text: rolling updates, mistakes of all kinds, a node that is
//! drained, a task that crashes, and bad job files.

use std::fs;

use regex_lite::Regex;

use crate::hosts::NAMES;
use crate::walk::{ACT, READ, Walk};

/// The recorded one needs a driver that only Nomad's own tests have. It keeps off the host that is
/// drained while it crashes, or it would be moved, and which host it gets is chance.
const CRASHY: &str = r#"job "crashy" {
  datacenters = ["dc1"]
  constraint {
    attribute = "${attr.unique.hostname}"
    operator  = "regexp"
    value     = "dxnode[23]"
  }
  group "g" {
    task "t" {
      driver = "docker"
      config {
        image   = "busybox"
        command = "sh"
        args    = ["-c", "sleep 1; exit 1"]
      }
      resources {
        cpu    = 20
        memory = 10
      }
    }
  }
}
"#;

pub(crate) fn all(walk: &mut Walk) {
    install(walk);
    rolling(walk);
    mistakes(walk);
    drain(walk);
    crash(walk);
    bad_files(walk);
}

fn install(walk: &Walk) {
    let root = walk.first().root();
    for name in ["rolling", "rolling-2", "rolling-badimage"] {
        let file = format!("{name}.nomad");
        fs::copy(walk.golden().join("jobs").join(&file), root.join(&file)).expect("a copy");
    }
    fs::write(root.join("crashy.nomad"), CRASHY).expect("written");
    fs::create_dir_all(root.join("bad")).expect("a folder");
    for name in bad_names(walk) {
        let file = format!("{name}.nomad");
        fs::copy(
            walk.golden().join("malformed").join(&file),
            root.join("bad").join(&file),
        )
        .expect("a copy");
    }
}

fn rolling(walk: &mut Walk) {
    walk.go("80-rolling-run-v0", ACT);
    walk.go("81-rolling-status", READ);
    if let Some(alloc) = walk.running("rolling", None) {
        walk.call("6559061c", &alloc);
    }
    walk.go("82-rolling-alloc-logs", READ);
    walk.go("83-rolling-plan-v1", ACT);
    walk.go("84-rolling-run-v1", ACT);
    walk.go("85-rolling-status-done", READ);
    if let Some(deployment) = walk.newest("/v1/job/rolling/deployments") {
        walk.call("384fcd6b", &deployment);
    }
    walk.go("86-deployment-status", READ);
    // What follows a deployment that gets nowhere is interrupted when the recorded one ended.
    let (host, command) = walk.command("87-badimage-run");
    let command = command
        .replace("nomad job run", "timeout 8 nomad job run")
        .replace("sleep 8; ", "");
    walk.go_with("87-badimage-run", &host, &command, ACT);
    if let Some(alloc) = walk.newest("/v1/job/rolling/allocations") {
        walk.call("181a2c2a", &alloc);
    }
    walk.go("87b-badimage-alloc-status", READ.placed());
    walk.go("88-revert", ACT);
}

/// Only the jobs that were there when the rest was recorded.
fn mistakes(walk: &mut Walk) {
    // Some evaluation's id may well begin with two zeros.
    let (host, command) = walk.command("90-status-nosuch");
    let command = command.replace("eval status 00;", "eval status 00000000;");
    walk.go_with("90-status-nosuch", &host, &command, READ);
    let first = walk.first();
    for job in [
        "httpsbackend",
        "httpsbackend-tcp",
        "httpsbackend-sni-1",
        "httpsbackend-sni-2",
    ] {
        first.must(&format!("nomad job stop -purge -detach {job}"));
    }
    first.shell("nomad job stop -purge -detach rolling");
    first.must("nomad job run -detach crashy.nomad");
    walk.go("91-status-fuzzy", READ);
    walk.go("92-help", READ.with(&["rc=", "Usage: nomad"]));
    walk.go("93-job-run-unreachable", READ);
    walk.go("94-no-changes-plan", ACT);
    walk.go("95-job-run-check-index-stale", ACT);
    walk.go("96-consul-errors", READ);
}

fn drain(walk: &mut Walk) {
    walk.go("97-node-eligibility-drain", ACT.placed().kinds());
}

fn crash(walk: &mut Walk) {
    walk.go("98-crashy-status", READ.long());
    if let Some(alloc) = walk.newest("/v1/job/crashy/allocations") {
        walk.call("3f84aa54", &alloc);
    }
    walk.go("98b-crashy-alloc-3f84aa54", READ.placed());
}

fn bad_names(walk: &Walk) -> Vec<String> {
    let folder = fs::read_dir(walk.golden().join("malformed")).expect("bad job files");
    let files = folder
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<_> = files
        .filter_map(|file| file.strip_suffix(".nomad").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// Nomad takes this file, and its tasks listen where nobody looks.
const STRICTER: &str = "23-port-map-label-mismatch";

/// A bad job file is refused with the codes that were recorded, and with the place. One that is
/// only too ambitious is taken, and its status says why it isn't placed.
fn bad_files(walk: &mut Walk) {
    // Theirs is the route that the bad ones ask for.
    walk.first()
        .must("nomad job stop -purge -detach httpbackend");
    let place = Regex::new(r"(?m)^bad/[0-9a-z-]+\.nomad:\d+:\d+: .").expect("a pattern");
    for name in bad_names(walk) {
        let wrong = bad_file(walk, &name, &place).err();
        walk.check(&format!("malformed/{name}"), wrong.map_or(Ok(()), Err));
        if walk
            .golden()
            .join(format!("malformed/{name}.status.cmd"))
            .exists()
            && name != STRICTER
        {
            walk.go(&format!("malformed/{name}.status"), READ);
        }
        walk.first().shell("nomad job stop -purge -detach bad");
    }
    let said = walk
        .host(NAMES[0])
        .shell("nomad job run bad/99-nofile.nomad");
    let holds = said.code == 1 && said.text.contains("bad/99-nofile.nomad");
    walk.check("malformed/99-nofile", holds.then_some(()).ok_or(said.text));
}

fn bad_file(walk: &Walk, name: &str, place: &Regex) -> Result<(), String> {
    for (what, strict) in [("validate", 1), ("plan", 255), ("run", 1)] {
        let step = format!("malformed/{name}.{what}");
        let recorded = fs::read_to_string(walk.golden().join(format!("{step}.rc")));
        let recorded = recorded.map_err(|error| format!("{step}.rc: {error}"))?;
        let expected = if name == STRICTER {
            strict
        } else {
            recorded.trim().parse().unwrap_or(0)
        };
        let (host, command) = walk.command(&step);
        let said = walk.host(&host).shell(&command);
        if said.code != expected {
            return Err(format!(
                "`{command}` exits with {}, not {expected}: {}",
                said.code, said.text
            ));
        }
        if expected == strict && !place.is_match(&said.text) {
            return Err(format!("`{command}` names no place: {}", said.text));
        }
    }
    Ok(())
}

//! `consul watch` and `consul event`: who wants to know is told.

use std::fs;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::agent::ConsulAgent;
use crate::program::{ended, eventually, signal};

fn printed(agent: &ConsulAgent, flags: &[&str]) -> Value {
    let (code, out, err) = agent.run(&[&["watch"], flags].concat());
    assert_eq!(code, Some(0), "{flags:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// A watching command, ended when it goes out of scope.
struct Watching(Child);

impl Watching {
    fn start(mut command: Command) -> Self {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("it can be started"))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            signal(self.0.id(), "TERM");
            ended(&mut self.0);
        }
    }
}

#[test]
fn what_is_watched_is_printed_or_given_to_a_program() {
    let agent = ConsulAgent::dev("watched", 590, &[]);
    let key = ["-type=key", "-key=a/b"];
    assert_eq!(printed(&agent, &key), Value::Null);
    agent.ask("PUT", "/v1/kv/a/b", "one");
    assert_eq!(printed(&agent, &key)["Value"], "b25l");
    let prefix = printed(&agent, &["-type=keyprefix", "-prefix=a/"]);
    assert_eq!(prefix[0]["Key"], "a/b");
    let services = printed(&agent, &["-type", "services"]);
    assert_eq!(services, json!({ "consul": [] }));
    assert_eq!(printed(&agent, &["-type=nodes"])[0]["Node"], "watched");
    let service = printed(
        &agent,
        &["-type=service", "-service=consul", "-passingonly=true"],
    );
    assert_eq!(service[0]["Checks"][0]["CheckID"], "serfHealth");
    let checks = printed(&agent, &["-type=checks", "-state=critical"]);
    assert_eq!(checks, json!([]));
    each_change_runs_the_program(&agent);
    a_program_ends_with_the_one_who_runs_it(&agent);
    let (code, _, err) = agent.run(&["watch", "-type=key"]);
    assert_eq!((code, err.contains("needs -key")), (Some(1), true), "{err}");
}

fn each_change_runs_the_program(agent: &ConsulAgent) {
    let seen = agent.folder().join("seen");
    let program = format!("{{ echo $CONSUL_INDEX; cat; }} >> {}", seen.display());
    let flags = ["watch", "-type=key", "-key=a/b", program.as_str()];
    let watching = Watching::start(agent.command(&flags));
    let lines = |count: usize| {
        eventually("the program has run so often", || {
            let text = fs::read_to_string(&seen).unwrap_or_default();
            let lines: Vec<String> = text.lines().map(str::to_owned).collect();
            (lines.len() == 2 * count && text.ends_with('\n')).then_some(lines)
        })
    };
    let first = lines(1);
    agent.ask("PUT", "/v1/kv/a/b", "two");
    let second = lines(2);
    assert_eq!(second[..2], first[..]);
    let index: u64 = second[2].parse().expect("an index");
    assert!(index > first[0].parse().expect("an index"));
    let told: Value = serde_json::from_str(&second[3]).expect("JSON");
    assert_eq!(told["Value"], "dHdv");
    agent.ask("DELETE", "/v1/kv/a/b", "");
    assert_eq!(lines(3)[5], "null");
    let mut watching = watching;
    signal(watching.0.id(), "INT");
    assert!(ended(&mut watching.0).success());
}

fn a_program_ends_with_the_one_who_runs_it(agent: &ConsulAgent) {
    let pid = agent.folder().join("pid");
    let program = format!("echo $$ > {}; sleep 600; true", pid.display());
    let flags = ["watch", "-type=nodes", program.as_str()];
    let mut watching = Watching::start(agent.command(&flags));
    let process = eventually("the program runs", || {
        let text = fs::read_to_string(&pid).unwrap_or_default();
        text.trim().parse::<u32>().ok()
    });
    signal(watching.0.id(), "TERM");
    assert!(ended(&mut watching.0).success());
    assert!(!fs::exists(format!("/proc/{process}")).expect("readable"));
}

#[test]
fn an_event_is_fired_and_seen() {
    let agent = ConsulAgent::dev("fired", 600, &[]);
    let (code, out, err) = agent.run(&["event", "-name=deploy", "-node=^f", "1.2.3", "now"]);
    assert_eq!(code, Some(0), "{err}");
    let id = out.trim().strip_prefix("Event ID: ").expect("an id");
    agent.run(&["event", "-name=other"]);
    let events = printed(&agent, &["-type=event", "-name=deploy"]);
    assert_eq!(events.as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&events[0]["ID"], &events[0]["NodeFilter"]),
        (&json!(id), &json!("^f"))
    );
    assert_eq!(events[0]["Payload"], "MS4yLjMgbm93");
    assert_eq!(
        printed(&agent, &["-type=event"]).as_array().map(Vec::len),
        Some(2)
    );
    let large = "x".repeat(513);
    let (code, _, err) = agent.run(&["event", "-name=deploy", &large]);
    assert_eq!(
        (code, err.contains("at most 512")),
        (Some(1), true),
        "{err}"
    );
}

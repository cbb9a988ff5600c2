//! `consul lock`: a program runs while it holds a lock, and only then.

use std::fs;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::agent::ConsulAgent;
use crate::program::{ended, eventually, signal};

/// A command that holds a lock, or waits for one; ended when it goes out of scope.
struct Locking(Child);

impl Locking {
    /// What it runs says that it runs, and then waits.
    fn start(agent: &ConsulAgent, flags: &[&str], mark: &str) -> Self {
        let file = agent.folder().join(mark);
        let program = format!("echo $$ > {}; sleep 600; true", file.display());
        let words = [&["lock"], flags, &["jobs/nightly", &program]].concat();
        let mut command = agent.command(&words);
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("it can be started"))
    }
}

impl Drop for Locking {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            signal(self.0.id(), "TERM");
            ended(&mut self.0);
        }
    }
}

fn runs(agent: &ConsulAgent, mark: &str) -> bool {
    fs::exists(agent.folder().join(mark)).expect("readable")
}

fn wait_for(agent: &ConsulAgent, mark: &str) {
    eventually(mark, || runs(agent, mark).then_some(()));
}

/// The session that holds the lock.
fn holder(agent: &ConsulAgent) -> Option<String> {
    let answer = agent.get("/v1/kv/jobs/nightly/.lock");
    let rows: Value = (answer.status == 200).then(|| answer.json())?;
    rows[0]["Session"].as_str().map(str::to_owned)
}

#[test]
fn a_program_runs_while_it_holds_the_lock() {
    let agent = ConsulAgent::dev("locked", 610, &[]);
    let said = |words: &[&str]| agent.run(&[&["lock"], words].concat());
    let (code, out, err) = said(&["-verbose", "jobs/nightly", "echo", "held:$CONSUL_LOCK_HELD"]);
    assert_eq!((code, out.trim()), (Some(0), "held:true"), "{err}");
    assert!(err.contains("Attempting lock acquisition"), "{err}");
    assert_eq!(holder(&agent), None, "the key is taken away");
    assert_eq!(
        agent.get("/v1/session/list").json(),
        Value::Array(Vec::new())
    );
    let (code, out, _) = said(&["-shell=false", "jobs/nightly", "echo", "$HOME"]);
    assert_eq!((code, out.trim()), (Some(0), "$HOME"));
    assert_eq!(said(&["jobs/nightly", "exit 7"]).0, Some(0));
    assert_eq!(
        said(&["-child-exit-code", "jobs/nightly", "exit 7"]).0,
        Some(2)
    );
    let (code, _, err) = said(&["-shell=false", "jobs/nightly", "/no/such/program"]);
    assert_eq!((code, err.contains("can't run")), (Some(1), true), "{err}");
    only_one_runs_at_a_time(&agent);
    a_program_ends_when_its_lock_is_lost(&agent);
    agent.ask("PUT", "/v1/kv/jobs/nightly/.lock", "of somebody else");
    let (code, _, err) = said(&["jobs/nightly", "true"]);
    assert_eq!(
        (code, err.contains("isn't a lock's")),
        (Some(1), true),
        "{err}"
    );
}

fn only_one_runs_at_a_time(agent: &ConsulAgent) {
    let first = Locking::start(agent, &[], "first");
    wait_for(agent, "first");
    let (code, _, err) = agent.run(&["lock", "-try=1s", "jobs/nightly", "true"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("somebody else holds it"), "{err}");
    let second = Locking::start(agent, &[], "second");
    let waits = || {
        agent
            .get("/v1/session/list")
            .json()
            .as_array()
            .map(Vec::len)
            == Some(2)
    };
    eventually("the second has a session", || waits().then_some(()));
    assert!(!runs(agent, "second"));
    drop(first);
    wait_for(agent, "second");
    drop(second);
    assert_eq!(holder(agent), None);
}

fn a_program_ends_when_its_lock_is_lost(agent: &ConsulAgent) {
    let mut losing = Locking::start(agent, &["-monitor-retry=0"], "losing");
    wait_for(agent, "losing");
    let pid = eventually("its program tells its id", || {
        let told = fs::read_to_string(agent.folder().join("losing")).ok()?;
        told.trim().parse::<u32>().ok()
    });
    let session = holder(agent).expect("it is held");
    agent.put(&format!("/v1/session/destroy/{session}"), &Value::Null);
    assert_eq!(ended(&mut losing.0).code(), Some(1));
    assert!(!fs::exists(format!("/proc/{pid}")).expect("readable"));
}

#[test]
fn as_many_run_as_there_are_places() {
    let agent = ConsulAgent::dev("places", 620, &[]);
    let two = ["-n", "2"];
    let first = Locking::start(&agent, &two, "one");
    let second = Locking::start(&agent, &two, "two");
    wait_for(&agent, "one");
    wait_for(&agent, "two");
    let third = Locking::start(&agent, &two, "three");
    let contenders = || {
        let keys = agent.get("/v1/kv/jobs/nightly/?keys").json();
        keys.as_array().map(Vec::len) == Some(4)
    };
    eventually("the third contends", || contenders().then_some(()));
    let (code, _, err) = agent.run(&["lock", "-n=3", "jobs/nightly", "true"]);
    assert_eq!(
        (code, err.contains("limit conflict")),
        (Some(1), true),
        "{err}"
    );
    assert!(!runs(&agent, "three"));
    agent.ask("PUT", "/v1/kv/jobs/other/.lock", "of somebody else");
    let (code, _, err) = agent.run(&["lock", "-n=2", "jobs/other", "true"]);
    assert_eq!(
        (code, err.contains("isn't a semaphore's")),
        (Some(1), true),
        "{err}"
    );
    let left = agent.get("/v1/kv/jobs/other/?keys").json();
    assert_eq!(left, json!(["jobs/other/.lock"]));
    agent.ask("DELETE", "/v1/kv/jobs/other/.lock", "");
    drop(first);
    wait_for(&agent, "three");
    drop((second, third));
    assert_eq!(
        agent.get("/v1/kv/jobs/?keys").status,
        404,
        "nothing is left"
    );
}

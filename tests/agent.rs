//! One agent's life: a job is run, found, served, broken, repaired and stopped.

use std::fs;

use crate::program::{Agent, ended, eventually, repository, signal};

const JOB: &str = "hello";
const HOST: &str = "hello.localhost";

/// The job of the quickstart, published where this agent's proxy listens.
fn job_file(agent: &Agent) -> String {
    let path = repository().join("docs/jobs/quickstart.nomad");
    let job = fs::read_to_string(path).expect("the job file");
    let site = format!("{HOST}:{}", agent.proxy_port());
    agent.write("hello.nomad", &job.replace("hello.localhost:9999", &site))
}

fn ports(agent: &Agent) -> Vec<u16> {
    let port = |(port, _)| port;
    agent
        .srv("hello.service.dc1.consul.")
        .into_iter()
        .map(port)
        .collect()
}

/// The process of the instance that listens there.
fn process_at(agent: &Agent, port: u16) -> u32 {
    let address = format!("-listen 127.0.0.1:{port} ");
    let found = agent
        .tasks()
        .into_iter()
        .find(|(_, line)| line.contains(&address));
    found
        .unwrap_or_else(|| panic!("no process at {port}: {:?}", agent.tasks()))
        .0
}

#[test]
fn a_job_is_run_found_served_repaired_and_stopped() {
    let mut agent = Agent::dev(40);
    let ran = agent.ask(&["job", "run", &job_file(&agent)]);
    assert!(ran.contains("finished with status \"complete\""), "{ran}");
    eventually("both instances pass", || {
        (agent.passing(JOB).len() == 2).then_some(())
    });
    let status = agent.ask(&["job", "status", JOB]);
    assert_eq!(status.matches(" running ").count(), 2, "{status}");

    let found = eventually("DNS knows both", || {
        Some(ports(&agent)).filter(|p| p.len() == 2)
    });
    eventually("both instances answer through the proxy", || {
        let answer = agent.through_proxy(HOST).expect("the proxy answers");
        let instance = answer.header("x-instance").unwrap_or_default();
        instance
            .ends_with("[1]")
            .then(|| assert_eq!(answer.status, 200))
    });

    a_killed_instance_is_withdrawn_and_comes_back(&agent, found[0]);

    let alloc = agent.nomad("GET", &format!("/v1/job/{JOB}/allocations"), "");
    let alloc = alloc.expect("an answer").json()[0]["ID"]
        .as_str()
        .map(str::to_owned);
    let logs = agent.ask(&["alloc", "logs", &alloc.expect("an id")]);
    assert!(
        logs.contains("httpbackendservice v1.0.0 listening on 127.0.0.1:"),
        "{logs}"
    );

    agent.ask(&["job", "stop", JOB]);
    eventually("all its processes end", || {
        agent.tasks().is_empty().then_some(())
    });
    assert_eq!(agent.passing(JOB).len(), 0);
    assert!(ports(&agent).is_empty());
    assert_eq!(agent.through_proxy(HOST).expect("an answer").status, 404);

    signal(agent.child.id(), "INT");
    assert!(ended(&mut agent.child).success(), "{}", agent.log());
    assert!(agent.log().contains("received: ending"), "{}", agent.log());
}

fn a_killed_instance_is_withdrawn_and_comes_back(agent: &Agent, port: u16) {
    let process = process_at(agent, port);
    signal(process, "KILL");
    eventually("it is withdrawn", || {
        (agent.passing(JOB).len() == 1).then_some(())
    });
    // The restart waits for a second, so the next requests meet a single instance.
    eventually("it is running again, under the same port", || {
        let answer = agent.through_proxy(HOST).expect("the proxy answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        (agent.passing(JOB).len() == 2).then_some(())
    });
    assert!(ports(agent).contains(&port));
    assert_ne!(process_at(agent, port), process);
}

/// The walk-through's own file, but for the folder.
#[test]
fn the_walk_throughs_agent_file_starts_an_agent() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let data = folder.path().join("nomad.d");
    let text = format!(
        "// agent.hcl\n\ndata_dir = \"{}\"\n\nserver {{\n  enabled = true\n  \
         bootstrap_expect = 3\n}}\n\nclient {{\n  enabled = true\n}}\n",
        data.display()
    );
    let file = folder.path().join("agent.hcl");
    fs::write(&file, text).expect("written");
    let file = file.to_str().expect("text").to_owned();
    // Alone it would wait for the two others; flags win over files.
    let alone = ["-bind", "127.0.0.1", "-bootstrap-expect", "1"];
    let flags = [&["-config", file.as_str()][..], &alone].concat();
    let agent = Agent::start(folder, 240, &flags);
    assert!(data.join("server").is_dir(), "the log is kept");
    let peers = agent.ask(&["operator", "raft", "list-peers"]);
    assert_eq!(peers.matches("leader").count(), 1, "{peers}");
}

#[test]
fn a_dev_agent_takes_its_tasks_with_it() {
    let mut agent = Agent::dev(50);
    agent.ask(&["job", "run", &job_file(&agent)]);
    eventually("both instances pass", || {
        (agent.passing(JOB).len() == 2).then_some(())
    });
    signal(agent.child.id(), "TERM");
    assert!(ended(&mut agent.child).success(), "{}", agent.log());
    assert_eq!(agent.tasks(), [], "no process is left");
    let left = fs::read_dir(agent.folder.path())
        .expect("readable")
        .flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains("drover")),
        "{left:?}"
    );
}

/// A task that won't end when it is asked to.
const STUBBORN: &str = r#"
job "stubborn" {
  datacenters = ["dc1"]
  group "stubborn" {
    task "stubborn" {
      driver       = "raw_exec"
      kill_timeout = "25s"
      config {
        command = "/bin/sh"
        args    = ["-c", "trap '' TERM INT; echo ready; while :; do sleep 1; done"]
      }
    }
  }
}
"#;

#[test]
fn a_second_signal_ends_the_agent_at_once() {
    let mut agent = Agent::dev(90);
    let file = agent.write("stubborn.nomad", STUBBORN);
    agent.ask(&["job", "run", &file]);
    let allocs = agent
        .nomad("GET", "/v1/job/stubborn/allocations", "")
        .expect("an answer");
    let alloc = allocs.json()[0]["ID"]
        .as_str()
        .map(str::to_owned)
        .expect("an id");
    eventually("the task ignores signals", || {
        agent
            .ask(&["alloc", "logs", &alloc])
            .contains("ready")
            .then_some(())
    });
    signal(agent.child.id(), "INT");
    eventually("it is leaving", || {
        agent.log().contains("received: ending").then_some(())
    });
    assert!(
        agent.child.try_wait().expect("waited for").is_none(),
        "it waits for the task"
    );
    let asked = std::time::Instant::now();
    signal(agent.child.id(), "INT");
    assert_eq!(ended(&mut agent.child).code(), Some(1), "{}", agent.log());
    assert!(asked.elapsed().as_secs() < 10, "{:?}", asked.elapsed());
}

//! An agent that registers in a real Consul, which runs the checks and answers DNS.

use std::fs;

use super::programs::Consul;
use crate::program::{Agent, ended, eventually, repository, signal};

const JOB: &str = "hello";
const NAME: &str = "hello.service.dc1.consul.";

fn job_file(agent: &Agent) -> String {
    let path = repository().join("docs/jobs/quickstart.nomad");
    let job = fs::read_to_string(path).expect("the job file");
    let job = job.replace("interval = \"2s\"", "interval = \"1s\"");
    let site = format!("hello.localhost:{}", agent.proxy_port());
    agent.write("hello.nomad", &job.replace("hello.localhost:9999", &site))
}

fn runs(agent: &Agent, consul: &Consul) {
    let ran = agent.ask(&["job", "run", &job_file(agent)]);
    assert!(ran.contains("finished with status \"complete\""), "{ran}");
    passes(agent, consul, "both instances pass in the Consul");
}

/// The Consul has both instances, and they pass.
fn passes(agent: &Agent, consul: &Consul, what: &str) {
    eventually(what, || {
        let known = consul.tasks().len() == 2 && agent.passing(JOB).len() == 2;
        known.then_some(())
    });
}

#[test]
fn what_runs_is_in_the_consul_and_stays_there() {
    let Some(program) = Consul::find() else {
        return;
    };
    let mut consul = Consul::start(program, 503);
    let by_hand = r#"{"ID": "db", "Name": "db", "Port": 5432}"#;
    consul.put("/v1/agent/service/register", by_hand);
    let address = consul.address();
    let folder = tempfile::tempdir().expect("a temporary directory");
    let agent = Agent::start(folder, 503, &["-dev", "-consul-address", &address]);
    runs(&agent, &consul);

    registered_as_nomad_does(&agent, &consul);
    eventually("the Consul's DNS names both", || {
        (agent.srv(NAME).len() == 2).then_some(())
    });
    eventually("our own edge goes by what the Consul says", || {
        let answer = agent.through_proxy("hello.localhost").ok()?;
        (answer.status == 200).then_some(())
    });

    consul_killed_and_emptied(&agent, &mut consul);

    consul.kill();
    agent.ask(&["job", "stop", JOB]);
    eventually("its tasks end though the Consul is away", || {
        agent.tasks().is_empty().then_some(())
    });
    consul.restart();
    eventually("nothing of the stopped job is left", || {
        consul.tasks().is_empty().then_some(())
    });
    assert!(consul.services().contains(&"db".to_owned()));
}

fn registered_as_nomad_does(agent: &Agent, consul: &Consul) {
    let allocs = agent.nomad("GET", &format!("/v1/job/{JOB}/allocations"), "");
    let allocs = allocs.expect("an answer").json();
    let mut expected: Vec<String> = allocs
        .as_array()
        .expect("a list")
        .iter()
        .map(|alloc| {
            let id = alloc["ID"].as_str().expect("an id");
            format!("_nomad-task-{id}-hello-hello-http")
        })
        .collect();
    expected.sort();
    let mut found = consul.tasks();
    found.sort();
    assert_eq!(found, expected);

    let checks = consul.json("/v1/agent/checks");
    let of_hello = checks.as_object().expect("checks").values();
    let mut of_hello = of_hello.filter(|check| check["ServiceName"] == JOB);
    assert!(
        of_hello.all(|check| check["Type"] == "http"
            && check["Output"]
                .as_str()
                .is_some_and(|said| said.contains("HTTP GET"))),
        "the Consul runs them: {checks}"
    );
    for (service, tags) in [
        ("nomad", vec!["http", "rpc", "serf"]),
        ("nomad-client", vec!["http"]),
    ] {
        eventually("the agent itself passes", || {
            let path = format!("/v1/health/service/{service}?passing");
            let entries = consul.json(&path);
            let entries = entries.as_array().expect("a list");
            let mut found: Vec<_> = entries
                .iter()
                .map(|entry| entry["Service"]["Tags"][0].as_str().unwrap_or_default())
                .collect();
            found.sort_unstable();
            (found == tags).then_some(())
        });
    }
}

fn consul_killed_and_emptied(agent: &Agent, consul: &mut Consul) {
    consul.kill();
    eventually("the agent notices", || {
        agent.log().contains("the Consul is away").then_some(())
    });
    consul.restart();
    passes(agent, consul, "both pass in the restarted Consul");
    assert!(consul.services().contains(&"db".to_owned()));
    for id in consul.tasks() {
        consul.put(&format!("/v1/agent/service/deregister/{id}"), "");
    }
    passes(agent, consul, "what was removed by hand is back");
    let status = agent.ask(&["job", "status", JOB]);
    assert_eq!(status.matches(" running ").count(), 2, "{status}");
}

#[test]
fn a_client_finds_its_servers_through_the_consul() {
    let Some(program) = Consul::find() else {
        return;
    };
    let consul = Consul::start(program, 523);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let server = lasting(folder, &consul);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("agent.hcl");
    let text = format!(
        "name = \"other\"\ndata_dir = \"{}\"\nbind_addr = \"127.0.0.1\"\nclient {{\n  \
         enabled = true\n}}\nconsul {{\n  address = \"{}\"\n}}\n",
        folder.path().join("data").display(),
        consul.address()
    );
    fs::write(&file, text).expect("written");
    let file = file.to_str().expect("text").to_owned();
    let client = Agent::start(folder, 528, &["-config", &file]);
    eventually("both nodes are known", || {
        let nodes = server.nomad("GET", "/v1/nodes", "").ok()?.json();
        (nodes.as_array()?.len() == 2).then_some(())
    });
    let node = client
        .nomad("GET", "/v1/nodes?prefix=", "")
        .expect("an answer");
    assert!(node.body.contains("\"other\""), "{}", node.body);
    eventually("a node's attributes tell of its Consul", || {
        let own = server.ask(&["node", "status", "-self", "-verbose"]);
        own.contains("unique.consul.name").then_some(())
    });
}

/// An agent that keeps its tasks over its own end.
fn lasting(folder: tempfile::TempDir, consul: &Consul) -> Agent {
    let file = folder.path().join("agent.hcl");
    let text = format!(
        "data_dir = \"{}\"\nbind_addr = \"127.0.0.1\"\nserver {{\n  enabled = true\n  \
         bootstrap_expect = 1\n}}\nclient {{\n  enabled = true\n  network_interface = \"lo\"\n}}\n\
         plugin \"raw_exec\" {{\n  config {{\n    enabled = true\n  }}\n}}\n\
         consul {{\n  address = \"{}\"\n}}\n",
        folder.path().join("data").display(),
        consul.address()
    );
    fs::write(&file, text).expect("written");
    let file = file.to_str().expect("text").to_owned();
    Agent::start(folder, consul.offset, &["-config", &file])
}

#[test]
fn an_agent_that_is_killed_finds_what_it_had_registered() {
    let Some(program) = Consul::find() else {
        return;
    };
    let consul = Consul::start(program, 513);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut agent = lasting(folder, &consul);
    runs(&agent, &consul);
    let before = consul.tasks();

    signal(agent.child.id(), "KILL");
    ended(&mut agent.child);
    assert_eq!(consul.tasks(), before, "tasks run on");
    agent.start_again();
    eventually("the agent passes again", || {
        let entries = consul.json("/v1/health/service/nomad-client?passing");
        let back = entries.as_array().is_some_and(|list| list.len() == 1);
        assert_eq!(consul.tasks(), before, "nothing is removed meanwhile");
        back.then_some(())
    });
    passes(&agent, &consul, "both instances pass still");

    signal(agent.child.id(), "TERM");
    assert!(ended(&mut agent.child).success(), "{}", agent.log());
    assert_eq!(consul.tasks(), before, "tasks run on after an orderly end");
    let agents = consul.services();
    let agents = agents.iter().filter(|id| !before.contains(id)).count();
    assert_eq!(agents, 0, "and the agent is registered no more");
}

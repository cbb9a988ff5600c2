//! The walk-through with a real Docker Engine.

use std::fs;
use std::process::Command;

use crate::program::{Agent, eventually, repository, run, text};

const IMAGE: &str = "bigwhite/httpbackendservice:v1.0.0";

fn docker(args: &[&str]) -> Option<String> {
    let output = Command::new("docker").args(args).output().ok()?;
    output.status.success().then(|| text(&output.stdout))
}

/// Whether there is an engine, with the image of the walk-through's service.
fn engine_with_image() -> bool {
    if docker(&["version", "--format", "{{.Server.Version}}"]).is_none() {
        eprintln!("skipped: no Docker Engine");
        return false;
    }
    if docker(&["image", "inspect", IMAGE]).is_none() {
        let build = repository().join("examples/images/build.sh");
        let output = run(&mut Command::new(build));
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    true
}

/// The walk-through's job with a route, under a name of its own and with a short restart delay.
fn job_file(agent: &Agent) -> String {
    let path = repository().join("docs/jobs/walkthrough/httpbackend-2.nomad");
    let job = fs::read_to_string(path).expect("the job file");
    let restart = "restart {\n      delay = \"1s\"\n      mode = \"delay\"\n    }\n    task ";
    let job = job
        .replace(
            "mysite.com:9999",
            &format!("mysite.com:{}", agent.proxy_port()),
        )
        .replacen("task ", restart, 1)
        .replace("\"10s\"", "\"1s\"");
    agent.write("httpbackend-2.nomad", &job)
}

/// The containers of this agent's allocations.
fn containers(agent: &Agent) -> Vec<String> {
    let allocs = agent
        .nomad("GET", "/v1/job/httpbackend/allocations", "")
        .expect("an answer");
    let running = docker(&["ps", "--format", "{{.ID}} {{.Names}}"]).unwrap_or_default();
    let allocs = allocs.json();
    let ids: Vec<&str> = allocs
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|alloc| alloc["ID"].as_str())
        .collect();
    let own = running
        .lines()
        .filter(|line| ids.iter().any(|id| line.contains(id)));
    own.filter_map(|line| line.split(' ').next().map(str::to_owned))
        .collect()
}

#[test]
fn the_walk_through_works_and_survives_a_killed_container() {
    if !engine_with_image() {
        return;
    }
    let agent = Agent::dev(210);
    let ran = agent.ask(&["job", "run", &job_file(&agent)]);
    assert!(ran.contains("finished with status \"complete\""), "{ran}");
    let both = || (agent.passing("httpbackend").len() == 2).then_some(());
    eventually("both instances pass", both);
    assert_eq!(agent.srv("httpbackend.service.dc1.consul.").len(), 2);
    let answer = agent
        .through_proxy("mysite.com")
        .expect("the proxy answers");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, "this is httpbackendservice, version: v1.0.0\n");

    let before = containers(&agent);
    assert_eq!(before.len(), 2, "{before:?}");
    docker(&["kill", &before[0]]).expect("killed");
    let one = || (agent.passing("httpbackend").len() == 1).then_some(());
    eventually("the killed instance is withdrawn", one);
    eventually("it is running again", || {
        let answer = agent
            .through_proxy("mysite.com")
            .expect("the proxy answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        both()
    });
    let after = containers(&agent);
    assert_eq!(after.len(), 2);
    assert!(
        !after.contains(&before[0]) && after.contains(&before[1]),
        "{before:?} {after:?}"
    );

    agent.ask(&["job", "stop", "httpbackend"]);
    eventually("its containers end", || {
        containers(&agent).is_empty().then_some(())
    });
}

#[test]
fn a_missing_image_is_told_in_the_registrys_words() {
    if !engine_with_image() {
        return;
    }
    let agent = Agent::dev(220);
    let job = fs::read_to_string(job_file(&agent)).expect("the job file");
    let job = job
        .replace(IMAGE, "localhost:1/no/such-image:v0")
        .replace("mode = \"delay\"", "mode = \"fail\"\n      attempts = 0");
    let file = agent.write("missing.nomad", &job);
    let output = run(&mut agent.command(&["job", "run", &file]));
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{out}{err}");
    let words = ["connection refused", "not found", "manifest", "denied"];
    assert!(
        words
            .iter()
            .any(|word| format!("{out}{err}").contains(word)),
        "{out}{err}"
    );
}

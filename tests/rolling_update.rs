//! A service on a running agent is updated while it is asked for all the time: no request fails,
//! whether the new version works or not.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;

use crate::program::{Agent, eventually, repository, request};

/// As its route says; the proxy listens elsewhere.
const SITE: &str = "hello.localhost:9999";
const VISITORS: usize = 4;
const UPDATE: &str = r#"  update {
    max_parallel      = 1
    min_healthy_time  = "1s"
    healthy_deadline  = "4s"
    progress_deadline = "6s"
    auto_revert       = true
  }

  group "hello" {"#;

/// The quickstart's job, updated one at a time, with this version of its program.
fn job(version: &str) -> String {
    let file = repository().join("docs/jobs/quickstart.nomad");
    let text = fs::read_to_string(file).expect("the job file");
    let args = format!(r#""-listen", "${{NOMAD_ADDR_http}}", "-version", "{version}""#);
    let text = text.replace(r#""-listen", "${NOMAD_ADDR_http}""#, &args);
    text.replace("  group \"hello\" {", UPDATE)
}

/// The same, but it doesn't listen where it should.
fn deaf() -> String {
    job("v3").replace("${NOMAD_ADDR_http}", "127.0.0.1:0")
}

fn submit(agent: &Agent, name: &str, text: &str) {
    let file = agent.write(name, text);
    agent.ask(&["job", "run", "-detach", &file]);
}

/// The deployment of a version, once it has ended.
fn ended(agent: &Agent, version: u64) -> Value {
    eventually(&format!("the rollout of version {version} ends"), || {
        let answer = agent.nomad("GET", "/v1/job/hello/deployments", "").ok()?;
        let all = answer.json();
        let mut rows = all.as_array()?.iter();
        let row = rows.find(|row| row["JobVersion"] == version)?;
        (row["Status"] != "running").then(|| row.clone())
    })
}

/// Asks all the time until told to stop; answers how often, and panics if once in vain.
fn visit(port: u16, over: &AtomicBool, versions: &[&str]) -> u64 {
    let mut answers = 0;
    while !over.load(Relaxed) {
        let answer = request(port, "GET", SITE, "/", "");
        let answer = answer.unwrap_or_else(|error| panic!("after {answers} answers: {error}"));
        assert_eq!(answer.status, 200, "after {answers} answers: {answer:?}");
        let known = versions.iter().any(|version| answer.body.contains(version));
        assert!(known, "{answer:?}");
        answers += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    answers
}

#[test]
fn no_request_fails_while_a_service_is_updated_or_a_bad_version_is_tried() {
    let agent = Agent::dev(340);
    submit(&agent, "v1.nomad", &job("v1.0.0"));
    assert_eq!(ended(&agent, 0)["Status"], "successful");
    eventually("the site is up", || {
        let answer = request(agent.proxy_port(), "GET", SITE, "/", "").ok()?;
        (answer.status == 200).then_some(())
    });
    let (over, port) = (AtomicBool::new(false), agent.proxy_port());
    let count = std::thread::scope(|scope| {
        let visitors: Vec<_> = (0..VISITORS)
            .map(|_| scope.spawn(|| visit(port, &over, &["v1.0.0", "v2.0.0"])))
            .collect();
        let story = scope.spawn(|| updates(&agent));
        let told = story.join();
        over.store(true, Relaxed);
        let visitors = visitors.into_iter();
        let answers: u64 = visitors
            .map(|visitor| visitor.join().expect("a visitor"))
            .sum();
        told.expect("the updates");
        answers
    });
    eprintln!("{count} requests, 0 failures");
    assert!(count > 100, "{count} requests");
}

fn updates(agent: &Agent) {
    submit(agent, "v2.nomad", &job("v2.0.0"));
    let better = ended(agent, 1);
    assert_eq!(better["Status"], "successful", "{better}");
    submit(agent, "v3.nomad", &deaf());
    let bad = ended(agent, 2);
    let wanted = "Failed due to progress deadline - rolling back to job version 1";
    assert_eq!(bad["StatusDescription"], wanted, "{bad}");
    let back = ended(agent, 3);
    assert_eq!(back["Status"], "successful", "{back}");
    let answer = request(agent.proxy_port(), "GET", SITE, "/", "").expect("an answer");
    assert!(answer.body.contains("v2.0.0"), "{answer:?}");
}

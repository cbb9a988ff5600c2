//! The steps in their order, and what has to have come about between them.

use std::fs;

use crate::hosts::NAMES;
use crate::repository;
use crate::walk::{ACT, READ, Walk};

const AGENT_HCL: &str = r#"data_dir = "/root/.bin/nomad-install/nomad.d"

server {
  enabled = true
  bootstrap_expect = 3
}

client {
  enabled = true
}
"#;

pub(crate) fn all(walk: &mut Walk) {
    install(walk);
    consul(walk);
    nomad(walk);
    workload(walk);
    discovery(walk);
    fabio(walk);
    route(walk);
    looks(walk);
    fabio_again(walk);
    https(walk);
    state(walk);
}

/// Job files and folders are where the text has them.
fn install(walk: &Walk) {
    let jobs = repository().join("docs/jobs/walkthrough");
    for host in &walk.hosts.all {
        for file in fs::read_dir(&jobs).expect("the job files").flatten() {
            fs::copy(file.path(), host.root().join(file.file_name())).expect("a copy");
        }
        fs::write(host.root().join(".bin/nomad-install/agent.hcl"), AGENT_HCL).expect("written");
    }
}

/// Starts a program in the background, in its own folder, by the text's command.
fn start(walk: &mut Walk, step: &str, folder: &str) {
    let (host, command) = walk.command(step);
    let command = command.replace("-config=~", "-config=/root");
    walk.host(&host)
        .background(&format!("cd ~/.bin/{folder} && {command}"));
}

fn consul(walk: &mut Walk) {
    walk.go("01-consul-version", READ);
    for n in 1..=NAMES.len() {
        start(walk, &format!("02-consul-start-{n}"), "consul-install");
        // A `-join` that finds nobody ends the agent; people type slower than this.
        let host = NAMES[n - 1];
        walk.wait(&format!("consul-{n} answers"), |walk| {
            (walk.host(host).shell("consul members").code == 0).then_some(())
        });
    }
    walk.go("03-consul-members", READ);
    walk.go("04-consul-raft-list-peers", READ.placed().unordered());
    walk.go("05-ping-consul-dns", READ.placed());
    walk.go("06-docker-busybox-ping", READ.placed().from("PING"));
}

fn nomad(walk: &mut Walk) {
    walk.go("07-nomad-version", READ);
    for n in 1..=NAMES.len() {
        start(walk, &format!("08-nomad-start-{n}"), "nomad-install");
    }
    walk.go("09-nomad-server-members", READ.placed().unordered());
    walk.go("10-nomad-raft-list-peers", READ.placed().unordered());
    walk.go("11-nomad-node-status-ready", READ.unordered());
    walk.go_with(
        "11b-nomad-node-status-new",
        NAMES[0],
        "nomad node status",
        READ.unordered(),
    );
    if let Some(node) = walk.node(NAMES[0]) {
        walk.call("6dbe0d79", &node);
    }
    walk.go("12-nomad-node-status-verbose", READ);
    walk.go("12b-nomad-node-status-one", READ);
    walk.go("12c-nomad-node-status-self", READ);
}

fn workload(walk: &mut Walk) {
    walk.go("13-job-plan-httpbackend-new", ACT);
    walk.go("14-job-run-httpbackend-first", ACT);
    walk.runs("httpbackend", 2);
    walk.go("15-job-stop-httpbackend", ACT);
    walk.go("16-job-status-dead", READ);
    walk.go("17-job-plan-httpbackend", ACT);
    walk.go("18-job-run-httpbackend", ACT);
    walk.go("18b-job-status-immediately", READ);
    walk.go("19-job-status", READ);
    walk.go("20-job-status-httpbackend", READ);
}

fn discovery(walk: &mut Walk) {
    walk.go("21-dig-srv", READ.placed().unordered());
    walk.go("21b-dig-a", READ.placed().unordered());
    walk.go("21c-dig-srv-short-tcp", READ.placed());
    walk.go("21d-dig-nxdomain", READ);
    walk.go("21e-dig-rfc2782", READ.placed().unordered());
    walk.go("21f-dig-node", READ);
    walk.go("22-curl-instances", READ.placed());
    walk.go("23-consul-health-service", READ.placed());
}

fn fabio(walk: &mut Walk) {
    walk.go("30-fabio-plan", ACT);
    walk.go("31-fabio-run", ACT);
    walk.go("32-fabio-status", READ);
    if let Some(alloc) = walk.running("fabio", Some(NAMES[0])) {
        walk.call("8ae615fb", &alloc);
    }
    walk.go("33-fabio-404-no-route", READ);
    walk.go("34-fabio-routes-empty", READ);
    walk.go("35-fabio-ui-routes", READ.head());
    walk.go("36-fabio-api-config", READ);
    walk.go("36b-fabio-ui-root", READ);
    walk.go("36c-fabio-health", READ);
    walk.go("36d-fabio-ui-manual", READ.head());
    walk.go("36e-fabio-api-version-paths", READ);
    walk.go("37-fabio-logs-start", READ);
}

fn route(walk: &mut Walk) {
    walk.go("40-httpbackend-2-plan", ACT);
    let (host, command) = walk.command("41-httpbackend-2-run");
    let command = command.replace("; date +%s.%N", "");
    // Not the time that the recording has at its end.
    let way = ACT.with(&[" "]);
    walk.go_with("41-httpbackend-2-run", &host, &command, way);
    walk.go("42-fabio-curl-mysite", READ);
    walk.go("43-fabio-routes", READ.placed());
    walk.go("44-fabio-404-other-host", READ);
}

/// The same from all sides.
fn looks(walk: &mut Walk) {
    if let Some(alloc) = walk.running("httpbackend", None) {
        walk.call("0e0dd4b7", &alloc);
        let alloc = walk.get(4646, &format!("/v1/allocation/{alloc}"));
        walk.call("292b7aeb", alloc["EvalID"].as_str().unwrap_or_default());
    }
    walk.go("45-httpbackend-2-status", READ);
    walk.go("45b-health-with-check", READ.placed());
    walk.go("46-alloc-status", READ.placed());
    walk.go("46b-alloc-status-verbose", READ.placed());
    walk.go("46c-alloc-logs", READ);
    walk.go("46d-job-history", READ);
    walk.go("46e-job-inspect", READ);
    walk.go("46f-eval-status", READ);
    walk.go("46g-job-deployments", READ);
}

/// What the traced request left in the logs.
const TRACES: &[&str] = &["[TRACE] abc", "HTTP/1.1\" 200 "];

/// A traced request must not come before its route.
fn routed(walk: &mut Walk, site: &str) {
    walk.wait(&format!("{site} is routed to"), |walk| {
        let said = walk
            .first()
            .shell(&format!("curl -s -o /dev/null -w '%{{http_code}}' {site}"));
        (said.text == "200").then_some(())
    });
}

fn fabio_again(walk: &mut Walk) {
    walk.go("50-fabio-2-plan", ACT);
    walk.go("51-fabio-2-run", ACT);
    walk.go("52-fabio-2-status", READ);
    routed(walk, "http://mysite.com:9999/");
    walk.go("53-trace-curl", READ);
    if let Some(alloc) = walk.running("fabio", Some(NAMES[0])) {
        walk.call("ec23d391", &alloc);
        let logs = format!(
            "nomad alloc logs {0}; nomad alloc logs -stderr {0}",
            &alloc[..8]
        );
        let way = READ.placed().with(TRACES).kinds();
        walk.go_with("54c-trace-log-docker", NAMES[0], &logs, way);
    }
    walk.go("54-trace-log-stderr", READ);
    walk.go("54b-trace-log-stdout", READ);
    walk.go("54c-trace-log-docker", READ.placed().with(TRACES).kinds());
    walk.go("54d-fabio2-docker-log-full", READ.placed());
    walk.go("54e-docker-ps", READ.placed());
    walk.go("54f-docker-ps-2", READ.placed());
}

fn https(walk: &mut Walk) {
    walk.go("60-https-upstream-plan", ACT);
    walk.go("61-https-upstream-run", ACT);
    routed(walk, "http://mysite-https.com:9999/");
    walk.go("62-https-upstream-curl", READ);
    walk.go(
        "62b-https-upstream-trace",
        READ.placed().with(TRACES).kinds(),
    );
    walk.go("63-https-upstream-status", READ);
    walk.go("64-tcp-run", ACT);
    walk.go("65-tcp-curl", READ.last());
    walk.go("66-sni1-run", ACT);
    walk.go("67-sni2-run", ACT);
    walk.go("68-sni1-curl", READ);
    walk.go("69-sni2-curl", READ);
    walk.go("69b-sni-unknown", READ);
    walk.go("69c-sni-none", READ);
}

fn state(walk: &mut Walk) {
    walk.go("70-fabio-routes-final", READ.placed());
    walk.go("71-job-status-all", READ);
    walk.go("72-catalog-services", READ);
    walk.go("73-node-status-allocs", READ.unordered());
}

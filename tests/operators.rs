//! What operators do on a running agent, and what they are told when they mistype: jobs and their
//! versions, deployments, files, nodes that are emptied.

use std::fs;
use std::process::Command;

use crate::program::{Agent, drover, ended, eventually, repository, run, signal, text};

/// Exit code, standard output, standard error.
fn said(command: &mut Command) -> (Option<i32>, String, String) {
    let output = run(command);
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// The quickstart's job, changed.
fn job(agent: &Agent, name: &str, change: impl FnOnce(String) -> String) -> String {
    let path = repository().join("docs/jobs/quickstart.nomad");
    agent.write(
        name,
        &change(fs::read_to_string(path).expect("the job file")),
    )
}

/// With deployments: each instance has to be well for a moment.
fn rolling(text: &str) -> String {
    let update = "update {\n    min_healthy_time = \"200ms\"\n    healthy_deadline = \"20s\"\n    \
                  progress_deadline = \"0s\"\n    auto_revert = true\n  }\n\n  group \"hello\" {";
    text.replacen("group \"hello\" {", update, 1)
}

#[test]
fn an_update_is_followed_to_its_end_and_can_be_taken_back() {
    let agent = Agent::dev(310);
    let ask = |args: &[&str]| said(&mut agent.command(args));
    let first = job(&agent, "v0.nomad", |text| rolling(&text));
    let (code, out, err) = ask(&["job", "run", &first]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("Evaluation within deployment: \""), "{out}");
    assert!(
        out.contains("Group \"hello\": 2 of 2 placed, 2 healthy"),
        "{out}"
    );
    let last = out.trim_end().lines().last().unwrap_or_default();
    assert!(last.starts_with("==> Deployment \""), "{out}");
    assert!(
        last.ends_with("finished with status \"successful\""),
        "{out}"
    );

    let bad = job(&agent, "v1.nomad", |text| {
        rolling(&text).replace("command = \"drover\"", "command = \"/no/such/program\"")
    });
    let (code, out, err) = ask(&["job", "run", &bad]);
    assert_eq!(code, Some(2), "{out}{err}");
    assert!(out.contains("finished with status \"failed\""), "{out}");
    assert!(
        out.contains("there is no program `/no/such/program`"),
        "{out}"
    );
    eventually("the version that worked is back", || {
        let status = agent.ask(&["job", "status", "hello"]);
        status.contains("Status      = successful").then_some(())
    });

    let history = agent.ask(&["job", "history", "-p", "hello"]);
    assert_eq!(history.matches("Version     = ").count(), 3, "{history}");
    let command = "+/- command: \"/no/such/program\" => \"drover\"";
    assert!(history.contains(command), "{history}");
    let listed = agent.ask(&["deployment", "list"]);
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert_eq!(agent.ask(&["job", "deployments", "hello"]), listed);
    let inspected = agent.ask(&[
        "job",
        "inspect",
        "-version",
        "1",
        "-t",
        "{{.Version}}",
        "hello",
    ]);
    assert_eq!(inspected, "1\n");
    let (code, out, err) = ask(&["job", "revert", "hello", "0"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let why = agent.ask(&["job", "why", "hello"]);
    assert!(why.contains("2 running, 0 starting"), "{why}");
}

#[test]
fn a_node_is_emptied_and_what_waits_says_why() {
    let agent = Agent::dev(320);
    let ask = |args: &[&str]| said(&mut agent.command(args));
    let file = job(&agent, "hello.nomad", |text| text);
    agent.ask(&["job", "run", &file]);
    let alloc = agent.ask(&["alloc", "status", "-t", "{{(index . 0).ID}}"]);
    let alloc = alloc.trim();
    let files = agent.ask(&["alloc", "fs", alloc, "alloc/logs"]);
    assert!(files.contains("hello.stdout.0"), "{files}");
    eventually("its output says where it listens", || {
        let log = agent.ask(&["alloc", "fs", alloc, "alloc/logs/hello.stdout.0"]);
        log.contains("listening on").then_some(())
    });
    let (code, _, err) = ask(&["alloc", "fs", alloc, "hello/secrets"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("secrets"), "{err}");

    agent.ask(&["alloc", "stop", alloc]);
    eventually("another one takes its place", || {
        let status = agent.ask(&["job", "status", "hello"]);
        let stopped = status.contains(" complete ");
        (stopped && status.matches(" running ").count() == 2).then_some(())
    });

    let (code, out, err) = ask(&["node", "drain", "-enable", "-force", "-self"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(out.matches("marked for migration").count(), 2, "{out}");
    assert!(out.contains("status running -> complete"), "{out}");
    assert!(out.contains("Drain complete for node"), "{out}");
    eventually("all its processes end", || {
        agent.tasks().is_empty().then_some(())
    });
    let (code, out, err) = ask(&["job", "why", "hello"]);
    assert_eq!(code, Some(2), "{out}{err}");
    assert!(out.contains("no place for 2 of 2 allocations"), "{out}");
    agent.ask(&["node", "eligibility", "-enable", "-self"]);
    eventually("they have places again", || {
        let status = agent.ask(&["job", "status", "hello"]);
        (status.matches(" running ").count() == 2).then_some(())
    });
    agent.ask(&["job", "stop", "-purge", "hello"]);
    agent.ask(&["system", "gc"]);
    assert_eq!(agent.ask(&["job", "status"]), "No running jobs\n");
}

/// What is typed, the exit code, and what the first line says.
const MISTYPED: &[(&[&str], i32, &str)] = &[
    (
        &["job", "status", "nosuch"],
        1,
        "No job(s) with prefix or id \"nosuch\" found",
    ),
    (
        &["status", "nosuch"],
        1,
        "No matches found for id \"nosuch\"",
    ),
    (
        &["job", "stop", "nosuch"],
        1,
        "No job(s) with prefix or id \"nosuch\" found",
    ),
    (
        &["job", "inspect", "nosuch"],
        1,
        "No job(s) with prefix or id \"nosuch\" found",
    ),
    (
        &["job", "history", "nosuch"],
        1,
        "No job(s) with prefix or id \"nosuch\" found",
    ),
    (
        &["job", "revert", "nosuch", "1"],
        1,
        "No job(s) with prefix or id \"nosuch\" found",
    ),
    (&["job", "revert", "hello", "9"], 1, "has no version 9"),
    (&["job", "revert", "hello", "x"], 1, "invalid value 'x'"),
    (
        &["job", "history", "-version", "9", "hello"],
        1,
        "Job \"hello\" has no version 9",
    ),
    (
        &["job", "promote", "hello"],
        1,
        "Job \"hello\" has no deployment to promote",
    ),
    (
        &["job", "why", "nosuch"],
        1,
        "No job(s) with prefix or id \"nosuch\" found",
    ),
    (
        &["job", "eval", "nosuch"],
        1,
        "No job(s) with prefix or id \"nosuch\" found",
    ),
    (
        &["job", "dispatch", "x"],
        1,
        "`drover job dispatch` isn't supported yet",
    ),
    (
        &["job", "periodic", "force", "x"],
        1,
        "`drover job periodic` isn't supported yet",
    ),
    (&["job", "bogus"], 1, "`drover job` has no command `bogus`"),
    (
        &["job", "plan"],
        255,
        "required arguments were not provided",
    ),
    (
        &["job", "run", "/no/such/file"],
        1,
        "can't read `/no/such/file`: no such file",
    ),
    (
        &["job", "plan", "/no/such/file"],
        255,
        "can't read `/no/such/file`: no such file",
    ),
    (
        &["alloc", "status", "zz"],
        1,
        "No allocation(s) with prefix or id \"zz\" found",
    ),
    (
        &["alloc", "status", "00000000"],
        1,
        "No allocation(s) with prefix or id \"00000000\"",
    ),
    (
        &["alloc", "logs", "zz"],
        1,
        "No allocation(s) with prefix or id \"zz\" found",
    ),
    (
        &["alloc", "fs", "zz"],
        1,
        "No allocation(s) with prefix or id \"zz\" found",
    ),
    (
        &["alloc", "stop", "zz"],
        1,
        "No allocation(s) with prefix or id \"zz\" found",
    ),
    (
        &["alloc", "exec", "zz", "sh"],
        1,
        "`drover alloc exec` isn't supported yet",
    ),
    (
        &["alloc", "restart", "zz"],
        1,
        "`drover alloc restart` isn't supported yet",
    ),
    (
        &["node", "status", "zz"],
        1,
        "No node(s) with prefix \"zz\" found",
    ),
    (
        &["node", "drain", "-enable", "zz"],
        1,
        "No node(s) with prefix \"zz\" found",
    ),
    (
        &["node", "drain", "-self"],
        1,
        "required arguments were not provided",
    ),
    (
        &["node", "drain", "-enable", "-deadline", "soon", "-self"],
        1,
        "deadline `soon`",
    ),
    (
        &["node", "drain", "-enable", "-deadline", "0s", "-self"],
        1,
        "positive drain duration",
    ),
    (
        &["node", "drain", "-monitor", "-self"],
        1,
        "No drain strategy set for node",
    ),
    (
        &["node", "eligibility", "-enable", "zz"],
        1,
        "No node(s) with prefix \"zz\" found",
    ),
    (
        &["eval", "status", "zz"],
        1,
        "No evaluation(s) with prefix or id \"zz\" found",
    ),
    (
        &["deployment", "status", "zz"],
        1,
        "No deployment(s) with prefix or id \"zz\" found",
    ),
    (
        &["deployment", "promote", "zz"],
        1,
        "No deployment(s) with prefix or id \"zz\" found",
    ),
    (
        &["deployment", "fail", "zz"],
        1,
        "No deployment(s) with prefix or id \"zz\" found",
    ),
    (
        &["deployment", "pause", "zz"],
        1,
        "No deployment(s) with prefix or id \"zz\" found",
    ),
    (
        &["job", "status", "-t", "{{.Nope", "hello"],
        1,
        "Error rendering the template",
    ),
    (
        &["job", "status", "-namespace", "other"],
        1,
        "namespaces other than `default`",
    ),
    (
        &["job", "status", "-json", "-t", "x"],
        1,
        "cannot be used with",
    ),
];

#[test]
fn whatever_is_mistyped_is_told_in_a_line_with_the_right_exit_code() {
    let agent = Agent::dev(330);
    let file = job(&agent, "hello.nomad", |text| {
        text.replace("count = 2", "count = 1")
    });
    agent.ask(&["job", "run", &file]);
    for (args, expected, line) in MISTYPED {
        let (code, out, err) = said(&mut agent.command(args));
        assert_eq!(code, Some(*expected), "{args:?}: {out}{err}");
        let told = err.lines().any(|told| told.contains(line));
        assert!(told, "{args:?}: {line:?} isn't in\n{err}");
        assert!(!err.contains("panicked"), "{args:?}: {err}");
    }
    let stale = said(&mut agent.command(&["job", "run", "-check-index", "1", &file]));
    assert_eq!(stale.0, Some(1), "{stale:?}");
    assert!(
        stale.2.contains("Enforcing job modify index 1"),
        "{stale:?}"
    );
    let again = said(&mut agent.command(&["job", "run", "-check-index", "0", &file]));
    assert_eq!(again.0, Some(1), "{again:?}");
    assert!(again.2.contains("job already exists"), "{again:?}");
}

#[test]
fn without_an_agent_every_command_says_so() {
    let at = "-address=http://127.0.0.1:1";
    for args in [
        &["job", "status", at][..],
        &["job", "why", at, "x"],
        &["job", "history", at, "x"],
        &["job", "revert", at, "x", "1"],
        &["deployment", "list", at],
        &["deployment", "status", at, "x"],
        &["eval", "list", at],
        &["alloc", "fs", at, "x"],
        &["alloc", "stop", at, "x"],
        &["node", "drain", "-enable", at, "x"],
        &["node", "config", "-servers", at],
        &["system", "gc", at],
        &["status", at, "x"],
    ] {
        let (code, out, err) = said(drover().args(args));
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}: {err}");
        assert!(err.contains("connection refused"), "{args:?}: {err}");
        assert!(
            err.contains("hint: is an agent running?"),
            "{args:?}: {err}"
        );
    }
}

/// The spellings of Nomad 0.8 and before.
#[test]
fn old_spellings_are_the_commands_they_became() {
    for args in [
        &["run", "-h"][..],
        &["plan", "-h"],
        &["stop", "-h"],
        &["status", "-h"],
        &["inspect", "-h"],
        &["validate", "-h"],
        &["init", "-h"],
        &["logs", "-h"],
        &["fs", "-h"],
        &["node-status", "-h"],
        &["node-drain", "-h"],
        &["alloc-status", "-h"],
        &["eval-status", "-h"],
        &["job-status", "-h"],
        &["server-members", "-h"],
        &["server-join", "-h"],
        &["server-force-leave", "-h"],
        &["client-config", "-h"],
        &["keygen", "-h"],
        &["agent-info", "-h"],
        &["ui", "-h"],
        &["-autocomplete-install"],
        &["-autocomplete-uninstall"],
    ] {
        let args = [&["nomad"], args].concat();
        let (code, out, err) = said(drover().args(&args));
        assert_eq!(code, Some(0), "{args:?}: {out}{err}");
    }
}

#[test]
fn what_is_stopped_while_it_comes_up_isnt_called_unhealthy() {
    let mut agent = Agent::dev(490);
    let slow = job(&agent, "slow.nomad", |text| {
        rolling(&text)
            .replace("200ms", "50s")
            .replace("\"20s\"", "\"100s\"")
    });
    agent.ask(&["job", "run", "-detach", &slow]);
    eventually("both instances pass", || {
        (agent.passing("hello").len() == 2).then_some(())
    });
    let state = |path: &str| agent.nomad("GET", path, "").expect("an answer").json();
    let id = state("/v1/job/hello/allocations")[0]["ID"].clone();
    let id = id.as_str().expect("an id").to_owned();
    agent.ask(&["alloc", "stop", "-detach", &id]);
    eventually("it has ended", || {
        let shown = state(&format!("/v1/allocation/{id}"));
        (shown["ClientStatus"] == "complete").then_some(())
    });
    assert_eq!(state("/v1/job/hello/deployment")["Status"], "running");
    signal(agent.child.id(), "INT");
    assert!(ended(&mut agent.child).success(), "{}", agent.log());
    assert!(!agent.log().contains("unhealthy"), "{}", agent.log());
}

#[test]
fn a_system_job_that_fits_nowhere_is_told_as_other_jobs_are() {
    let agent = Agent::dev(510);
    let ask = |args: &[&str]| said(&mut agent.command(args));
    let file = job(&agent, "everywhere.nomad", |text| {
        let head = "type = \"system\"\n  constraint {\n    attribute = \"${node.class}\"\n    \
                    value = \"big\"\n  }\n  group \"hello\" {";
        text.replace("    count = 2\n", "")
            .replacen("group \"hello\" {", head, 1)
    });
    let why = "Constraint \"${node.class} = big\" filtered 1 nodes";
    let (code, out, err) = ask(&["job", "run", &file]);
    assert_eq!(code, Some(2), "{out}{err}");
    assert!(out.contains("but failed to place all allocations"), "{out}");
    assert!(out.contains(why), "{out}");
    let (code, out, _) = ask(&["job", "status", "hello"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("Placement Failure"), "{out}");
    assert!(out.contains(why), "{out}");
    let (code, out, _) = ask(&["job", "why", "hello"]);
    assert_eq!(code, Some(2), "{out}");
    assert!(out.contains("there is no node that it may run on"), "{out}");
}

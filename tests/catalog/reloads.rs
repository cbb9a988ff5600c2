//! `consul reload`, SIGHUP and `consul monitor`: a running agent takes what its files say now, and
//! its log can be followed.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::{Value, json};

use super::agent::ConsulAgent;
use crate::program::{ended, eventually, signal};

fn service(agent: &ConsulAgent, name: &str) -> Value {
    agent.get(&format!("/v1/health/service/{name}")).json()
}

#[test]
fn a_running_agent_takes_what_its_files_say_now() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("agent.hcl");
    let path = file.to_str().expect("text");
    let write = |text: &str| fs::write(&file, text).expect("written");
    write(
        "log_level = \"warn\"\nservice {\n  name = \"web\"\n  port = 80\n  \
         check {\n    ttl = \"1h\"\n  }\n}\nservice {\n  name = \"old\"\n}\n",
    );
    let data = format!("-data-dir={}", folder.path().join("data").display());
    let config = format!("-config-file={path}");
    let flags = [
        "-server",
        "-bootstrap-expect=1",
        "-bind=127.0.0.1",
        &config,
        &data,
    ];
    let agent = ConsulAgent::start("reloaded", 630, &flags);
    let web = eventually("web is there", || {
        Some(service(&agent, "web")).filter(|found| found[0]["Service"]["Port"] == 80)
    });
    assert_eq!(web[0]["Checks"][1]["Status"], "critical");
    agent.put("/v1/agent/check/pass/service:web", &Value::Null);
    agent.put("/v1/agent/service/register", &json!({ "Name": "by-hand" }));
    write(
        "log_level = \"info\"\ndns_config {\n  node_ttl = \"7s\"\n}\ndatacenter = \"dc2\"\n\
         service {\n  name = \"web\"\n  port = 81\n  check {\n    ttl = \"1h\"\n  }\n}\n\
         service {\n  name = \"new\"\n}\n",
    );
    let (code, out, err) = agent.run(&["reload"]);
    assert_eq!(
        (code, out.trim()),
        (Some(0), "Configuration reload triggered"),
        "{err}"
    );
    let web = eventually("web is elsewhere", || {
        Some(service(&agent, "web")).filter(|found| found[0]["Service"]["Port"] == 81)
    });
    assert_eq!(web[0]["Checks"][1]["Status"], "passing", "as it said last");
    let names = agent.get("/v1/catalog/services").json();
    let names: Vec<_> = names.as_object().expect("names").keys().cloned().collect();
    assert_eq!(names, ["by-hand", "consul", "new", "web"]);
    let (_, ttls, _) = agent.dig("reloaded.node.consul");
    assert_eq!(ttls, [7]);
    assert!(
        agent.log().contains("the configuration was read again"),
        "its level is info"
    );
    let later = "datacenter: what differs has no effect";
    assert!(agent.log().contains(later), "{}", agent.log());
    write("node_nam = \"x\"\nserver = \"yes\"\n");
    let (code, _, err) = agent.run(&["reload"]);
    assert_eq!(code, Some(1));
    assert!(
        err.contains("agent.hcl: server must be true or false"),
        "{err}"
    );
    assert_eq!(
        service(&agent, "new")[0]["Node"]["Node"],
        "reloaded",
        "all is as it was"
    );
    write("service {\n  name = \"newest\"\n}\n");
    a_signal_does_the_same(&agent);
    let told = agent.log().matches(later).count();
    assert_eq!(told, 1, "what is wanted now is what runs");
}

fn a_signal_does_the_same(agent: &ConsulAgent) {
    signal(agent.pid(), "HUP");
    eventually("it takes what its file says", || {
        let gone = service(agent, "new") == json!([]);
        (gone && service(agent, "newest") != json!([])).then_some(())
    });
    eventually("it says so", || {
        let text = "the configuration was read again";
        (agent.log().matches(text).count() == 2).then_some(())
    });
}

/// A command that follows the log, ended when it goes out of scope.
struct Following {
    child: Child,
    file: PathBuf,
}

impl Following {
    fn start(agent: &ConsulAgent, name: &str, flags: &[&str]) -> Self {
        let file = agent.folder().join(name);
        let mut command = agent.command(&[&["monitor"], flags].concat());
        let out = File::create(&file).expect("a file");
        let child = command.stdout(out).stderr(Stdio::null()).spawn();
        let child = child.expect("it can be started");
        Self { child, file }
    }

    fn seen(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "INT");
            ended(&mut self.child);
        }
    }
}

#[test]
fn a_log_is_followed_at_a_level_of_ones_own() {
    let agent = ConsulAgent::dev("followed", 640, &["-log-level=error"]);
    let mut plain = Following::start(&agent, "plain", &[]);
    let warnings = Following::start(&agent, "warnings", &["-log-level=warn"]);
    let json = Following::start(&agent, "json", &["-log-json", "-log-level=debug"]);
    let text = "the configuration was read again";
    eventually("the log is seen", || {
        agent.run(&["reload"]);
        let all = [&plain, &json].iter().all(|one| one.seen().contains(text));
        all.then_some(())
    });
    assert!(!warnings.seen().contains(text), "{}", warnings.seen());
    assert!(plain.seen().contains(" INFO "), "{}", plain.seen());
    let seen = json.seen();
    let line: Value = serde_json::from_str(seen.lines().next().expect("a line")).expect("JSON");
    assert!(line["fields"]["message"].is_string(), "{line}");
    assert!(!agent.log().contains(text), "its own level is as it was");
    signal(plain.child.id(), "INT");
    assert!(ended(&mut plain.child).success());
    let (code, _, err) = agent.run(&["monitor", "-log-level=loud"]);
    assert_eq!(
        (code, err.contains("Unknown log level")),
        (Some(1), true),
        "{err}"
    );
    let mut json = json;
    drop(agent);
    assert_eq!(
        ended(&mut json.child).code(),
        Some(1),
        "the agent has ended"
    );
}

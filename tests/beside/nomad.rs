//! A real Nomad whose catalog is ours: what it registers there is checked, found by DNS, and routed
//! to by a real fabio and by our own edge.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::programs::{Real, find};
use crate::program::{Agent, eventually, processes_in, repository, request, run, text};

const SITE: &str = "beside.localhost";
const NAME: &str = "beside.service.dc1.consul.";

/// A real Nomad in one process; its tasks end with it.
struct Nomad {
    program: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    _running: Real,
}

impl Nomad {
    /// On this port and the two after it.
    fn start(program: PathBuf, port: u16, catalog: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let config = folder.path().join("agent.hcl");
        let text = format!(
            "data_dir = \"{0}\"\nbind_addr = \"127.0.0.1\"\ndisable_update_check = true\n\
             ports {{\n  http = {port}\n  rpc = {1}\n  serf = {2}\n}}\n\
             client {{\n  alloc_dir = \"{0}/alloc\"\n  state_dir = \"{0}/state\"\n}}\n\
             consul {{\n  address = \"127.0.0.1:{catalog}\"\n}}\n",
            folder.path().display(),
            port + 1,
            port + 2,
        );
        fs::write(&config, text).expect("written");
        let file = config.to_string_lossy().into_owned();
        let args = ["agent", "-dev", "-config", &file].map(str::to_owned);
        let running = Real::start(&program, &args, folder.path().join("nomad.log"));
        let nomad = Self {
            program,
            folder,
            port,
            _running: running,
        };
        eventually("the real Nomad's node is ready", || {
            let nodes = request(port, "GET", "localhost", "/v1/nodes", "").ok()?;
            nodes.body.contains("\"ready\"").then_some(())
        });
        nomad
    }

    fn ask(&self, args: &[&str]) {
        let address = format!("http://127.0.0.1:{}", self.port);
        let mut command = Command::new(&self.program);
        let output = run(command.env("NOMAD_ADDR", address).args(args));
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "{args:?}: {said}");
    }

    /// Two instances of the example, with a route.
    fn run_job(&self) {
        let path = repository().join("docs/jobs/quickstart.nomad");
        let job = fs::read_to_string(path).expect("the job file");
        let job = job
            .replace("hello.localhost:9999", SITE)
            .replace("hello", "beside")
            .replace("\"drover\"", &format!("{:?}", env!("CARGO_BIN_EXE_drover")));
        let file = self.folder.path().join("beside.nomad");
        fs::write(&file, job).expect("written");
        self.ask(&["run", "-detach", &file.to_string_lossy()]);
    }
}

impl Drop for Nomad {
    /// It isn't asked to end: what it started is ended with it.
    fn drop(&mut self) {
        for (pid, _) in processes_in(self.folder.path()) {
            // One that has ended meanwhile is none to be ended.
            let mut kill = Command::new("kill");
            kill.args(["-KILL", &pid.to_string()]).stderr(Stdio::null());
            kill.status().ok();
        }
    }
}

/// Both instances are met through this port, and every answer is one of theirs.
fn meets_both(port: u16, site: &str) {
    let get = || request(port, "GET", site, "/", "").ok();
    eventually("an instance answers", || {
        get().filter(|answer| answer.status == 200)
    });
    let mut met = std::collections::BTreeSet::new();
    eventually("both answer", || {
        let answer = get()?;
        assert_eq!(answer.status, 200, "{answer:?}");
        met.extend(answer.header("x-instance").map(str::to_owned));
        (met.len() == 2).then_some(())
    });
}

fn meets_none(port: u16, site: &str) {
    eventually("there is no route any more", || {
        let answer = request(port, "GET", site, "/", "").ok()?;
        (answer.status == 404).then_some(())
    });
}

#[test]
fn what_a_real_nomad_registers_is_routed_to() {
    let (Some(nomad), Some(fabio)) = (
        find("nomad", &["-v"], "Nomad v0."),
        find("fabio", &["-v"], "1."),
    ) else {
        return;
    };
    let agent = Agent::dev(563);
    let nomad = Nomad::start(nomad, 19_566, agent.catalog_port());
    let args = [
        "-proxy.addr=127.0.0.1:19563".to_owned(),
        "-ui.addr=127.0.0.1:19564".to_owned(),
        format!("-registry.consul.addr=127.0.0.1:{}", agent.catalog_port()),
        "-registry.consul.register.enabled=false".to_owned(),
    ];
    let _fabio = Real::start(&fabio, &args, agent.folder.path().join("fabio.log"));
    nomad.run_job();

    eventually("both instances pass in our catalog", || {
        (agent.passing("beside").len() == 2).then_some(())
    });
    for entry in agent.passing("beside") {
        let id = entry["Service"]["ID"].as_str().unwrap_or_default();
        assert!(id.starts_with("_nomad-task-"), "{entry}");
    }
    assert_eq!(agent.srv(NAME).len(), 2, "DNS names both");
    meets_both(19_563, SITE);
    meets_both(agent.proxy_port(), SITE);
    eventually("the Nomad itself passes", || {
        (agent.passing("nomad-client").len() == 2).then_some(())
    });

    nomad.ask(&["stop", "-detach", "beside"]);
    eventually("nothing of the job is left in our catalog", || {
        let path = "/v1/catalog/service/beside";
        let services = request(agent.catalog_port(), "GET", "localhost", path, "").ok()?;
        (services.body.trim() == "[]").then_some(())
    });
    meets_none(19_563, SITE);
    meets_none(agent.proxy_port(), SITE);
}

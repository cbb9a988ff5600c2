//! The real programs, started on loopback and ended with their test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::program::{Answer, eventually, request, run, text};

/// A real program, if there is one. `version` are its arguments that print what it is, which must
/// begin with `says`: ours may be linked under the same name.
pub(super) fn find(name: &str, version: &[&str], says: &str) -> Option<PathBuf> {
    let variable = format!("DROVER_REAL_{}", name.to_uppercase());
    let named = std::env::var_os(&variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join(name));
    let is_real = |candidate: &PathBuf| {
        let output = candidate
            .is_file()
            .then(|| run(Command::new(candidate).args(version)));
        output.is_some_and(|output| text(&output.stdout).starts_with(says))
    };
    let found = named.into_iter().chain(on_path).find(is_real);
    if found.is_none() {
        eprintln!("skipped: no real {name} in {variable} or on the path");
    }
    found
}

/// One that runs until it goes out of scope.
pub(super) struct Real {
    pub(super) child: Child,
    log: PathBuf,
}

impl Real {
    pub(super) fn start(program: &Path, args: &[String], log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log);
        let file = file.expect("a log file");
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stderr(file.try_clone().expect("a second handle"))
            .stdout(file)
            .spawn()
            .expect("it can be started");
        Self { child, log }
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}", self.log.display(), self.log());
        }
    }
}

/// A real Consul in the place where an agent with this offset would have its own catalog.
pub(super) struct Consul {
    program: PathBuf,
    folder: tempfile::TempDir,
    pub(super) offset: u16,
    running: Option<Real>,
}

impl Consul {
    pub(super) fn find() -> Option<PathBuf> {
        find("consul", &["version"], "Consul v")
    }

    pub(super) fn start(program: PathBuf, offset: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut consul = Self {
            program,
            folder,
            offset,
            running: None,
        };
        consul.restart();
        consul
    }

    pub(super) fn port(&self) -> u16 {
        8500 + self.offset
    }

    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Ends it without a word.
    pub(super) fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it with what it kept.
    pub(super) fn restart(&mut self) {
        let data = self.folder.path().join("data");
        let mut args = vec![
            "agent".to_owned(),
            "-server".to_owned(),
            "-bootstrap-expect=1".to_owned(),
            "-node=real".to_owned(),
            "-bind=127.0.0.1".to_owned(),
            "-client=127.0.0.1".to_owned(),
            format!("-data-dir={}", data.display()),
            "-hcl=disable_update_check = true".to_owned(),
            "-hcl=performance { raft_multiplier = 1 }".to_owned(),
            "-hcl=dns_config { service_ttl { \"*\" = \"0s\" } }".to_owned(),
        ];
        for (flag, port) in [
            ("http-port", 8500),
            ("dns-port", 8600),
            ("serf-lan-port", 8301),
            ("server-port", 8300),
        ] {
            args.push(format!("-{flag}={}", port + self.offset));
        }
        args.push("-serf-wan-port=-1".to_owned());
        args.push("-grpc-port=-1".to_owned());
        let log = self.folder.path().join("consul.log");
        self.running = Some(Real::start(&self.program, &args, log));
        eventually("the real Consul leads", || {
            let leader = self.get("/v1/status/leader")?;
            leader.body.contains(':').then_some(())
        });
        eventually("the real Consul knows itself", || {
            let nodes = self.get("/v1/catalog/nodes")?;
            nodes.body.contains("\"real\"").then_some(())
        });
    }

    fn get(&self, path: &str) -> Option<Answer> {
        let answer = request(self.port(), "GET", "localhost", path, "").ok()?;
        (answer.status == 200).then_some(answer)
    }

    pub(super) fn json(&self, path: &str) -> serde_json::Value {
        eventually(path, || self.get(path)).json()
    }

    pub(super) fn put(&self, path: &str, body: &str) {
        let answer = request(self.port(), "PUT", "localhost", path, body).expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
    }

    /// Ids of the services at its agent.
    pub(super) fn services(&self) -> Vec<String> {
        match self.json("/v1/agent/services") {
            serde_json::Value::Object(services) => services.into_iter().map(|(id, _)| id).collect(),
            other => panic!("{other}"),
        }
    }

    pub(super) fn tasks(&self) -> Vec<String> {
        let mut ids = self.services();
        ids.retain(|id| id.starts_with("_nomad-task-"));
        ids
    }
}

//! Runs `drover`, and asks a running agent things the way its users do: HTTP, DNS, the proxy.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) fn drover() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drover"));
    for name in [
        "NOMAD_ADDR",
        "CONSUL_HTTP_ADDR",
        "NOMAD_REGION",
        "NOMAD_TOKEN",
    ] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Runs a command that should end by itself; one that doesn't is ended, and fails its test.
pub(crate) fn run(command: &mut Command) -> Output {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("drover can be run");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("it can be waited for").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("it can be killed");
            let output = child.wait_with_output().expect("its output");
            panic!(
                "{command:?} runs on after {PATIENCE:?}: {}",
                text(&output.stdout)
            );
        }
        std::thread::sleep(LOOK_EVERY);
    }
    child.wait_with_output().expect("its output")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Looks again and again until there is something; says what was waited for if it never comes.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What the machine runs out of a folder: supervisors by their argument, tasks by where they work.
pub(crate) fn processes_in(folder: &Path) -> Vec<(u32, String)> {
    let folder = folder.canonicalize().expect("the folder exists");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = text(&line).replace('\0', " ");
        let works_in = fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if works_in.starts_with(&folder) || line.contains(&*folder.to_string_lossy()) {
            found.push((pid, line));
        }
    }
    found
}

pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status();
    assert!(
        sent.expect("kill can be run").success(),
        "kill -{name} {pid}"
    );
}

/// Waits for a process to end by itself.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    eventually("the process ends", || {
        child.try_wait().expect("it can be waited for")
    })
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One request on a connection of its own.
pub(crate) fn request(
    port: u16,
    method: &str,
    host: &str,
    path: &str,
    body: &str,
) -> std::io::Result<Answer> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let answer = text(&bytes);
    let malformed = || std::io::Error::other(format!("not an HTTP answer: {answer:?}"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let whole = chunked.then(|| put_together(body));
    Ok(Answer {
        status: status.ok_or_else(malformed)?,
        head: head.to_owned(),
        body: match whole {
            Some(whole) => whole.ok_or_else(malformed)?,
            None => body.to_owned(),
        },
    })
}

/// A body that came in chunks.
fn put_together(mut chunks: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, rest) = chunks.split_once("\r\n")?;
        let length = usize::from_str_radix(length.trim(), 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(rest.get(..length)?);
        chunks = rest.get(length..)?.strip_prefix("\r\n")?;
    }
}

/// `drover agent -dev`, ended with whatever it runs when it goes out of scope.
pub(crate) struct Agent {
    pub(crate) child: Child,
    /// Holds all the agent writes: its log, its data directory and thus its tasks.
    pub(crate) folder: TempDir,
    offset: u16,
    args: Vec<String>,
}

impl Agent {
    /// Returns when the agent answers. `offset` moves its ports; every test has its own.
    pub(crate) fn dev(offset: u16) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        Self::start(folder, offset, &["-dev"])
    }

    /// An agent with these flags; returns once its node is ready.
    pub(crate) fn start(folder: TempDir, offset: u16, args: &[&str]) -> Self {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let mut agent = Self {
            child: Self::spawn(&folder, offset, &args),
            folder,
            offset,
            args,
        };
        agent.wait_until_ready();
        agent
    }

    /// Starts the agent once more, as it was started; it has ended.
    pub(crate) fn start_again(&mut self) {
        self.child = Self::spawn(&self.folder, self.offset, &self.args);
        self.wait_until_ready();
    }

    fn spawn(folder: &TempDir, offset: u16, args: &[String]) -> Child {
        let log = File::create(folder.path().join("log")).expect("a log file");
        let own = Path::new(env!("CARGO_BIN_EXE_drover"))
            .parent()
            .expect("a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        drover()
            .args(["agent", "-port-offset", &offset.to_string()])
            .args(args)
            .env("TMPDIR", folder.path())
            .env("PATH", format!("{}:{path}", own.display()))
            .stderr(log.try_clone().expect("a second handle"))
            .stdout(log)
            .spawn()
            .expect("the agent can be started")
    }

    fn wait_until_ready(&mut self) {
        eventually("the agent answers", || {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                panic!("the agent ended with {status}: {}", self.log());
            }
            let answer = self.nomad("GET", "/v1/agent/self", "").ok()?;
            (answer.status == 200).then_some(())
        });
        eventually("the node is ready", || {
            let nodes = self.nomad("GET", "/v1/nodes", "").ok()?;
            // A client that looks for its servers says so.
            let nodes = (nodes.status == 200).then(|| nodes.json())?;
            (nodes[0]["Status"] == "ready").then_some(())
        });
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn http_port(&self) -> u16 {
        4646 + self.offset
    }

    pub(crate) fn catalog_port(&self) -> u16 {
        8500 + self.offset
    }

    pub(crate) fn proxy_port(&self) -> u16 {
        9999 + self.offset
    }

    pub(crate) fn nomad(&self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        request(self.http_port(), method, "localhost", path, body)
    }

    /// How many instances of a service pass their checks.
    pub(crate) fn passing(&self, service: &str) -> Vec<Value> {
        let path = format!("/v1/health/service/{service}?passing");
        let answer = request(self.catalog_port(), "GET", "localhost", &path, "");
        match answer.expect("the catalog answers").json() {
            Value::Array(instances) => instances,
            other => panic!("not a list: {other}"),
        }
    }

    pub(crate) fn through_proxy(&self, host: &str) -> std::io::Result<Answer> {
        let host = format!("{host}:{}", self.proxy_port());
        request(self.proxy_port(), "GET", &host, "/", "")
    }

    /// Ports and targets of a name's SRV records.
    pub(crate) fn srv(&self, name: &str) -> Vec<(u16, String)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut question = Message::new(4711, MessageType::Query, OpCode::Query);
        let name = Name::from_ascii(name).expect("a name");
        question.add_query(Query::query(name, RecordType::SRV));
        let bytes = question.to_vec().expect("a message");
        let server = (Ipv4Addr::LOCALHOST, 8600 + self.offset);
        socket.send_to(&bytes, server).expect("sent");
        let mut buffer = [0; 4096];
        let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
        let answer = Message::from_vec(&buffer[..length]).expect("a message");
        assert_eq!(answer.metadata.id, 4711);
        let mut found: Vec<_> = answer
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some((srv.port, srv.target.to_string())),
                _ => None,
            })
            .collect();
        found.sort();
        found
    }

    /// A command that asks this agent.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = drover();
        command.args(args);
        command.env(
            "NOMAD_ADDR",
            format!("http://127.0.0.1:{}", self.http_port()),
        );
        command.env(
            "CONSUL_HTTP_ADDR",
            format!("127.0.0.1:{}", self.catalog_port()),
        );
        command
    }

    /// What a command prints; it must succeed.
    pub(crate) fn ask(&self, args: &[&str]) -> String {
        let output = run(&mut self.command(args));
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success(),
            "{args:?}: {}\n{out}{err}",
            output.status
        );
        out
    }

    /// A file in the agent's folder.
    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("written");
        path.to_string_lossy().into_owned()
    }

    /// What runs out of the agent's folder.
    pub(crate) fn tasks(&self) -> Vec<(u32, String)> {
        processes_in(self.folder.path())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let running = matches!(self.child.try_wait(), Ok(None));
        if running {
            signal(self.child.id(), "INT");
            let deadline = Instant::now() + Duration::from_secs(20);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < deadline {
                std::thread::sleep(LOOK_EVERY);
            }
            self.child.kill().ok();
            self.child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("--- the agent's log ---\n{}", self.log());
        }
        for (pid, _) in self.tasks() {
            Command::new("kill")
                .args(["-9", &pid.to_string()])
                .status()
                .ok();
        }
    }
}

/// A file of the repository.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Real inputs and outputs of the programs Drover stands in for; they aren't part of the
/// repository.
pub(crate) fn golden(folder: &str) -> Option<PathBuf> {
    let folder = repository().join("../shared/golden").join(folder);
    if !folder.is_dir() {
        eprintln!("skipped: there is no {}", folder.display());
        return None;
    }
    Some(folder)
}

//! `drover consul agent -dev` on ports of its own, and what tests ask of it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Answer, PATIENCE, drover, ended, eventually, request, run, signal, text};

/// Ended when it goes out of scope.
pub(super) struct ConsulAgent {
    child: Child,
    folder: TempDir,
    offset: u16,
}

impl ConsulAgent {
    /// Returns when the agent answers and leads. `offset` moves its ports; every agent has its own.
    pub(super) fn dev(name: &str, offset: u16, flags: &[&str]) -> Self {
        Self::start(name, offset, &[&["-dev"], flags].concat())
    }

    /// The same with these flags alone.
    pub(super) fn start(name: &str, offset: u16, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let log = File::create(folder.path().join("log")).expect("a log file");
        let child = drover()
            .args(["consul", "agent"])
            .arg(format!("-node={name}"))
            .args([
                format!("-http-port={}", 8_500 + offset),
                format!("-dns-port={}", 8_600 + offset),
                format!("-server-port={}", 8_300 + offset),
                format!("-serf-lan-port={}", 8_301 + offset),
            ])
            .args(flags)
            .stderr(log.try_clone().expect("a second handle"))
            .stdout(log)
            .spawn()
            .expect("the agent can be started");
        let mut agent = Self {
            child,
            folder,
            offset,
        };
        eventually("the agent's catalog has its node", || {
            if let Some(status) = agent.child.try_wait().expect("it can be waited for") {
                panic!("the agent ended with {status}: {}", agent.log());
            }
            let path = format!("/v1/health/node/{name}");
            let answer = request(agent.http_port(), "GET", "localhost", &path, "").ok()?;
            answer.body.contains("serfHealth").then_some(())
        });
        agent
    }

    pub(super) fn http_port(&self) -> u16 {
        8_500 + self.offset
    }

    pub(super) fn rpc_port(&self) -> u16 {
        8_300 + self.offset
    }

    pub(super) fn serf_port(&self) -> u16 {
        8_301 + self.offset
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let answer = request(self.http_port(), method, "localhost", path, body);
        answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    pub(super) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "")
    }

    /// One of Consul's commands, which asks this agent.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = drover();
        command.arg("consul").args(args);
        let address = format!("127.0.0.1:{}", self.http_port());
        command.env("CONSUL_HTTP_ADDR", address);
        command
    }

    /// What a command that ends by itself comes to: its code, and what it says.
    pub(super) fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let output = run(&mut self.command(args));
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        (output.status.code(), out, err)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The addresses of a name, how long they may be kept, and whether there are more.
    pub(super) fn dig(&self, name: &str) -> (Vec<Ipv4Addr>, Vec<u32>, bool) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut question = Message::new(4711, MessageType::Query, OpCode::Query);
        let name = Name::from_ascii(format!("{name}.")).expect("a name");
        question.add_query(Query::query(name, RecordType::A));
        let bytes = question.to_vec().expect("a message");
        let server = (Ipv4Addr::LOCALHOST, 8_600 + self.offset);
        socket.send_to(&bytes, server).expect("sent");
        let mut buffer = [0; 4096];
        let (length, _) = socket.recv_from(&mut buffer).expect("an answer");
        let answer = Message::from_vec(&buffer[..length]).expect("a message");
        let (mut addresses, mut ttls) = (Vec::new(), Vec::new());
        for record in &answer.answers {
            if let RData::A(address) = &record.data {
                addresses.push(address.0);
                ttls.push(record.ttl);
            }
        }
        (addresses, ttls, answer.metadata.truncation)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Something that must be taken.
    pub(super) fn put(&self, path: &str, body: &Value) {
        let answer = self.ask("PUT", path, &body.to_string());
        assert_eq!(answer.status, 200, "PUT {path} {body}: {answer:?}");
    }
}

impl Drop for ConsulAgent {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            signal(self.child.id(), "TERM");
            ended(&mut self.child);
        }
        if std::thread::panicking() {
            eprintln!("--- the agent's log ---\n{}", self.log());
        }
    }
}

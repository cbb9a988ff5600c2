//! A real browser (Chromium, headless, by its chromedriver) as the tests need it. It is spoken to
//! in JSON over HTTP, so it takes no more than a few requests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::program::{PATIENCE, eventually};

const FLAGS: [&str; 7] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

pub(crate) struct Browser {
    driver: Child,
    port: u16,
    session: String,
    /// What the browser keeps; nothing of it is used again.
    profile: TempDir,
}

impl Browser {
    /// None, and a word about it, where there is no browser.
    pub(crate) fn start() -> Option<Self> {
        if !["chromium", "chromedriver"].into_iter().all(is_there) {
            eprintln!("skipped: chromium and chromedriver are needed (Debian: chromium-driver)");
            return None;
        }
        let mut driver = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver can be started");
        let told = BufReader::new(driver.stdout.take().expect("its output"));
        let port = told.lines().map_while(Result::ok).find_map(|line| {
            line.rsplit_once("on port ")?
                .1
                .strip_suffix('.')?
                .parse()
                .ok()
        });
        let mut browser = Self {
            port: port.expect("chromedriver tells its port"),
            driver,
            session: String::new(),
            profile: tempfile::tempdir().expect("a temporary directory"),
        };
        let kept = format!("--user-data-dir={}", browser.profile.path().display());
        let args: Vec<&str> = FLAGS.into_iter().chain([kept.as_str()]).collect();
        let wanted = json!({
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let asked = json!({ "capabilities": { "alwaysMatch": wanted } });
        let begun = browser.ask("POST", "/session", &asked);
        let session = begun["sessionId"].as_str().expect("a session");
        browser.session = format!("/session/{session}");
        Some(browser)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = if method == "POST" {
            body.to_string()
        } else {
            String::new()
        };
        let answer = exchange(self.port, method, path, &body);
        let (head, mut answer) = answer.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        answer["value"].take()
    }

    fn tell(&self, command: &str, body: &Value) -> Value {
        self.ask("POST", &format!("{}/{command}", self.session), body)
    }

    /// A command of Chromium's own protocol.
    pub(crate) fn chromium(&self, command: &str, parameters: &Value) -> Value {
        self.tell(
            "goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        )
    }

    pub(crate) fn open(&self, url: &str) {
        self.tell("url", &json!({ "url": url }));
    }

    /// What a function's body returns in the page.
    pub(crate) fn script(&self, body: &str) -> Value {
        self.tell("execute/sync", &json!({ "script": body, "args": [] }))
    }

    pub(crate) fn path(&self) -> String {
        let path = self.script("return location.pathname");
        path.as_str().unwrap_or_default().to_owned()
    }

    /// The text that a reader sees.
    pub(crate) fn text(&self) -> String {
        let text = self.script("return document.querySelector('main').innerText");
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a reader sees this.
    pub(crate) fn sees(&self, words: &str) {
        eventually(&format!("the page says {words:?}"), || {
            self.text().contains(words).then_some(())
        });
    }

    /// Clicks on what a user would find by its words.
    pub(crate) fn click(&self, tag: &str, words: &str) {
        let path = format!("//{tag}[normalize-space(.)={words:?}]");
        let query = json!({ "using": "xpath", "value": path });
        let found = eventually(&format!("there is {path}"), || {
            let found = self.tell("elements", &query);
            found
                .get(0)?
                .as_object()?
                .values()
                .next()?
                .as_str()
                .map(str::to_owned)
        });
        self.tell(&format!("element/{found}/click"), &json!({}));
    }

    /// Presses a key without a field of its own.
    pub(crate) fn press(&self, key: &str) {
        let down = json!({ "type": "keyDown", "value": key });
        let up = json!({ "type": "keyUp", "value": key });
        let keys = json!({ "type": "key", "id": "keyboard", "actions": [down, up] });
        self.tell("actions", &json!({ "actions": [keys] }));
    }

    /// What the browser has written to one of its logs since it was last asked.
    fn log(&self, kind: &str) -> Vec<Value> {
        match self.tell("se/log", &json!({ "type": kind })) {
            Value::Array(entries) => entries,
            other => panic!("not a log: {other}"),
        }
    }

    /// What went wrong by the browser's own word.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let entries = self.log("browser").into_iter();
        let bad =
            entries.filter(|entry| matches!(entry["level"].as_str(), Some("SEVERE" | "WARNING")));
        bad.map(|entry| entry["message"].to_string()).collect()
    }

    /// Every address that was asked for.
    pub(crate) fn asked_for(&self) -> Vec<String> {
        let entries = self.log("performance").into_iter();
        entries
            .filter_map(|entry| {
                let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
                let event = &event["message"];
                let sent = event["method"] == "Network.requestWillBeSent";
                let url = event["params"]["request"]["url"].as_str()?;
                sent.then(|| url.to_owned())
            })
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            exchange(self.port, "DELETE", &self.session, "").ok();
        }
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

/// One request to chromedriver, which keeps connections open whatever it's told.
fn exchange(port: u16, method: &str, path: &str, body: &str) -> io::Result<(String, Value)> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    write!(
        &stream,
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = BufReader::new(stream);
    let (mut status, mut length) = (String::new(), 0);
    answer.read_line(&mut status)?;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        let line = line.trim_end().to_lowercase();
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().map_err(io::Error::other)?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok((status, serde_json::from_slice(&body)?))
}

fn is_there(program: &str) -> bool {
    let asked = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

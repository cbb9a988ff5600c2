//! Plays recorded steps on the hosts, compares what is answered, and tells of each in a line.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regex_lite::Regex;
use serde_json::Value;

use crate::compare::{Compared, Meant};
use crate::hosts::{Host, Hosts, NAMES, Said};
use crate::normal::{Loose, normal};

/// How long an answer may take to become right, and once something was wrong.
const PATIENCE: Duration = Duration::from_secs(30);
const MUCH_PATIENCE: Duration = Duration::from_secs(90);
const LITTLE_PATIENCE: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How a step is played and compared.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// It only reads, so it can be asked until it is right.
    again: bool,
    loose: Loose,
    part: Part,
    patience: Duration,
}

/// The part of an answer that is compared.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    /// From the line that begins so.
    From(&'static str),
    /// Up to the first empty line.
    Head,
    Last,
    /// The lines with one of these words.
    With(&'static [&'static str]),
}

const STRICT: Loose = Loose {
    placed: false,
    unordered: false,
    kinds: false,
};
pub(crate) const READ: Way = Way {
    again: true,
    loose: STRICT,
    part: Part::Whole,
    patience: PATIENCE,
};
pub(crate) const ACT: Way = Way {
    again: false,
    ..READ
};

impl Way {
    /// Where things were placed shows in the answer.
    pub(crate) const fn placed(mut self) -> Self {
        self.loose.placed = true;
        self
    }

    /// The order of its lines means nothing.
    pub(crate) const fn unordered(mut self) -> Self {
        self.loose.unordered = true;
        self
    }

    /// Neither their order nor how often each comes.
    pub(crate) const fn kinds(mut self) -> Self {
        self.loose.kinds = true;
        self.unordered()
    }

    /// It takes its time.
    pub(crate) const fn long(mut self) -> Self {
        self.patience = MUCH_PATIENCE;
        self
    }

    pub(crate) const fn from(mut self, beginning: &'static str) -> Self {
        self.part = Part::From(beginning);
        self
    }

    pub(crate) const fn head(mut self) -> Self {
        self.part = Part::Head;
        self
    }

    pub(crate) const fn last(mut self) -> Self {
        self.part = Part::Last;
        self
    }

    pub(crate) const fn with(mut self, words: &'static [&'static str]) -> Self {
        self.part = Part::With(words);
        self
    }
}

impl Part {
    fn of(self, text: &str) -> String {
        let lines: Vec<&str> = text.lines().collect();
        let kept: Vec<&str> = match self {
            Self::Whole => lines,
            Self::From(beginning) => {
                let before = |line: &&&str| !line.starts_with(beginning);
                lines.iter().skip_while(before).copied().collect()
            }
            Self::Head => lines
                .split(|line| line.trim().is_empty())
                .next()
                .unwrap_or(&[])
                .to_vec(),
            Self::Last => {
                let told = lines.iter().rev().find(|line| !line.trim().is_empty());
                told.copied().into_iter().collect()
            }
            Self::With(words) => {
                let has = |line: &&&str| words.iter().any(|word| line.contains(word));
                lines.iter().filter(has).copied().collect()
            }
        };
        kept.join("\n")
    }
}

pub(crate) struct Walk {
    pub(crate) hosts: Hosts,
    golden: PathBuf,
    meant: Meant,
    /// Recorded ids, and what is called so here.
    known: BTreeMap<String, String>,
    pub(crate) same: usize,
    pub(crate) as_meant: usize,
    pub(crate) wrong: Vec<String>,
}

impl Walk {
    pub(crate) fn new(hosts: Hosts, golden: PathBuf, meant: Meant) -> Self {
        let known = BTreeMap::new();
        Self {
            hosts,
            golden,
            meant,
            known,
            same: 0,
            as_meant: 0,
            wrong: Vec::new(),
        }
    }

    pub(crate) fn host(&self, name: &str) -> &Host {
        let index = NAMES.iter().position(|known| *known == name);
        &self.hosts.all[index.expect("one of the three hosts")]
    }

    pub(crate) fn first(&self) -> &Host {
        &self.hosts.all[0]
    }

    fn recorded(&self, file: &str) -> String {
        let path = self.golden.join(file);
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The host a step is played on, and its command with the ids of here.
    pub(crate) fn command(&self, step: &str) -> (String, String) {
        let text = self.recorded(&format!("{step}.cmd"));
        let (first, command) = text.split_once('\n').expect("a host and a command");
        let host = first.strip_prefix("# on ").unwrap_or(NAMES[0]);
        let command = command.split("\n# agent.hcl").next().unwrap_or_default();
        let id = Regex::new(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{8}\b");
        let id = id.expect("a pattern");
        let ours = |found: &regex_lite::Captures<'_>| {
            let recorded = &found[0];
            match self.known.get(&recorded[..8]) {
                Some(id) => id[..recorded.len().min(id.len())].to_owned(),
                None => recorded.to_owned(),
            }
        };
        (
            host.to_owned(),
            id.replace_all(command.trim(), ours).into_owned(),
        )
    }

    /// From now on the recorded id stands for this one.
    pub(crate) fn call(&mut self, recorded: &str, ours: &str) {
        self.known.insert(recorded.to_owned(), ours.to_owned());
    }

    /// Plays a recorded step.
    pub(crate) fn go(&mut self, step: &str, way: Way) {
        let (host, command) = self.command(step);
        self.go_with(step, &host, &command, way);
    }

    /// Plays a recorded step by another command.
    pub(crate) fn go_with(&mut self, step: &str, host: &str, command: &str, way: Way) {
        let recorded = self.recorded(&format!("{step}.out"));
        let code = fs::read_to_string(self.golden.join(format!("{step}.rc"))).ok();
        let code = code.and_then(|code| code.trim().parse().ok());
        let recorded = Said {
            text: recorded,
            code: code.unwrap_or(0),
        };
        let expected = told(&recorded, way);
        let impatient = !self.wrong.is_empty();
        let patience = if impatient && way.patience == PATIENCE {
            LITTLE_PATIENCE
        } else {
            way.patience
        };
        let until = Instant::now() + patience;
        let compared = loop {
            let said = self.host(host).shell(command);
            let compared = self.meant.compare(step, &expected, &told(&said, way));
            let is_wrong = matches!(compared, Compared::Differs(_));
            if !is_wrong || !way.again || Instant::now() > until {
                break compared;
            }
            std::thread::sleep(LOOK_EVERY);
        };
        self.tell(step, command, compared);
    }

    pub(crate) fn tell(&mut self, step: &str, command: &str, compared: Compared) {
        match compared {
            Compared::Same => {
                self.same += 1;
                println!("ok {step}");
            }
            Compared::AsMeant(whys) => {
                self.as_meant += 1;
                let whys: Vec<_> = whys.into_iter().collect();
                println!("ok {step}: differs as meant: {}", whys.join("; "));
            }
            Compared::Differs(lines) => {
                println!("differs {step}: `{command}` (- recorded, + here)\n{lines}");
                self.wrong.push(step.to_owned());
            }
        }
    }

    /// Notes something of our own that has to hold.
    pub(crate) fn check(&mut self, what: &str, holds: Result<(), String>) {
        match holds {
            Ok(()) => {
                self.same += 1;
                println!("ok {what}");
            }
            Err(why) => {
                println!("differs {what}: {why}");
                self.wrong.push(what.to_owned());
            }
        }
    }

    /// Looks until it is so; if it never is, that is noted and the walk goes on.
    pub(crate) fn wait<T>(&mut self, what: &str, look: impl Fn(&Self) -> Option<T>) -> Option<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return Some(found);
            }
            if Instant::now() > until {
                self.check(what, Err(format!("not within {PATIENCE:?}")));
                return None;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// What an API of the first host answers.
    pub(crate) fn get(&self, port: u16, path: &str) -> Value {
        let said = self
            .first()
            .shell(&format!("curl -s 'http://127.0.0.1:{port}{path}'"));
        serde_json::from_str(&said.text).unwrap_or_default()
    }

    pub(crate) fn allocations(&self, job: &str) -> Vec<Value> {
        match self.get(4646, &format!("/v1/job/{job}/allocations")) {
            Value::Array(allocs) => allocs,
            _ => Vec::new(),
        }
    }

    /// Waits until this many allocations of a job run.
    pub(crate) fn runs(&mut self, job: &str, count: usize) {
        self.wait(&format!("{job} runs {count} times"), |walk| {
            let allocs = walk.allocations(job);
            let running = allocs.iter().filter(|alloc| is_running(alloc));
            (running.count() == count).then_some(())
        });
    }

    /// A running allocation of a job, on this host if one is named.
    pub(crate) fn running(&self, job: &str, host: Option<&str>) -> Option<String> {
        let on = host.and_then(|host| self.node(host));
        let allocs = self.allocations(job);
        let is_there = |alloc: &&Value| on.as_ref().is_none_or(|node| alloc["NodeID"] == **node);
        let mut running = allocs
            .iter()
            .filter(|alloc| is_running(alloc))
            .filter(is_there);
        running.next()?["ID"].as_str().map(str::to_owned)
    }

    pub(crate) fn node(&self, name: &str) -> Option<String> {
        let nodes = self.get(4646, "/v1/nodes");
        let node = nodes.as_array()?.iter().find(|node| node["Name"] == name)?;
        node["ID"].as_str().map(str::to_owned)
    }

    /// The newest thing of a list.
    pub(crate) fn newest(&self, path: &str) -> Option<String> {
        let list = self.get(4646, path);
        let index = |item: &&Value| item["CreateIndex"].as_u64();
        let newest = list.as_array()?.iter().max_by_key(index)?;
        newest["ID"].as_str().map(str::to_owned)
    }

    pub(crate) fn golden(&self) -> &Path {
        &self.golden
    }

    pub(crate) fn unused_rules(&self) -> Vec<usize> {
        self.meant.unused()
    }
}

fn is_running(alloc: &Value) -> bool {
    alloc["ClientStatus"] == "running" && alloc["DesiredStatus"] == "run"
}

/// What is compared of an answer; how it ended is a line of it.
fn told(said: &Said, way: Way) -> String {
    let text = normal(&way.part.of(&said.text), way.loose);
    if said.code == 0 {
        text
    } else {
        format!("{text}\n[exit code {}]", said.code)
    }
}

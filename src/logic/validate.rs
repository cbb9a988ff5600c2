//! What makes a job nonsense, whether it came from a file or over the API.
//!
//! Only the job itself is looked at: whether it fits on any node is the scheduler's matter.

mod disconnect;
mod docker;
mod network;
mod rollout;
mod route_tag;
mod service;
mod task;

use std::collections::BTreeSet;
use std::fmt;

use crate::model::{
    Constraint, JOB_BATCH, JOB_SERVICE, JOB_SYSTEM, Job, ReschedulePolicy, RestartPolicy, TaskGroup,
};

/// One step from a job to what is wrong in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A field, by its name in API JSON.
    Field(&'static str),
    /// An element of the list before it, from 0.
    Index(usize),
    /// An entry of the map before it.
    Key(String),
}

/// The way from a job to what is wrong in it: `TaskGroups[0].Tasks[0].Driver`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Path(pub Vec<Step>);

impl Path {
    #[must_use]
    pub fn field(&self, name: &'static str) -> Self {
        self.then(Step::Field(name))
    }

    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.then(Step::Index(index))
    }

    #[must_use]
    pub fn key(&self, key: &str) -> Self {
        self.then(Step::Key(key.to_owned()))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Where this is a part of; nothing for the job itself.
    pub fn parent(&self) -> Option<Self> {
        let (_, parent) = self.0.split_last()?;
        Some(Self(parent.to_vec()))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            let dot = if place == 0 { "" } else { "." };
            match step {
                Step::Field(name) => write!(f, "{dot}{name}")?,
                Step::Key(key) => write!(f, "{dot}{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// One thing that makes a job unacceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    pub path: Path,
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.0.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

/// Collects what is wrong.
#[derive(Default)]
struct Report(Vec<Invalid>);

impl Report {
    fn add(&mut self, path: Path, message: impl Into<String>) {
        self.add_with(path, message, None);
    }

    fn add_with(&mut self, path: Path, message: impl Into<String>, hint: Option<String>) {
        self.0.push(Invalid {
            path,
            message: message.into(),
            hint,
        });
    }

    fn at_least(&mut self, path: Path, what: &str, value: i64, least: i64) {
        if value < least {
            self.add(
                path,
                format!("{what} is {value}, it must be {least} or more"),
            );
        }
    }

    /// `value` is one of `allowed`, or among `later`, or wrong.
    fn one_of(&mut self, path: Path, what: &str, value: &str, allowed: &[&str], later: &[&str]) {
        if allowed.contains(&value) {
            return;
        }
        if later.contains(&value) {
            return self.add(path, format!("{what} `{value}` isn't supported yet"));
        }
        let hint = did_you_mean(value, allowed.iter().copied())
            .unwrap_or_else(|| format!("known are {}", listed(allowed)));
        self.add_with(path, format!("unknown {what} `{value}`"), Some(hint));
    }
}

/// Everything that is wrong with `job`; run after [`Job::canonicalize`], accepted if empty.
pub fn job(job: &Job) -> Vec<Invalid> {
    let mut report = Report::default();
    let root = Path::default();
    identity(&mut report, job);
    report.one_of(
        root.field("Type"),
        "job type",
        &job.r#type,
        &[JOB_SERVICE, JOB_BATCH, JOB_SYSTEM],
        &["sysbatch"],
    );
    if !(0..=100).contains(&job.priority) {
        let message = format!("priority is {}, it must be from 1 to 100", job.priority);
        report.add(root.field("Priority"), message);
    }
    for (index, datacenter) in job.datacenters.iter().enumerate() {
        if datacenter.is_empty() {
            let path = root.field("Datacenters").index(index);
            report.add(path, "a datacenter's name is empty");
        }
    }
    for (field, is_set) in [
        ("Periodic", job.periodic.is_some()),
        ("ParameterizedJob", job.parameterized_job.is_some()),
    ] {
        if is_set {
            report.add(root.field(field), format!("`{field}` isn't supported yet"));
        }
    }
    constraints(&mut report, &root, &job.constraints);
    if job.task_groups.is_empty() {
        report.add_with(
            root.field("TaskGroups"),
            format!("job `{}` has no group", job.id),
            Some("a job needs at least one `group` with a `task`".to_owned()),
        );
    }
    unique(
        &mut report,
        &root.field("TaskGroups"),
        "group",
        job.task_groups.iter().map(|group| group.name.as_str()),
    );
    for (index, group) in job.task_groups.iter().enumerate() {
        task_group(
            &mut report,
            &root.field("TaskGroups").index(index),
            job,
            group,
        );
    }
    report.0
}

fn identity(report: &mut Report, job: &Job) {
    let path = Path::default().field("ID");
    if job.id.is_empty() {
        report.add(path, "the job has no ID");
    } else if job.id.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let message = format!("job ID `{}` contains a space", job.id.escape_debug());
        report.add(path, message);
    }
}

fn task_group(report: &mut Report, path: &Path, job: &Job, group: &TaskGroup) {
    named(report, path, "group", &group.name);
    let count = group.count.unwrap_or(1);
    report.at_least(path.field("Count"), "count", count, 0);
    if job.r#type == JOB_SYSTEM && count > 1 {
        report.add_with(
            path.field("Count"),
            format!("count is {count}, but a system job runs once on every node"),
            Some("leave out `count`, or use `type = \"service\"`".to_owned()),
        );
    }
    constraints(report, path, &group.constraints);
    if let Some(policy) = &group.restart_policy {
        restart(report, &path.field("RestartPolicy"), policy);
    }
    if let Some(policy) = &group.reschedule_policy {
        reschedule(report, &path.field("ReschedulePolicy"), policy);
    }
    let disk = path.field("EphemeralDisk").field("SizeMB");
    report.at_least(
        disk,
        "ephemeral disk size (MB)",
        group.ephemeral_disk.size_mb,
        10,
    );
    rollout::group(report, path, group);
    report.at_least(
        path.field("ShutdownDelay"),
        "shutdown_delay",
        group.shutdown_delay,
        0,
    );
    disconnect::group(report, path, group);
    network::group(report, path, group);
    if group.tasks.is_empty() {
        report.add(
            path.field("Tasks"),
            format!("group `{}` has no task", group.name),
        );
    }
    unique(
        report,
        &path.field("Tasks"),
        "task",
        group.tasks.iter().map(|task| task.name.as_str()),
    );
    let leaders = group
        .tasks
        .iter()
        .enumerate()
        .filter(|(_, task)| task.leader);
    for (index, _) in leaders.skip(1) {
        let path = path.field("Tasks").index(index).field("Leader");
        report.add(
            path,
            format!("group `{}` has more than one leader", group.name),
        );
    }
    service::group(report, path, group);
    for (index, task) in group.tasks.iter().enumerate() {
        task::task(report, &path.field("Tasks").index(index), group, task);
    }
}

/// Group and task names become directory names.
fn named(report: &mut Report, path: &Path, what: &str, name: &str) {
    if name.is_empty() {
        report.add(path.field("Name"), format!("this {what} has no name"));
    } else if name.contains(['/', '\\', '\0']) || name == "." || name == ".." {
        let message = format!(
            "{what} name `{}` must not contain slashes",
            name.escape_debug()
        );
        report.add(path.field("Name"), message);
    }
}

fn unique<'a>(report: &mut Report, list: &Path, what: &str, names: impl Iterator<Item = &'a str>) {
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !seen.insert(name) {
            let path = list.index(index).field("Name");
            report.add(path, format!("{what} `{name}` is defined more than once"));
        }
    }
}

fn restart(report: &mut Report, path: &Path, policy: &RestartPolicy) {
    report.one_of(
        path.field("Mode"),
        "restart mode",
        &policy.mode,
        &["fail", "delay"],
        &[],
    );
    report.at_least(path.field("Attempts"), "attempts", policy.attempts, 0);
    report.at_least(path.field("Interval"), "interval", policy.interval, 0);
    report.at_least(path.field("Delay"), "delay", policy.delay, 0);
    if policy.attempts > 0 && policy.attempts.saturating_mul(policy.delay) > policy.interval {
        report.add_with(
            path.field("Attempts"),
            format!(
                "{} restarts {} apart don't fit into an interval of {}",
                policy.attempts,
                crate::duration::format(policy.delay),
                crate::duration::format(policy.interval),
            ),
            Some("make the interval longer, or attempts or delay smaller".to_owned()),
        );
    }
}

fn reschedule(report: &mut Report, path: &Path, policy: &ReschedulePolicy) {
    // Absent in a request that only sets `Attempts = 0`.
    if !policy.delay_function.is_empty() {
        report.one_of(
            path.field("DelayFunction"),
            "delay function",
            &policy.delay_function,
            &["constant", "exponential", "fibonacci"],
            &[],
        );
    }
    report.at_least(path.field("Attempts"), "attempts", policy.attempts, 0);
    report.at_least(path.field("Interval"), "interval", policy.interval, 0);
    report.at_least(path.field("Delay"), "delay", policy.delay, 0);
    report.at_least(path.field("MaxDelay"), "max_delay", policy.max_delay, 0);
}

const OPERATORS: [&str; 19] = [
    "=",
    "==",
    "is",
    "!=",
    "not",
    ">",
    ">=",
    "<",
    "<=",
    "distinct_hosts",
    "distinct_property",
    "regexp",
    "set_contains",
    "set_contains_all",
    "set_contains_any",
    "version",
    "semver",
    "is_set",
    "is_not_set",
];

fn constraints(report: &mut Report, owner: &Path, constraints: &[Constraint]) {
    for (index, constraint) in constraints.iter().enumerate() {
        let path = owner.field("Constraints").index(index);
        let operand = constraint.operand.as_str();
        report.one_of(
            path.field("Operand"),
            "constraint operator",
            operand,
            &OPERATORS,
            &[],
        );
        let needs_left = operand != "distinct_hosts" && OPERATORS.contains(&operand);
        if needs_left && constraint.left.is_empty() {
            let hint = "such as attribute = \"${attr.kernel.name}\"".to_owned();
            report.add_with(
                path.field("LTarget"),
                "the constraint has no attribute",
                Some(hint),
            );
        }
        let right = constraint.right.as_str();
        if operand == "regexp"
            && !right.contains("${")
            && let Err(error) = regex_lite::Regex::new(right)
        {
            let message = format!(
                "`{}` is not a regular expression: {error}",
                right.escape_debug()
            );
            report.add(path.field("RTarget"), message);
        }
        let is_number = right.parse::<u64>().is_ok_and(|number| number > 0);
        if operand == "distinct_property" && !right.is_empty() && !is_number {
            let message = format!("`{right}` is not a number of allocations");
            report.add(path.field("RTarget"), message);
        }
    }
}

/// `a`, `b` and `c`
fn listed(words: &[&str]) -> String {
    let mut words: Vec<_> = words
        .iter()
        .filter(|word| !word.is_empty())
        .map(|word| format!("`{word}`"))
        .collect();
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} and {last}", words.join(", ")),
        None => "none".to_owned(),
    }
}

fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    closest(word, known).map(|known| format!("did you mean `{known}`?"))
}

/// The one of `known` that `word` is probably meant to be.
pub fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // Longer words are never a slip of the finger, and comparing them takes quadratic time.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let distance_max = (word.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|known| !known.is_empty())
        .map(|known| (strsim::osa_distance(&word, &known.to_lowercase()), known))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests;

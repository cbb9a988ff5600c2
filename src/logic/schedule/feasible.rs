//! Whether a node may run a task group at all: datacenter, drivers, constraints.

use std::fmt;

use regex_lite::Regex;

use super::version;
use crate::model::{Constraint, Job, Node, TaskGroup};

/// Why a node is ruled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The driver, and what the node says of it.
    Driver { driver: String, detail: String },
    /// The constraint, and what the node has instead.
    Constraint { constraint: String, actual: String },
}

impl Reason {
    /// What the filtered nodes are counted under.
    pub fn label(&self) -> String {
        match self {
            Self::Driver { driver, .. } => format!("missing drivers \"{driver}\""),
            Self::Constraint { constraint, .. } => constraint.clone(),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Driver { driver, detail } => {
                write!(f, "driver \"{driver}\" can't be used there: {detail}")
            }
            Self::Constraint { constraint, actual } => {
                write!(
                    f,
                    "constraint \"{constraint}\" isn't met: the node has {actual}"
                )
            }
        }
    }
}

/// Whether the job may run in the node's datacenter. `*` in a name stands for anything.
pub fn in_datacenter(job: &Job, node: &Node) -> bool {
    asks_for(job, &node.datacenter)
}

pub fn asks_for(job: &Job, datacenter: &str) -> bool {
    let mut patterns = job.datacenters.iter();
    patterns.any(|pattern| glob(pattern, datacenter))
}

fn glob(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => {
            let Some(tail) = text.strip_prefix(start) else {
                return false;
            };
            (0..=tail.len())
                .filter(|cut| tail.is_char_boundary(*cut))
                .any(|cut| glob(rest, &tail[cut..]))
        }
    }
}

/// Drivers and constraints of job, group and tasks.
pub fn check(job: &Job, group: &TaskGroup, node: &Node) -> Result<(), Reason> {
    for task in &group.tasks {
        driver(&task.driver, node)?;
    }
    let of_tasks = group.tasks.iter().flat_map(|task| &task.constraints);
    for constraint in job
        .constraints
        .iter()
        .chain(&group.constraints)
        .chain(of_tasks)
    {
        if !is_distinct(constraint) {
            meets(constraint, node)?;
        }
    }
    Ok(())
}

fn driver(name: &str, node: &Node) -> Result<(), Reason> {
    let detail = match node.drivers.get(name) {
        Some(info) if info.detected && info.healthy => return Ok(()),
        Some(info) => info.health_description.clone(),
        None => "the node doesn't know it".to_owned(),
    };
    Err(Reason::Driver {
        driver: name.to_owned(),
        detail,
    })
}

/// Constraints on how allocations relate to each other, not on a node: see `rank`.
pub(super) fn is_distinct(constraint: &Constraint) -> bool {
    matches!(
        constraint.operand.as_str(),
        "distinct_hosts" | "distinct_property"
    )
}

/// Whether a node meets one constraint.
pub fn meets(constraint: &Constraint, node: &Node) -> Result<(), Reason> {
    let left = value(&constraint.left, node);
    let right = value(&constraint.right, node);
    if holds(&constraint.operand, left, right) {
        return Ok(());
    }
    let actual = match left {
        Some(value) => format!("{} = {value}", constraint.left),
        None => format!("no {}", constraint.left),
    };
    Err(Reason::Constraint {
        constraint: constraint.to_string(),
        actual,
    })
}

/// The value behind `${...}` on a node, or the text itself; `None` if the node has no such thing.
pub fn resolve(target: &str, node: &Node) -> Option<String> {
    value(target, node).map(str::to_owned)
}

/// The same without a copy.
pub(super) fn value<'a>(target: &'a str, node: &'a Node) -> Option<&'a str> {
    let Some(name) = target
        .strip_prefix("${")
        .and_then(|rest| rest.strip_suffix('}'))
    else {
        return Some(target);
    };
    match name {
        "node.unique.id" => Some(&node.id),
        "node.unique.name" => Some(&node.name),
        "node.datacenter" => Some(&node.datacenter),
        "node.class" => Some(&node.node_class),
        _ => match name.split_once('.') {
            Some(("attr", key)) => node.attributes.get(key).map(String::as_str),
            Some(("meta", key)) => node.meta.get(key).map(String::as_str),
            _ => None,
        },
    }
}

fn holds(operand: &str, left: Option<&str>, right: Option<&str>) -> bool {
    match (operand, left, right) {
        ("is_set", left, _) => left.is_some(),
        ("is_not_set", left, _) => left.is_none(),
        ("!=" | "not", left, right) => left != right,
        ("" | "=" | "==" | "is", Some(left), Some(right)) => left == right,
        ("<" | "<=" | ">" | ">=", Some(left), Some(right)) => ordered(operand, left, right),
        ("regexp", Some(left), Some(right)) => {
            Regex::new(right).is_ok_and(|pattern| pattern.is_match(left))
        }
        ("version" | "semver", Some(left), Some(right)) => version::satisfies(left, right),
        ("set_contains" | "set_contains_all", Some(left), Some(right)) => {
            let have: Vec<_> = left.split(',').map(str::trim).collect();
            right.split(',').all(|wanted| have.contains(&wanted.trim()))
        }
        ("set_contains_any", Some(left), Some(right)) => {
            let have: Vec<_> = left.split(',').map(str::trim).collect();
            right.split(',').any(|wanted| have.contains(&wanted.trim()))
        }
        _ => false,
    }
}

/// Numbers are compared as numbers, anything else as text.
fn ordered(operand: &str, left: &str, right: &str) -> bool {
    let order = match (left.parse::<f64>(), right.parse::<f64>()) {
        (Ok(left), Ok(right)) => left.partial_cmp(&right),
        _ => Some(left.cmp(right)),
    };
    let Some(order) = order else { return false };
    match operand {
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        Node {
            name: "n1".into(),
            datacenter: "dc1".into(),
            attributes: [
                ("kernel.name", "linux"),
                ("cpu.numcores", "8"),
                ("driver.docker.version", "20.10.24+dfsg1"),
            ]
            .map(text)
            .into(),
            meta: [("zones", "a, b,c")].map(text).into(),
            ..Node::default()
        }
    }

    #[test]
    fn constraints_are_read_as_the_anchors_read_them() {
        for (left, operand, right, met) in [
            ("${attr.kernel.name}", "=", "linux", true),
            ("${attr.kernel.name}", "", "windows", false),
            ("${attr.kernel.name}", "!=", "windows", true),
            ("${attr.missing}", "=", "x", false),
            ("${attr.missing}", "!=", "x", true),
            ("${attr.missing}", "is_not_set", "", true),
            ("${attr.cpu.numcores}", ">=", "8", true),
            ("${attr.cpu.numcores}", ">", "10", false),
            ("${attr.kernel.name}", "regexp", "^li", true),
            ("${attr.kernel.name}", "regexp", "(", false),
            (
                "${attr.driver.docker.version}",
                "version",
                ">= 19.3, < 21",
                true,
            ),
            ("${attr.driver.docker.version}", "version", "> 20.11", false),
            ("${meta.zones}", "set_contains", "a,c", true),
            ("${meta.zones}", "set_contains", "a,d", false),
            ("${meta.zones}", "set_contains_any", "d,b", true),
            ("${node.unique.name}", "=", "n1", true),
            ("${node.datacenter}", "=", "dc2", false),
        ] {
            let constraint = Constraint {
                left: left.into(),
                right: right.into(),
                operand: operand.into(),
            };
            assert_eq!(meets(&constraint, &node()).is_ok(), met, "{constraint}");
        }
    }

    #[test]
    fn datacenters_may_be_patterns() {
        for (pattern, matches) in [
            ("dc1", true),
            ("dc2", false),
            ("*", true),
            ("dc*", true),
            ("*2", false),
            ("d*1", true),
        ] {
            let job = Job {
                datacenters: vec![pattern.into()],
                ..Job::default()
            };
            assert_eq!(in_datacenter(&job, &node()), matches, "{pattern}");
        }
    }
}

//! Services and their checks.

use std::collections::BTreeSet;

use super::{Path, Report, did_you_mean, listed, network, route_tag};
use crate::duration::SECOND;
use crate::model::{Service, ServiceCheck, Task, TaskGroup};

/// Services of the group itself.
pub(super) fn group(report: &mut Report, path: &Path, group: &TaskGroup) {
    let labels = network::labels(group, None);
    services(report, path, &group.services, &labels);
}

/// Services of one of its tasks.
pub(super) fn task(report: &mut Report, path: &Path, group: &TaskGroup, task: &Task) {
    let labels = network::labels(group, Some(task));
    services(report, path, &task.services, &labels);
}

fn services(report: &mut Report, owner: &Path, services: &[Service], labels: &[&str]) {
    let mut seen = BTreeSet::new();
    for (index, service) in services.iter().enumerate() {
        let path = owner.field("Services").index(index);
        if !seen.insert((&service.name, &service.port_label)) {
            let message = format!("service `{}` is defined more than once", service.name);
            report.add(path.field("Name"), message);
        }
        self::service(report, &path, service, labels);
    }
}

fn service(report: &mut Report, path: &Path, service: &Service, labels: &[&str]) {
    name(report, path.field("Name"), &service.name);
    report.one_of(
        path.field("AddressMode"),
        "address_mode",
        &service.address_mode,
        &["", "auto", "host", "driver"],
        &["alloc"],
    );
    port(
        report,
        path.field("PortLabel"),
        &service.port_label,
        &service.address_mode,
        labels,
    );
    for (list, tags) in [
        ("Tags", &service.tags),
        ("CanaryTags", &service.canary_tags),
    ] {
        for (index, tag) in tags.iter().enumerate() {
            if let Err((message, hint)) = route_tag::check(tag) {
                report.add_with(path.field(list).index(index), message, hint);
            }
        }
    }
    let mut seen = BTreeSet::new();
    for (index, check) in service.checks.iter().enumerate() {
        let path = path.field("Checks").index(index);
        if !seen.insert((&check.name, &check.r#type, &check.port_label, &check.path)) {
            let message = format!("check `{}` is defined more than once", check.name);
            report.add(path.field("Name"), message);
        }
        self::check(report, &path, service, check, labels);
    }
}

/// Names end up in DNS.
fn name(report: &mut Report, path: Path, name: &str) {
    if name.contains("${") {
        return;
    }
    let is_label = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if name.is_empty() || !is_label || name.len() > 63 {
        report.add_with(
            path,
            format!(
                "service name `{}` can't be used in DNS",
                name.escape_debug()
            ),
            Some("up to 63 letters, digits and `-`, not beginning or ending with `-`".to_owned()),
        );
    }
}

/// A label the network defines; with the driver's own address also a number.
fn port(report: &mut Report, path: Path, port: &str, address_mode: &str, labels: &[&str]) {
    if port.is_empty() || port.contains("${") || labels.contains(&port) {
        return;
    }
    if address_mode == "driver" && port.parse::<u16>().is_ok_and(|number| number > 0) {
        return;
    }
    let hint = did_you_mean(port, labels.iter().copied()).unwrap_or_else(|| {
        if labels.is_empty() {
            format!("add `port \"{port}\" {{}}` to `network`")
        } else {
            format!("known are {}", listed(labels))
        }
    });
    report.add_with(
        path,
        format!("there is no port `{port}` in the network"),
        Some(hint),
    );
}

fn check(
    report: &mut Report,
    path: &Path,
    service: &Service,
    check: &ServiceCheck,
    labels: &[&str],
) {
    if check.r#type.is_empty() {
        let hint = "type = \"http\" or type = \"tcp\"".to_owned();
        report.add_with(path.field("Type"), "the check has no type", Some(hint));
    } else {
        report.one_of(
            path.field("Type"),
            "check type",
            &check.r#type,
            &["http", "tcp"],
            &["script", "grpc"],
        );
    }
    period(report, path, "Interval", "interval", check.interval);
    period(report, path, "Timeout", "timeout", check.timeout);
    let port_path = path.field("PortLabel");
    let address_mode = if check.address_mode.is_empty() {
        &service.address_mode
    } else {
        &check.address_mode
    };
    if check.port_label.is_empty() && service.port_label.is_empty() {
        report.add_with(
            port_path,
            "the check has no port",
            Some("set `port` in the check or in its service".to_owned()),
        );
    } else {
        port(report, port_path, &check.port_label, address_mode, labels);
    }
    report.one_of(
        path.field("AddressMode"),
        "address_mode",
        &check.address_mode,
        &["", "host", "driver"],
        &["alloc"],
    );
    report.one_of(
        path.field("InitialStatus"),
        "initial_status",
        &check.initial_status,
        &["", "passing", "warning", "critical"],
        &[],
    );
    for (field, what, value) in [
        (
            "SuccessBeforePassing",
            "success_before_passing",
            check.success_before_passing,
        ),
        (
            "FailuresBeforeCritical",
            "failures_before_critical",
            check.failures_before_critical,
        ),
    ] {
        report.at_least(path.field(field), what, value, 0);
    }
    if let Some(restart) = &check.check_restart {
        let path = path.field("CheckRestart");
        report.at_least(path.field("Limit"), "limit", restart.limit, 0);
        report.at_least(path.field("Grace"), "grace", restart.grace.unwrap_or(0), 0);
    }
    if check.r#type == "http" {
        http(report, path, check);
    }
}

fn period(report: &mut Report, path: &Path, field: &'static str, what: &str, nanos: i64) {
    if nanos == 0 {
        let hint = format!("such as {what} = \"10s\"");
        report.add_with(
            path.field(field),
            format!("the check has no {what}"),
            Some(hint),
        );
    } else if nanos < SECOND {
        let message = format!(
            "the check's {what} is {}, it must be 1s or more",
            crate::duration::format(nanos)
        );
        report.add(path.field(field), message);
    }
}

fn http(report: &mut Report, path: &Path, check: &ServiceCheck) {
    if check.path.is_empty() {
        let hint = "such as path = \"/\"".to_owned();
        report.add_with(path.field("Path"), "the http check has no path", Some(hint));
    } else if check.path.contains("://") || check.path.chars().any(char::is_whitespace) {
        let message = format!("`{}` is not a path", check.path.escape_debug());
        let hint = "the address comes from the port: write only the path, such as \"/health\"";
        report.add_with(path.field("Path"), message, Some(hint.to_owned()));
    }
    report.one_of(
        path.field("Protocol"),
        "protocol",
        &check.protocol,
        &["", "http", "https"],
        &[],
    );
    if !check.method.chars().all(|c| c.is_ascii_alphabetic()) {
        let message = format!("`{}` is not an HTTP method", check.method.escape_debug());
        report.add(path.field("Method"), message);
    }
}

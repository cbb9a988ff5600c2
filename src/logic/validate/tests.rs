//! What makes a job invalid, and what is said about it.

use super::*;
use crate::model::Job;

/// A job that is fine, with one thing in it replaced.
fn found(from: &str, to: &str) -> Vec<String> {
    const FINE: &str = r#"{
        "ID": "web", "Type": "service", "Datacenters": ["dc1"], "Priority": 50,
        "Constraints": [{"LTarget": "${attr.arch}", "Operand": "=", "RTarget": "amd64"}],
        "TaskGroups": [{
            "Name": "g", "Count": 1,
            "Networks": [{"Mode": "", "ReservedPorts": [{"Label": "admin", "Value": 9000}]}],
            "RestartPolicy": {"Attempts": 2, "Interval": 60, "Delay": 15, "Mode": "fail"},
            "Tasks": [{
                "Name": "t", "Driver": "docker",
                "Config": {"image": "x", "port_map": {"http": 80}, "args": ["a"], "tty": true},
                "Resources": {
                    "CPU": 100, "MemoryMB": 64,
                    "Networks": [{"DynamicPorts": [{"Label": "http"}]}]
                },
                "Services": [{
                    "Name": "web", "PortLabel": "http", "Tags": ["urlprefix-a.b/"],
                    "Checks": [{
                        "Name": "alive", "Type": "http", "Path": "/",
                        "Interval": 10000000000, "Timeout": 2000000000
                    }]
                }]
            }]
        }]
    }"#;
    assert!(FINE.contains(from), "{from}");
    let text = FINE.replacen(from, to, 1);
    let mut job: Job = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {to}"));
    job.canonicalize();
    super::job(&job).iter().map(ToString::to_string).collect()
}

fn check(cases: &[(&str, &str, &str)]) {
    for (from, to, expected) in cases {
        assert_eq!(found(from, to), [*expected], "{to}");
    }
}

#[test]
fn a_fine_job_has_nothing_wrong() {
    assert_eq!(found("web", "web"), [""; 0]);
}

#[test]
fn what_is_wrong_with_a_job_is_found() {
    check(&[
        ("\"ID\": \"web\"", "\"ID\": \"\"", "ID: the job has no ID"),
        (
            "\"ID\": \"web\"",
            "\"ID\": \"a b\"",
            "ID: job ID `a b` contains a space",
        ),
        (
            "\"service\"",
            "\"sysbatch\"",
            "Type: job type `sysbatch` isn't supported yet",
        ),
        (
            "\"service\"",
            "\"servce\"",
            "Type: unknown job type `servce` (did you mean `service`?)",
        ),
        (
            "50",
            "101",
            "Priority: priority is 101, it must be from 1 to 100",
        ),
        (
            "50",
            "50, \"Periodic\": {}",
            "Periodic: `Periodic` isn't supported yet",
        ),
        (
            "[\"dc1\"]",
            "[\"\"]",
            "Datacenters[0]: a datacenter's name is empty",
        ),
        (
            "\"Operand\": \"=\"",
            "\"Operand\": \"like\"",
            "Constraints[0].Operand: unknown constraint operator `like` (known are `=`, `==`, \
             `is`, `!=`, `not`, `>`, `>=`, `<`, `<=`, `distinct_hosts`, `distinct_property`, \
             `regexp`, `set_contains`, `set_contains_all`, `set_contains_any`, `version`, \
             `semver`, `is_set` and `is_not_set`)",
        ),
        (
            "${attr.arch}",
            "",
            "Constraints[0].LTarget: the constraint has no attribute (such as attribute = \
             \"${attr.kernel.name}\")",
        ),
    ]);
    assert!(
        found(
            "\"Operand\": \"=\", \"RTarget\": \"amd64\"",
            "\"Operand\": \"regexp\", \"RTarget\": \"(\""
        )[0]
        .starts_with("Constraints[0].RTarget: `(` is not a regular expression")
    );
}

#[test]
fn what_is_wrong_with_a_group_is_found() {
    check(&[
        (
            "\"Name\": \"g\"",
            "\"Name\": \"\"",
            "TaskGroups[0].Name: this group has no name",
        ),
        (
            "\"Name\": \"g\"",
            "\"Name\": \"../g\"",
            "TaskGroups[0].Name: group name `../g` must not contain slashes",
        ),
        (
            "\"Count\": 1",
            "\"Count\": -1",
            "TaskGroups[0].Count: count is -1, it must be 0 or more",
        ),
        (
            "\"Mode\": \"fail\"",
            "\"Mode\": \"fial\"",
            "TaskGroups[0].RestartPolicy.Mode: unknown restart mode `fial` (did you mean `fail`?)",
        ),
        (
            "\"Interval\": 60",
            "\"Interval\": 20",
            "TaskGroups[0].RestartPolicy.Attempts: 2 restarts 15ns apart don't fit into an \
             interval of 20ns (make the interval longer, or attempts or delay smaller)",
        ),
        (
            "\"Mode\": \"\"",
            "\"Mode\": \"bridge\"",
            "TaskGroups[0].Networks[0].Mode: network mode `bridge` isn't supported yet (leave out \
             `mode`: a container gets a network of its own anyway)",
        ),
        (
            "\"Value\": 9000",
            "\"Value\": 0",
            "TaskGroups[0].Networks[0].ReservedPorts[0].Value: a static port must be from 1 to 65535",
        ),
        (
            "\"Label\": \"admin\"",
            "\"Label\": \"a-b\"",
            "TaskGroups[0].Networks[0].ReservedPorts[0].Label: port label `a-b` must consist of \
             letters, digits and `_`",
        ),
        (
            "\"Value\": 9000}",
            "\"Value\": 9000}, {\"Label\": \"b\", \"Value\": 9000}",
            "TaskGroups[0].Networks[0].ReservedPorts[1].Value: static port 9000 is already port `admin`",
        ),
        (
            "{\"Label\": \"http\"}",
            "{\"Label\": \"http\"}, {\"Label\": \"admin\"}",
            "TaskGroups[0].Tasks[0].Resources.Networks[0].DynamicPorts[1].Label: port `admin` is \
             defined more than once",
        ),
    ]);
    assert_eq!(
        found("\"service\"", "\"system\""),
        [""; 0],
        "one on each node is what `count = 1` means there"
    );
}

#[test]
fn what_is_wrong_with_a_task_is_found() {
    check(&[
        (
            "\"docker\"",
            "\"java\"",
            "TaskGroups[0].Tasks[0].Driver: driver `java` isn't supported yet",
        ),
        (
            "\"docker\"",
            "\"banana\"",
            "TaskGroups[0].Tasks[0].Driver: unknown driver `banana` (known are `docker` and `raw_exec`)",
        ),
        (
            "\"MemoryMB\": 64",
            "\"MemoryMB\": 9",
            "TaskGroups[0].Tasks[0].Resources.MemoryMB: memory (MB) is 9, it must be 10 or more",
        ),
        (
            "\"Name\": \"t\"",
            "\"Name\": \"t\", \"Templates\": [{}]",
            "TaskGroups[0].Tasks[0].Templates: `Templates` isn't supported yet",
        ),
        (
            "\"image\": \"x\"",
            "\"image\": \"\"",
            "TaskGroups[0].Tasks[0].Config.image: task `t` has no image in its config (such as \
             image = \"nginx:1.27\")",
        ),
        (
            "\"tty\": true",
            "\"tty\": 7",
            "TaskGroups[0].Tasks[0].Config.tty: `tty` must be true or false, this is a number",
        ),
        (
            "[\"a\"]",
            "\"a\"",
            "TaskGroups[0].Tasks[0].Config.args: `args` must be a list of strings, this is a string",
        ),
        (
            "\"tty\": true",
            "\"mounts\": []",
            "TaskGroups[0].Tasks[0].Config.mounts: docker option `mounts` isn't supported yet",
        ),
        (
            "\"tty\": true",
            "\"comand\": \"x\"",
            "TaskGroups[0].Tasks[0].Config.comand: unknown docker option `comand` (did you mean `command`?)",
        ),
        (
            "\"http\": 80",
            "\"http\": 70000",
            "TaskGroups[0].Tasks[0].Config.port_map.http: port_map `http` must be a port from 1 to 65535",
        ),
        (
            "\"tty\": true",
            "\"ports\": [\"htp\"]",
            "TaskGroups[0].Tasks[0].Config.ports[0]: ports names port `htp`, which the network \
             doesn't have (did you mean `http`?)",
        ),
    ]);
}

#[test]
fn what_is_wrong_with_a_service_is_found() {
    let service = "TaskGroups[0].Tasks[0].Services[0]";
    for (from, to, expected) in [
        (
            "\"Name\": \"web\"",
            "\"Name\": \"a_b\"",
            "Name: service name `a_b` can't be used in DNS (up to 63 letters, digits and `-`, not \
             beginning or ending with `-`)",
        ),
        (
            "\"PortLabel\": \"http\"",
            "\"PortLabel\": \"htp\"",
            "PortLabel: there is no port `htp` in the network (did you mean `http`?)",
        ),
        (
            "\"Type\": \"http\"",
            "\"Type\": \"grpc\"",
            "Checks[0].Type: check type `grpc` isn't supported yet",
        ),
        (
            "\"Type\": \"http\"",
            "\"Type\": \"\"",
            "Checks[0].Type: the check has no type (type = \"http\" or type = \"tcp\")",
        ),
        (
            "\"Interval\": 10000000000",
            "\"Interval\": 10",
            "Checks[0].Interval: the check's interval is 10ns, it must be 1s or more",
        ),
        (
            ", \"Timeout\": 2000000000",
            "",
            "Checks[0].Timeout: the check has no timeout (such as timeout = \"10s\")",
        ),
        (
            "\"Path\": \"/\"",
            "\"Path\": \"http://a/\"",
            "Checks[0].Path: `http://a/` is not a path (the address comes from the port: write \
             only the path, such as \"/health\")",
        ),
        (
            "\"Path\": \"/\"",
            "\"PortLabel\": \"x\", \"Path\": \"/\"",
            "Checks[0].PortLabel: there is no port `x` in the network (known are `http` and `admin`)",
        ),
    ] {
        assert_eq!(found(from, to), [format!("{service}.{expected}")]);
    }
}

#[test]
fn routes_are_understood_or_explained() {
    for fine in [
        "plain",
        "urlprefix-/",
        "urlprefix-a.b/c",
        "urlprefix-:9997 proto=tcp",
        "urlprefix-a/ proto=tcp+sni",
        "urlprefix-a:9999/ proto=https tlsskipverify=true",
        "urlprefix-/a strip=/a weight=0.2 host=dst",
        "urlprefix-/ redirect=301,https://x$path",
    ] {
        assert_eq!(found("urlprefix-a.b/", fine), [""; 0], "{fine}");
    }
    for (tag, expected) in [
        (
            "urlprefix-a.b",
            "tag `urlprefix-a.b` is not a route: expected HOST/PATH, /PATH or :PORT (did you mean \
             `urlprefix-a.b/`?)",
        ),
        (
            "urlprefix-",
            "tag `urlprefix-` is not a route: expected HOST/PATH, /PATH or :PORT (write \
             `urlprefix-HOST/PATH`, `urlprefix-/PATH` or `urlprefix-:PORT`)",
        ),
        (
            "urlprefix-:http",
            "`http` in tag `urlprefix-:http` is not a port (such as `urlprefix-:9997 proto=tcp`)",
        ),
        (
            "urlprefix-/ prto=tcp",
            "unknown option `prto` in tag `urlprefix-/ prto=tcp` (did you mean `proto`?)",
        ),
        (
            "urlprefix-/ proto=htpps",
            "unknown proto `htpps` in tag `urlprefix-/ proto=htpps` (did you mean `https`?)",
        ),
        (
            "urlprefix-/ weight=2",
            "`weight=2` in tag `urlprefix-/ weight=2` makes no sense: expected a number from 0 to 1",
        ),
        (
            "urlprefix-/ strip=a",
            "`strip=a` in tag `urlprefix-/ strip=a` makes no sense: expected a path such as /api",
        ),
    ] {
        let path = "TaskGroups[0].Tasks[0].Services[0].Tags[0]";
        assert_eq!(
            found("urlprefix-a.b/", tag),
            [format!("{path}: {expected}")]
        );
    }
}

#[test]
fn near_words_are_suggested() {
    for (word, known, expected) in [
        (
            "datacentres",
            &["datacenters", "type"][..],
            Some("datacenters"),
        ),
        ("grup", &["group"], Some("group")),
        ("htp", &["http", "https"], Some("http")),
        ("banana", &["group", "task"], None),
    ] {
        assert_eq!(closest(word, known.iter().copied()), expected, "{word}");
    }
}

#[test]
fn what_is_wrong_with_a_groups_patience_is_found() {
    let with = |more: &str| found("\"Count\": 1", &format!("\"Count\": 1, {more}"));
    for fine in [
        r#""MaxClientDisconnect": 5"#,
        r#""StopAfterClientDisconnect": 5"#,
        r#""Disconnect": {"LostAfter": 5, "Replace": false, "Reconcile": "keep_original"}"#,
        r#""Disconnect": {"StopOnClientAfter": 5}"#,
    ] {
        assert_eq!(with(fine), [""; 0], "{fine}");
    }
    for (more, wrong) in [
        (
            r#""MaxClientDisconnect": -1"#,
            "TaskGroups[0].MaxClientDisconnect: max_client_disconnect is -1, it must be 0 or more",
        ),
        (
            r#""MaxClientDisconnect": 5, "StopAfterClientDisconnect": 5"#,
            "TaskGroups[0].MaxClientDisconnect: `max_client_disconnect` and \
             `stop_after_client_disconnect` contradict each other: use one of them",
        ),
        (
            r#""MaxClientDisconnect": 5, "Disconnect": {"LostAfter": 5}"#,
            "TaskGroups[0].MaxClientDisconnect: `max_client_disconnect` and a `disconnect` block \
             say the same (leave out `max_client_disconnect`)",
        ),
        (
            r#""Disconnect": {"LostAfter": 5, "StopOnClientAfter": 5}"#,
            "TaskGroups[0].Disconnect.LostAfter: `lost_after` and `stop_on_client_after` \
             contradict each other: use one of them",
        ),
        (
            r#""Disconnect": {"LostAfter": 5, "Reconcile": "keep_orginal"}"#,
            "TaskGroups[0].Disconnect.Reconcile: unknown reconcile strategy `keep_orginal` \
             (did you mean `keep_original`?)",
        ),
    ] {
        assert_eq!(with(more), [wrong], "{more}");
    }
}

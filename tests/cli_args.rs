//! Arguments: help, and what is said about those that make no sense.

use crate::program::{drover, run, text};

/// Exit code, standard output, standard error.
fn said(args: &[&str]) -> (Option<i32>, String, String) {
    let output = run(drover().args(args));
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn help_names_every_group_of_commands() {
    for args in [&["-help"][..], &["--help"], &["-h"]] {
        let (code, out, err) = said(args);
        assert_eq!(code, Some(0), "{args:?}: {err}");
        for command in ["agent", "quickstart", "job", "node", "alloc"] {
            assert!(
                out.contains(command),
                "{args:?}: {command} is missing in\n{out}"
            );
        }
        assert!(!out.contains("port-offset"), "{out}");
    }
}

#[test]
fn commands_explain_their_flags() {
    for (command, flag) in [
        (&["agent"][..], "-config"),
        (&["quickstart"], "-once"),
        (&["example-backend"], "-listen"),
        (&["job", "plan"], "-diff"),
        (&["job", "run"], "-detach"),
        (&["agent"], "-retry-join"),
        (&["consul", "agent"], "-dns-port"),
        (&["server", "join"], "ADDR"),
        (&["operator", "raft", "remove-peer"], "-peer-address"),
        (&["consul", "operator", "raft", "remove-peer"], "-address"),
        (&["operator", "snapshot", "save"], "-stale"),
    ] {
        let args = [command, &["-help"]].concat();
        let (code, out, err) = said(&args);
        assert_eq!(code, Some(0), "{args:?}: {err}");
        assert!(out.contains(flag), "{args:?}: {flag} is missing in\n{out}");
    }
}

#[test]
fn the_version_is_told() {
    for args in [&["-version"][..], &["version"]] {
        let (code, out, err) = said(args);
        assert_eq!(code, Some(0), "{args:?}: {err}");
        assert!(out.contains(env!("CARGO_PKG_VERSION")), "{args:?}: {out}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    for (args, named) in [
        (&["jbo", "run"][..], "jbo"),
        (&["job", "rnu"], "rnu"),
        (&["agent", "-deev"], "deev"),
        (&["agent", "-dev", "-bind", "everywhere"], "everywhere"),
        (&["agent", "-dev", "-log-level", "loud"], "loud"),
        (
            &["agent", "-dev", "-join", "10.0.0.1:gossip"],
            "10.0.0.1:gossip",
        ),
        (&["agent", "-dev", "-encrypt", "short"], "44 characters"),
        (&["consul", "agent", "-data-dir=/x"], "add -server"),
        (&["consul", "operator", "raft", "list-pers"], "list-pers"),
        (&["operator", "raft", "remove-peer"], "--peer-id"),
        (&["operator", "snapshot", "restore", "/no/such"], "/no/such"),
        (&["quickstart", "-port-offset", "-1"], "-1"),
        (&["quickstart", "-once", "-port-offset", "60000"], "60000"),
        (&["example-backend", "-listen", "nowhere"], "nowhere"),
    ] {
        let (code, out, err) = said(args);
        assert!(
            code.is_some_and(|code| code != 0),
            "{args:?}: {code:?} {out}"
        );
        assert!(
            err.contains(named),
            "{args:?}: {named:?} is missing in\n{err}"
        );
        assert!(!err.contains("panicked"), "{err}");
    }
}

#[test]
fn every_key_is_new_and_has_32_bytes() {
    let mut keys = Vec::new();
    for args in [
        &["keygen"][..],
        &["consul", "keygen"],
        &["nomad", "operator", "gossip", "keyring", "generate"],
        &["operator", "keygen"],
    ] {
        let (code, out, err) = said(args);
        assert_eq!(code, Some(0), "{args:?}: {err}");
        let key = out.trim().to_owned();
        assert!(key.len() == 44 && key.ends_with('='), "{args:?}: {key}");
        keys.push(key);
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4, "{keys:?}");
}

#[test]
fn without_an_agent_every_command_about_the_cluster_says_so() {
    let address = "-address=http://127.0.0.1:1";
    let http_addr = "-http-addr=127.0.0.1:1";
    for args in [
        &["server", "members", address][..],
        &["server", "join", address, "10.0.0.1"],
        &["server", "force-leave", address, "a"],
        &["operator", "raft", "list-peers", address],
        &["operator", "raft", "remove-peer", address, "-peer-id=a"],
        &["operator", "autopilot", "health", address],
        &["operator", "autopilot", "get-config", address],
        &["operator", "snapshot", "save", address, "/no/such/file"],
        &["agent-info", address],
        &["consul", "members", http_addr],
        &["consul", "join", http_addr, "10.0.0.1"],
        &["consul", "force-leave", http_addr, "a"],
        &["consul", "operator", "raft", "list-peers", http_addr],
        &["consul", "operator", "autopilot", "state", http_addr],
        &["consul", "snapshot", "save", http_addr, "/no/such/file"],
        &["consul", "info", http_addr],
        &["consul", "event", "-name=a", http_addr],
        &["consul", "reload", http_addr],
        &["consul", "monitor", http_addr],
        &["consul", "watch", "-type=nodes", http_addr],
        &["consul", "lock", http_addr, "a", "true"],
    ] {
        let (code, out, err) = said(args);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{args:?}");
        assert!(err.contains("connection refused"), "{args:?}: {err}");
    }
}

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
        (&["job", "run"], "-detach"),
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

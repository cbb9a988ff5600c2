//! `job plan` on a running agent: what it foresees comes true, and what it can't foresee is told.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use crate::program::{Agent, drover, eventually, golden, repository, run, text};

/// Exit code, standard output, standard error.
fn said(command: &mut Command) -> (Option<i32>, String, String) {
    let output = run(command);
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn index_in(plan: &str) -> String {
    let line = plan
        .lines()
        .find_map(|line| line.strip_prefix("Job Modify Index: "));
    line.unwrap_or_else(|| panic!("no index: {plan}"))
        .to_owned()
}

#[test]
fn what_a_plan_foresees_happens_and_only_if_nobody_came_in_between() {
    let agent = Agent::dev(260);
    let job = fs::read_to_string(repository().join("docs/jobs/quickstart.nomad"));
    let job = job.expect("the job file");
    let file = agent.write("hello.nomad", &job);
    let plan = |args: &[&str]| said(&mut agent.command(args));

    let (code, out, err) = plan(&["nomad", "job", "plan", &file]);
    assert_eq!(code, Some(1), "{out}{err}");
    let expected = "+ Job: \"hello\"\n+ Task Group: \"hello\" (2 create)\n  \
                    + Task: \"hello\" (forces create)\n\nScheduler dry-run:\n\
                    - All tasks successfully allocated.\n\nJob Modify Index: 0\n";
    assert!(out.starts_with(expected), "{out}");
    assert!(
        out.contains(&format!("\nnomad job run -check-index 0 {file}\n")),
        "{out}"
    );
    let jobs = agent.nomad("GET", "/v1/jobs", "").expect("an answer");
    assert_eq!(jobs.json(), serde_json::json!([]), "nothing is stored");

    agent.ask(&["job", "run", "-check-index", "0", &file]);
    eventually("both instances pass", || {
        (agent.passing("hello").len() == 2).then_some(())
    });
    let (code, out, err) = plan(&["plan", &file]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("Task Group: \"hello\" (2 ignore)"), "{out}");
    let index = index_in(&out);

    let more = agent.write("more.nomad", &job.replace("count = 2", "count = 3"));
    let mut piped = agent.command(&["job", "plan", "-"]);
    let (code, out, err) = said(piped.stdin(File::open(&more).expect("the file")));
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(
        out.contains("Count: \"2\" => \"3\" (forces create)"),
        "{out}"
    );
    let (code, out, _) = plan(&["job", "plan", "-diff=false", "-policy-override", &more]);
    assert_eq!(code, Some(1));
    assert!(out.starts_with("Scheduler dry-run:"), "{out}");

    agent.ask(&["job", "run", "-detach", "-check-index", &index, &more]);
    let (code, _, err) = said(&mut agent.command(&["job", "run", "-check-index", &index, &file]));
    assert_eq!(code, Some(1), "{err}");
    let conflict = format!(
        "Enforcing job modify index {index}: job exists with conflicting job modify index: "
    );
    assert!(err.contains(&conflict), "{err}");
}

#[test]
fn what_has_no_plan_ends_with_255_and_what_has_no_room_with_1() {
    let agent = Agent::dev(270);
    let bad = agent.write("bad.nomad", "job \"bad\" {\n  datacentres = [\"dc1\"]\n}\n");
    let (code, _, err) = said(&mut agent.command(&["job", "plan", &bad]));
    assert_eq!(code, Some(255), "{err}");
    assert!(err.contains("bad.nomad:2:3"), "{err}");
    let good = repository().join("docs/jobs/quickstart.nomad");
    let nobody = "-address=http://127.0.0.1:1";
    let (code, _, err) = said(drover().args(["job", "plan", nobody]).arg(good));
    assert_eq!(code, Some(255), "{err}");
    assert!(err.contains("Error during plan: Put"), "{err}");

    let Some(folder) = golden("malformed") else {
        return;
    };
    let plan = |path: &Path| said(agent.command(&["job", "plan"]).arg(path));
    let mut tried = 0;
    for entry in fs::read_dir(&folder).expect("readable").flatten() {
        let path = entry.path();
        let code = fs::read_to_string(path.with_extension("plan.rc")).unwrap_or_default();
        if path.extension().is_some_and(|ending| ending == "nomad") && code.trim() == "255" {
            let (code, out, err) = plan(&path);
            tried += 1;
            assert!(
                code == Some(255) || out.contains("Job Modify Index"),
                "{path:?}: {err}"
            );
            assert!(
                code != Some(255) || !err.trim().is_empty(),
                "{path:?}: no reason"
            );
        }
    }
    assert!(tried >= 10, "only {tried} files");
    let (code, out, err) = plan(&folder.join("18-no-such-dc.nomad"));
    assert_eq!(code, Some(1), "{out}{err}");
    let dry_run = "- WARNING: Failed to place all allocations.\n  \
                   Task Group \"bad\" (failed to place 2 allocations):\n    \
                   * No nodes were eligible for evaluation\n    \
                   * No nodes are available in datacenter \"dc9\"\n\nJob Modify Index: 0\n";
    assert!(out.contains(dry_run), "{out}");
    let (code, out, err) = plan(&folder.join("35-count-zero.nomad"));
    assert_eq!(code, Some(0), "{out}{err}");
}

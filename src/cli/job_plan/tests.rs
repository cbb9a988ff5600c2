//! `job plan` as the anchor prints it.

use logic::diff;

use super::super::golden;
use super::*;

/// A recorded job file, as it would be registered.
fn recorded(file: &str) -> Option<Job> {
    let text = golden::output(&format!("jobs/{file}"))?;
    let mut job = jobspec::parse_job(file, text.as_bytes()).expect(file).job;
    job.canonicalize();
    Some(job)
}

fn updates(group: &str, changes: GroupChanges) -> BTreeMap<String, GroupChanges> {
    BTreeMap::from([(group.to_owned(), changes)])
}

fn plan(old: Option<&Job>, new: &Job, index: u64, updates: BTreeMap<String, GroupChanges>) -> Plan {
    let mut diff = diff::job(old, Some(new));
    diff::annotate(&mut diff, old, new, &updates);
    Plan {
        annotations: Annotations { updates },
        diff: Some(diff),
        job_modify_index: index,
        ..Plan::default()
    }
}

fn shown(file: &str) -> Shown<'_> {
    Shown {
        program: "nomad",
        file,
        system: false,
        verbose: false,
        style: Style::PLAIN,
    }
}

fn create(count: u64) -> GroupChanges {
    GroupChanges {
        place: count,
        ..GroupChanges::default()
    }
}

/// `None`: there are no recordings.
fn check(
    recording: &str,
    old: Option<&Job>,
    file: &str,
    index: u64,
    changes: GroupChanges,
) -> Option<()> {
    let new = recorded(file)?;
    let expected = golden::output(&format!("{recording}.out"))?;
    let code = golden::output(&format!("{recording}.rc"))?;
    let plan = plan(old, &new, index, updates(&new.task_groups[0].name, changes));
    assert_eq!(shown(file).render(&plan), expected, "{recording}");
    assert_eq!(plan.exit().code().to_string(), code, "{recording}");
    Some(())
}

#[test]
fn new_jobs_look_as_the_anchor_shows_them() {
    for (recording, file, count) in [
        ("13-job-plan-httpbackend-new", "httpbackend-1.nomad", 2),
        ("30-fabio-plan", "fabio.nomad", 3),
        (
            "60-https-upstream-plan",
            "httpsbackend-upstreamhttps.nomad",
            2,
        ),
    ] {
        check(recording, None, file, 0, create(count));
    }
}

#[test]
fn changed_jobs_look_as_the_anchor_shows_them() {
    let in_place = GroupChanges {
        in_place_update: 2,
        ..GroupChanges::default()
    };
    let all = GroupChanges {
        destructive_update: 3,
        ..GroupChanges::default()
    };
    let rolling = GroupChanges {
        destructive_update: 1,
        ignore: 2,
        ..GroupChanges::default()
    };
    for (recording, from, to, index, changes) in [
        (
            "40-httpbackend-2-plan",
            "httpbackend-1.nomad",
            "httpbackend-2.nomad",
            31,
            in_place,
        ),
        ("50-fabio-2-plan", "fabio.nomad", "fabio-2.nomad", 45, all),
        (
            "83-rolling-plan-v1",
            "rolling.nomad",
            "rolling-2.nomad",
            119,
            rolling,
        ),
    ] {
        let Some(old) = recorded(from) else { return };
        check(recording, Some(&old), to, index, changes);
    }
}

#[test]
fn a_stopped_job_looks_as_the_anchor_shows_it() {
    let Some(mut old) = recorded("httpbackend-1.nomad") else {
        return;
    };
    old.stop = true;
    let recording = "17-job-plan-httpbackend";
    check(recording, Some(&old), "httpbackend-1.nomad", 23, create(2));
}

#[test]
fn a_job_that_changes_nothing_looks_as_the_anchor_shows_it() {
    let file = "httpbackend-2.nomad";
    let recording = golden::output("94-no-changes-plan.out");
    let (Some(job), Some(recording)) = (recorded(file), recording) else {
        return;
    };
    let changes = GroupChanges {
        ignore: 2,
        ..GroupChanges::default()
    };
    let plan = plan(Some(&job), &job, 232, updates("httpbackend", changes));
    // What follows is `job run`.
    let expected = recording.split("\nrc=0").next();
    assert_eq!(Some(shown(file).render(&plan).as_str()), expected);
    assert_eq!(plan.exit(), Exit::Done);
}

fn example() -> Job {
    let text = r#"job "web" {
      datacenters = ["dc1"]
      group "web" {
        task "web" {
          driver = "docker"
          config { image = "web:1" }
        }
      }
    }"#;
    let mut job = jobspec::parse_job("web", text.as_bytes())
        .expect("a job")
        .job;
    job.canonicalize();
    job
}

fn exhausted() -> AllocMetric {
    AllocMetric {
        nodes_evaluated: 1,
        nodes_exhausted: 1,
        coalesced_failures: 1,
        dimension_exhausted: BTreeMap::from([("memory".to_owned(), 1)]),
        reasons: BTreeMap::from([("n1".to_owned(), "needs 9 MB, 4 of 8 MB are free".to_owned())]),
        ..AllocMetric::default()
    }
}

#[test]
fn what_has_no_room_is_told_with_each_nodes_numbers() {
    let failed = BTreeMap::from([("a".to_owned(), exhausted()), ("b".to_owned(), exhausted())]);
    let plan = Plan {
        failed: Some(failed),
        warnings: "mind the gap".to_owned(),
        ..Plan::default()
    };
    let text = shown("x").render(&plan);
    let group = |name: &str| {
        format!(
            "  Task Group \"{name}\" (failed to place 2 allocations):
    * Resources exhausted on 1 nodes
    * Dimension \"memory\" exhausted on 1 nodes
    * Node \"n1\": needs 9 MB, 4 of 8 MB are free
"
        )
    };
    let expected = format!(
        "Scheduler dry-run:\n- WARNING: Failed to place all allocations.\n{}\n{}\n\
         Job Warnings:\nmind the gap\n\nJob Modify Index: 0\n",
        group("a"),
        group("b")
    );
    assert!(text.starts_with(&expected), "{text}");
    let system = Shown {
        system: true,
        ..shown("x")
    };
    let text = system.render(&plan);
    assert!(text.contains("- WARNING: Failed to place allocations on all nodes.\n"));
}

#[test]
fn verbose_shows_what_is_added_and_deleted_too() {
    let job = example();
    let plan = plan(None, &job, 0, updates("web", create(1)));
    let verbose = Shown {
        verbose: true,
        ..shown("x")
    };
    let text = verbose.render(&plan);
    for line in [
        "+ Priority:   \"50\"",
        "+ Datacenters {",
        "  + Datacenters: \"dc1\"",
        "+ Task Group: \"web\" (1 create)",
        "  + Count: \"1\" (forces create)",
        "      + image: \"web:1\"",
        "  + Task: \"web\" (forces create)",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    }
    assert!(!shown("x").render(&plan).contains("image"));
}

#[test]
fn a_removed_group_and_several_groups_are_told_apart_by_a_blank_line() {
    let new = example();
    let mut old = example();
    let mut gone = old.task_groups[0].clone();
    gone.name = "old".to_owned();
    old.task_groups.push(gone);
    let mut changes = updates(
        "old",
        GroupChanges {
            stop: 1,
            ..GroupChanges::default()
        },
    );
    changes.extend(updates("web", GroupChanges::default()));
    let plan = plan(Some(&old), &new, 5, changes);
    let text = shown("x").render(&plan);
    let expected = "+/- Job: \"web\"\n- Task Group: \"old\" (1 destroy)\n  \
                    - Task: \"web\" (forces destroy)\n\n  \
                    Task Group: \"web\"\n    Task: \"web\"\n\nScheduler dry-run:";
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(plan.exit(), Exit::Changes);
}

#[test]
fn values_stay_on_their_line() {
    let old = example();
    let mut new = example();
    let env = BTreeMap::from([("A".to_owned(), "two\nlines \"ü\"\u{1b}".to_owned())]);
    new.task_groups[0].tasks[0].env = env;
    let plan = plan(Some(&old), &new, 5, BTreeMap::new());
    let text = shown("x").render(&plan);
    assert!(
        text.contains("+ Env[A]: \"two\\nlines \\\"ü\\\"\\u{1b}\""),
        "{text}"
    );
}

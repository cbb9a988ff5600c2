//! Differences between jobs, and what they force.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::{Constraint, Network, Port, Service, ServiceCheck, Value};
use crate::schedule::dry_run::dry_run;
use crate::schedule::tests::cluster::{Cluster, but, image, memory, on_port, service};
use crate::schedule::tests::random::cases;
use crate::time::Time;

/// A diff as lines: where, how, and both values.
fn lines(diff: &JobDiff) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    level(&mut out, "", diff.r#type, &diff.fields, &diff.objects);
    for group in &diff.task_groups {
        let at = format!("/{}", group.name);
        level(&mut out, &at, group.r#type, &group.fields, &group.objects);
        for task in &group.tasks {
            let at = format!("{at}/{}", task.name);
            level(&mut out, &at, task.r#type, &task.fields, &task.objects);
        }
    }
    out
}

fn level(
    out: &mut BTreeSet<String>,
    at: &str,
    kind: Kind,
    fields: &[FieldDiff],
    objects: &[ObjectDiff],
) {
    out.insert(format!("{at} {kind:?}"));
    for field in fields {
        let (name, kind) = (&field.name, field.r#type);
        out.insert(format!("{at}.{name} {kind:?} {}>{}", field.old, field.new));
    }
    for object in objects {
        let at = format!("{at}.{}", object.name);
        level(out, &at, object.r#type, &object.fields, &object.objects);
    }
}

fn mirrored(mut diff: JobDiff) -> JobDiff {
    fn turn(kind: &mut Kind) {
        *kind = match kind {
            Kind::Added => Kind::Deleted,
            Kind::Deleted => Kind::Added,
            Kind::Same | Kind::Edited => *kind,
        };
    }
    fn turn_all(fields: &mut [FieldDiff], objects: &mut [ObjectDiff]) {
        for field in fields {
            turn(&mut field.r#type);
            std::mem::swap(&mut field.old, &mut field.new);
        }
        for object in objects {
            turn(&mut object.r#type);
            turn_all(&mut object.fields, &mut object.objects);
        }
    }
    turn(&mut diff.r#type);
    turn_all(&mut diff.fields, &mut diff.objects);
    for group in &mut diff.task_groups {
        turn(&mut group.r#type);
        turn_all(&mut group.fields, &mut group.objects);
        for task in &mut group.tasks {
            turn(&mut task.r#type);
            turn_all(&mut task.fields, &mut task.objects);
        }
    }
    diff
}

/// One of the ways to make another job of a job.
fn change(job: &mut Job, what: u8, how: u8) {
    let text = how.to_string();
    let group = &mut job.task_groups[0];
    let task = &mut group.tasks[0];
    match what {
        0 => job.datacenters.push(text),
        1 => job.priority = i64::from(how),
        2 => group.count = Some(i64::from(how)),
        3 => group.name = text,
        4 => task.name = text,
        5 => task.env = BTreeMap::from([(text.clone(), text)]),
        6 => task.config = BTreeMap::from([("args".to_owned(), Value::List(vec![Value::Null]))]),
        7 => task.resources.cpu = i64::from(how),
        8 => task.resources.networks.push(Network {
            reserved_ports: vec![Port {
                label: text,
                value: u16::from(how),
                to: 0,
            }],
            ..Network::default()
        }),
        9 => task.services.push(Service {
            name: text.clone(),
            tags: vec![text.clone(), "t".to_owned()],
            checks: vec![ServiceCheck {
                name: text,
                ..ServiceCheck::default()
            }],
            ..Service::default()
        }),
        10 => task.services.clear(),
        11 => group.constraints.push(Constraint {
            left: text,
            ..Constraint::default()
        }),
        12 => group.reschedule_policy = None,
        13 => group.ephemeral_disk.size_mb = i64::from(how),
        14 => group.tasks.push(Task {
            name: text,
            ..Task::default()
        }),
        _ => job.task_groups.push(TaskGroup {
            name: text,
            ..TaskGroup::default()
        }),
    }
}

fn jobs() -> impl Strategy<Value = Job> {
    proptest::collection::vec((0..16u8, 0..3u8), 0..6).prop_map(|changes| {
        let mut job = service("web", 2);
        for (what, how) in changes {
            change(&mut job, what, how);
        }
        job
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_job_differs_in_nothing_from_itself(subject in jobs()) {
        let diff = job(Some(&subject), Some(&subject));
        prop_assert_eq!(diff.r#type, Kind::Same);
        prop_assert!(lines(&diff).iter().all(|line| line.ends_with("Same")), "{:?}", diff);
    }

    #[test]
    fn back_is_the_mirror_image_of_forth(old in jobs(), new in jobs()) {
        let forth = job(Some(&old), Some(&new));
        let back = job(Some(&new), Some(&old));
        prop_assert_eq!(lines(&back), lines(&mirrored(forth)));
        let gone = job(Some(&old), None);
        prop_assert_eq!(gone.r#type, Kind::Deleted);
        prop_assert_eq!(lines(&gone), lines(&mirrored(job(None, Some(&old)))));
    }

    #[test]
    fn jobs_that_ask_for_the_same_are_the_only_ones_without_a_difference(
        old in jobs(),
        new in jobs(),
    ) {
        let same = job(Some(&old), Some(&new)).r#type == Kind::Same;
        let set = |job: &Job| job.datacenters.iter().cloned().collect::<BTreeSet<_>>();
        let rest = |job: &Job| {
            let mut job = Job { datacenters: Vec::new(), ..job.clone() };
            job.task_groups.sort_by(|a, b| a.name.cmp(&b.name));
            job
        };
        // A name given twice is refused elsewhere.
        let names: BTreeSet<_> = [&old, &new]
            .into_iter()
            .flat_map(|job| &job.task_groups)
            .map(|group| &group.name)
            .collect();
        let unique = old.task_groups.len() == names.len() && new.task_groups.len() == names.len();
        if unique {
            prop_assert_eq!(same, set(&old) == set(&new) && rest(&old) == rest(&new));
        }
    }
}

fn annotations(job: &Job) -> (Vec<String>, BTreeMap<String, u64>) {
    let mut cluster = Cluster::of(2);
    cluster.run(&service("web", 2));
    cluster.settle();
    let run = dry_run(&cluster.store, job.clone(), cluster.now).expect("a dry run");
    let group = run.diff().task_groups.remove(0);
    (group.tasks[0].annotations.clone(), group.updates)
}

#[test]
fn each_change_tells_what_it_forces() {
    let web = service("web", 2);
    let kill_timeout = but(&web, |group| group.tasks[0].kill_timeout = Some(7));
    let more = but(&web, |group| group.count = Some(5));
    let fewer = but(&web, |group| group.count = Some(1));
    for (job, annotation, updates) in [
        (web.clone(), None, vec![("ignore", 2)]),
        (
            kill_timeout,
            Some("forces in-place update"),
            vec![("in-place update", 2)],
        ),
        (
            image(&web, "web:2"),
            Some("forces create/destroy update"),
            vec![("create/destroy update", 2)],
        ),
        (more, None, vec![("create", 3), ("in-place update", 2)]),
        (fewer, None, vec![("destroy", 1), ("in-place update", 1)]),
    ] {
        let (annotated, counted) = annotations(&job);
        assert_eq!(annotated, Vec::from_iter(annotation.map(str::to_owned)));
        let expected = updates
            .iter()
            .map(|(what, count)| ((*what).to_owned(), *count));
        assert_eq!(counted, expected.collect(), "{annotation:?}");
    }
}

#[test]
fn what_is_new_is_created_and_its_count_says_so_too() {
    let mut cluster = Cluster::of(1);
    let run = dry_run(&cluster.store, service("web", 2), cluster.now).expect("a dry run");
    let diff = run.diff();
    assert_eq!(diff.r#type, Kind::Added);
    let group = &diff.task_groups[0];
    assert_eq!(group.tasks[0].annotations, ["forces create"]);
    assert_eq!(group.fields[0].annotations, ["forces create"]);

    cluster.run(&service("web", 2));
    let two = but(&service("web", 2), |group| {
        let second = Task {
            name: "second".to_owned(),
            ..group.tasks[0].clone()
        };
        group.tasks.push(second);
    });
    let run = dry_run(&cluster.store, two, cluster.now).expect("a dry run");
    let tasks = &run.diff().task_groups[0].tasks;
    let second = tasks.iter().find(|task| task.r#type == Kind::Added);
    let second = second.expect("the new task");
    assert_eq!(second.annotations, ["forces create/destroy update"]);
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_has_no_room() {
    let mut cluster = Cluster::of(2);
    cluster.run(&service("web", 2));
    let before = cluster.store.clone();
    let big = memory(&service("big", 3), 3_000);
    let run = dry_run(&cluster.store, big, cluster.now).expect("a dry run");
    assert_eq!(cluster.store, before);
    let failed = &run.decision.done.failed_tg_allocs;
    assert_eq!(failed.len(), 1);
    let metric = failed.values().next().expect("one group");
    assert_eq!(metric.dimension_exhausted.get("memory"), Some(&2));
    assert_eq!(metric.reasons.len(), 2);
    let created: Vec<_> = run
        .created_evals()
        .map(|eval| eval.status.as_str())
        .collect();
    assert_eq!(created, ["blocked"]);
}

#[test]
fn a_dry_run_foresees_what_happens() {
    let jobs = [
        image(&service("web", 3), "web:2"),
        service("web", 5),
        on_port(&service("web", 3), 80),
        memory(&service("web", 3), 9_000),
    ];
    for job in jobs {
        let mut cluster = Cluster::of(3);
        cluster.run(&service("web", 3));
        cluster.settle();
        let run = dry_run(&cluster.store, job.clone(), cluster.now).expect("a dry run");
        cluster.submit(&job, None).expect("a job");
        let eval = cluster.due().remove(0);
        let snapshot = cluster.store.clone();
        let decision = cluster.decide(&snapshot, &eval);
        assert_eq!(run.decision.plan.annotations, decision.plan.annotations);
        let failed = run.decision.done.failed_tg_allocs;
        assert_eq!(failed, decision.done.failed_tg_allocs);
    }
}

#[test]
fn a_stopped_job_is_started_again() {
    let mut cluster = Cluster::of(1);
    cluster.run(&service("web", 1));
    cluster.stop("web", false);
    cluster.settle();
    let run = dry_run(&cluster.store, service("web", 1), Time::from_secs(9_999));
    let diff = run.expect("a dry run").diff();
    let stop = (diff.fields[0].name.as_str(), diff.fields[0].new.as_str());
    assert_eq!((diff.fields.len(), stop), (1, ("Stop", "false")));
    assert_eq!(diff.task_groups[0].r#type, Kind::Same);
    assert_eq!(
        diff.task_groups[0].updates,
        BTreeMap::from([("create".to_owned(), 1)])
    );
}

#[test]
fn what_there_is_none_of_is_null_in_the_api() {
    let web = service("web", 1);
    let json = serde_json::to_value(job(Some(&web), Some(&web))).expect("JSON");
    assert_eq!(json["Type"], "None");
    assert!(json["Fields"].is_null() && json["TaskGroups"][0]["Objects"].is_null());
    let back: JobDiff = serde_json::from_value(json).expect("a diff");
    assert_eq!(back, job(Some(&web), Some(&web)));
}

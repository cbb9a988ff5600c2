//! `job status` as the anchor prints it.

use std::collections::BTreeMap;

use logic::model::AllocMetric;

use super::super::golden;
use super::*;

fn facts() -> Option<Facts> {
    let mut allocs: Vec<AllocStub> =
        golden::answer("nomad-api/GET_job_httpbackend_allocations.json")?;
    newest_first(&mut allocs);
    Some(Facts {
        job: golden::answer("nomad-api/GET_job_httpbackend.json")?,
        summary: golden::answer("nomad-api/GET_job_httpbackend_summary.json")?,
        evals: golden::answer("nomad-api/GET_job_httpbackend_evaluations.json")?,
        allocs,
        deployment: None,
    })
}

#[test]
fn a_job_looks_as_the_anchor_shows_it() {
    let (Some(facts), Some(expected)) = (facts(), golden::output("45-httpbackend-2-status.out"))
    else {
        return;
    };
    // When that output was recorded, by its "13s ago".
    let recorded_at = Time(1_795_526_029_500_000_000);
    let text = Shown::default().render(&facts, recorded_at, false, Style::PLAIN);
    assert_eq!(text, expected);
}

#[test]
fn the_latest_deployment_is_shown_before_the_allocations() {
    let (Some(latest), Some(expected)) = (
        golden::answer("nomad-api/GET_deployment_ID.json"),
        golden::output("85-rolling-status-done.out"),
    ) else {
        return;
    };
    let facts = Facts {
        job: job(),
        deployment: Some(latest),
        ..Facts::default()
    };
    let text = Shown::default().render(&facts, Time(0), false, Style::PLAIN);
    let section = |text: &str| {
        let from = text.find("Latest Deployment").expect("the section");
        let to = text.find("\n\nAllocations\n").expect("the next one");
        text[from..to].to_owned()
    };
    assert_eq!(section(&text), section(&expected));
}

#[test]
fn all_jobs_look_as_the_anchor_shows_them() {
    let (Some(jobs), Some(expected)) = (
        golden::answer::<Vec<JobStub>>("nomad-api/GET_jobs.json"),
        golden::output("71-job-status-all.out"),
    ) else {
        return;
    };
    assert_eq!(render_list(&jobs), expected);
}

fn job() -> Job {
    Job {
        id: "big".to_owned(),
        name: "big".to_owned(),
        r#type: "service".to_owned(),
        datacenters: vec!["dc1".to_owned()],
        status: "pending".to_owned(),
        submit_time: 1_795_526_016_044_393_766,
        ..Job::default()
    }
}

fn eval(id: &str, status: &str) -> Evaluation {
    Evaluation {
        id: id.to_owned(),
        status: status.to_owned(),
        ..Evaluation::default()
    }
}

#[test]
fn what_waits_for_room_says_why_and_a_job_without_allocations_says_so() {
    let metric = AllocMetric {
        nodes_evaluated: 1,
        nodes_exhausted: 1,
        dimension_exhausted: BTreeMap::from([("memory".to_owned(), 1)]),
        ..AllocMetric::default()
    };
    let mut failed = eval("aaaaaaaa", "complete");
    failed.failed_tg_allocs.insert("g".to_owned(), metric);
    let facts = Facts {
        job: job(),
        evals: vec![eval("bbbbbbbb", "blocked"), failed],
        ..Facts::default()
    };
    let text = Shown::default().render(&facts, Time(0), false, Style::PLAIN);
    let expected = "\nPlacement Failure\nTask Group \"g\":\n  * Resources exhausted on 1 nodes\n  \
                    * Dimension \"memory\" exhausted on 1 nodes\n\nAllocations\n\
                    No allocations placed";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_failed_allocation_shows_when_it_is_placed_anew() {
    let mut next = eval("480d8532-0000", "pending");
    next.wait_until = Time::from_secs(1_000_000_009);
    let alloc = AllocStub {
        id: "3f84aa54-0000".to_owned(),
        task_group: "g".to_owned(),
        follow_up_eval_id: next.id.clone(),
        ..AllocStub::default()
    };
    let facts = Facts {
        job: job(),
        evals: vec![next],
        allocs: vec![alloc.clone(), alloc],
        ..Facts::default()
    };
    let now = Time::from_secs(1_000_000_000);
    let text = Shown::default().render(&facts, now, false, Style::PLAIN);
    let expected = "Future Rescheduling Attempts\nTask Group  Eval ID   Eval Time\n\
                    g           480d8532  9s from now\n\n";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_stopped_job_says_so() {
    let mut job = job();
    job.status = "dead".to_owned();
    job.stop = true;
    assert!(render_head(&job, false).contains("Status        = dead (stopped)"));
}

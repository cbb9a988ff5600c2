//! One job: why not all of it runs, its groups, its allocations, and how it came to be so.

use std::sync::Arc;

use logic::model::{Allocation, Evaluation, JOB_SYSTEM, Job, TaskGroup};
use logic::state::GroupSummary;
use logic::time::Time;
use maud::{Markup, html};

use super::elements::{
    Tone, ago, amount, columns, command, copy, count, facts, grouped, link, megabytes, pager,
    status, text, window,
};
use super::jobs::{alloc_table, eval_table, job_state};
use super::page::{Page, crumbs};
use super::place::Place;
use super::seen::{Asked, Seen};
use super::{deployments, troubles, versions};

/// Allocations on the job's own page.
const ALLOCS_SHOWN: usize = 25;
const EVALS_SHOWN: usize = 5;

pub(super) fn page(seen: &Seen, id: &str) -> Page {
    let Some(job) = seen.job(id) else {
        return missing(seen, id);
    };
    Page::new(job.id.clone())
        .with("head", head(seen, job, &Place::Job(job.id.clone())))
        .with("why", why(seen, job))
        .with("groups", groups(seen, job))
        .with("deployment", deployments::latest(seen, job))
        .with("allocs", current(seen, job))
        .with("evals", latest(seen, job))
        .with("commands", commands(job))
}

pub(super) fn missing(seen: &Seen, id: &str) -> Page {
    let left = seen.store.allocs_of_job(id).count();
    let hint = match left {
        0 => "It was never registered, or it was purged.".to_owned(),
        _ => format!(
            "It was purged; {} of it can still be looked at: search for their ids.",
            count(left, "allocation", "allocations")
        ),
    };
    Page::missing(&format!("There is no job \u{201c}{id}\u{201d}."), &hint)
}

pub(super) fn head(seen: &Seen, job: &Job, here: &Place) -> Markup {
    let found = troubles::of_job(&seen.store, job);
    let tabs = [
        ("Overview", Place::Job(job.id.clone())),
        ("Allocations", Place::JobAllocations(job.id.clone())),
        ("Deployments", Place::JobDeployments(job.id.clone())),
        ("Versions", Place::JobVersions(job.id.clone())),
        ("Evaluations", Place::JobEvaluations(job.id.clone())),
        ("Definition", Place::JobDefinition(job.id.clone())),
    ];
    html! {
        (crumbs(&[("Jobs", Place::Jobs)]))
        div.title {
            h1 { (job.id) }
            (job_state(job, &found))
            (copy(&job.id, "the job's id"))
        }
        (facts(&[
            ("Type", text(&job.r#type)),
            ("Version", text(&job.version.to_string())),
            ("Priority", text(&job.priority.to_string())),
            ("Datacenters", text(&job.datacenters.join(", "))),
            ("Submitted", ago(Time(job.submit_time), seen.now)),
        ]))
        nav.tabs aria-label="Of this job" {
            @for (name, place) in &tabs {
                a href=(place.href()) aria-current=[(place == here).then_some("page")] { (name) }
            }
        }
    }
}

/// Why not all of it runs; nothing if all does.
fn why(seen: &Seen, job: &Job) -> Markup {
    let found = troubles::of_job(&seen.store, job);
    let failing = |trouble: &troubles::Trouble| {
        trouble.tone == Tone::Bad && matches!(trouble.place, Place::Job(_))
    };
    let heading = if found.iter().any(failing) {
        "Why it isn't all running"
    } else {
        "Needs attention"
    };
    html! {
        @if !found.is_empty() {
            section.attention aria-labelledby="why" {
                h2 #why { (heading) }
                (troubles::list(&found, false, seen.now))
            }
        }
    }
}

fn groups(seen: &Seen, job: &Job) -> Markup {
    let summary = seen.store.job_summary(job).summary;
    let none = GroupSummary::default();
    html! {
        section aria-labelledby="groups" {
            h2 #groups { "Groups" }
            div.scroll {
                table.rows {
                    (columns(&[
                        "Group", "Wanted", "Running", "Starting", "Queued", "Failed", "Lost",
                        "Complete", "Each takes",
                    ]))
                    tbody {
                        @for group in &job.task_groups {
                            (group_row(seen, job, group, summary.get(&group.name).unwrap_or(&none)))
                        }
                    }
                }
            }
        }
    }
}

fn group_row(seen: &Seen, job: &Job, group: &TaskGroup, counts: &GroupSummary) -> Markup {
    let takes = group.resources();
    // Those that were replaced are history.
    let ended = if troubles::ails(&seen.store, job, &group.name) {
        Tone::Bad
    } else {
        Tone::Idle
    };
    let wanted = match (job.stop, job.r#type == JOB_SYSTEM) {
        (true, _) => "0".to_owned(),
        (false, true) => "every client".to_owned(),
        (false, false) => grouped(group.desired_count()),
    };
    let number = |tone: Tone, number: i64| {
        html! {
            @if number == 0 { span.dim { "0" } } @else { (status(tone, &amount(number))) }
        }
    };
    html! {
        tr data-key={ "g-" (group.name) } {
            td data-l="Group" { strong { (group.name) } }
            td data-l="Wanted" { (wanted) }
            td data-l="Running" { (number(Tone::Ok, counts.running)) }
            td data-l="Starting" { (number(Tone::Busy, counts.starting)) }
            td data-l="Queued" { (number(Tone::Bad, counts.queued)) }
            td data-l="Failed" { (number(ended, counts.failed)) }
            td data-l="Lost" { (number(ended, counts.lost + counts.unknown)) }
            td data-l="Complete" { (number(Tone::Idle, counts.complete)) }
            td data-l="Each takes" {
                (amount(takes.cpu)) " MHz, " (megabytes(takes.memory_mb)) ", "
                (megabytes(takes.disk_mb)) " disk"
            }
        }
    }
}

/// Those that should run and those that live first; the newest first among both.
fn sorted<'a>(seen: &'a Seen, job: &Job) -> Vec<&'a Arc<Allocation>> {
    let mut allocs: Vec<_> = seen.store.allocs_of_job(&job.id).collect();
    let replaced = |alloc: &Allocation| !alloc.next_allocation.is_empty();
    allocs.sort_by_key(|alloc| {
        let past = alloc.terminal() && (alloc.server_terminal() || replaced(alloc));
        (
            past,
            std::cmp::Reverse(alloc.create_index),
            alloc.name.clone(),
            alloc.id.clone(),
        )
    });
    allocs
}

fn current(seen: &Seen, job: &Job) -> Markup {
    let allocs = sorted(seen, job);
    let shown = &allocs[..allocs.len().min(ALLOCS_SHOWN)];
    let all = format!("All {} allocations", grouped(allocs.len()));
    html! {
        section aria-labelledby="allocs" {
            h2 #allocs { "Allocations" }
            @if allocs.is_empty() { p.dim { "None yet." } }
            @else { (alloc_table(seen, shown, true)) }
            @if allocs.len() > shown.len() {
                p { (link(&Place::JobAllocations(job.id.clone()), &all)) }
            }
        }
    }
}

fn latest(seen: &Seen, job: &Job) -> Markup {
    let evals = evals(seen, job);
    let shown = &evals[..evals.len().min(EVALS_SHOWN)];
    html! {
        section aria-labelledby="evals" {
            h2 #evals { "Latest evaluations" }
            @if evals.is_empty() { p.dim { "None is kept any more." } }
            @else { (eval_table(seen, shown)) }
        }
    }
}

/// The newest first.
fn evals<'a>(seen: &'a Seen, job: &Job) -> Vec<&'a Arc<Evaluation>> {
    let mut evals: Vec<_> = seen.store.evals_of_job(&job.id).collect();
    evals.sort_by_key(|eval| std::cmp::Reverse((eval.create_index, eval.id.clone())));
    evals
}

fn commands(job: &Job) -> Markup {
    html! {
        section aria-labelledby="commands" {
            h2 #commands { "At a terminal" }
            ul.commands {
                @for line in ["job status", "job why", "job stop"] {
                    li { (command(&format!("drover {line} {}", quoted(&job.id)))) }
                }
            }
        }
    }
}

/// A word as a shell takes it.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./@:=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

pub(super) fn allocations(seen: &Seen, asked: &Asked, id: &str) -> Page {
    let Some(job) = seen.job(id) else {
        return missing(seen, id);
    };
    let allocs = sorted(seen, job);
    let shown = &allocs[window(asked, allocs.len())];
    let list = html! {
        section aria-labelledby="allocs" {
            h2 #allocs { "Allocations " span.dim { (grouped(allocs.len())) } }
            @if allocs.is_empty() { p.dim { "None yet." } }
            @else { (alloc_table(seen, shown, true)) }
            (pager(asked, allocs.len(), &[]))
        }
    };
    Page::new(format!("Allocations of {}", job.id))
        .with("head", head(seen, job, &asked.place))
        .with("list", list)
}

pub(super) fn evaluations(seen: &Seen, asked: &Asked, id: &str) -> Page {
    let Some(job) = seen.job(id) else {
        return missing(seen, id);
    };
    let evals = evals(seen, job);
    let shown = &evals[window(asked, evals.len())];
    let list = html! {
        section aria-labelledby="evals" {
            h2 #evals { "Evaluations " span.dim { (grouped(evals.len())) } }
            @if evals.is_empty() { p.dim { "None is kept any more." } }
            @else { (eval_table(seen, shown)) }
            (pager(asked, evals.len(), &[]))
        }
    };
    Page::new(format!("Evaluations of {}", job.id))
        .with("head", head(seen, job, &asked.place))
        .with("list", list)
}

pub(super) fn history(seen: &Seen, asked: &Asked, id: &str) -> Page {
    let Some(job) = seen.job(id) else {
        return missing(seen, id);
    };
    Page::new(format!("Versions of {}", job.id))
        .with("head", head(seen, job, &asked.place))
        .with("list", versions::list(seen, job))
}

pub(super) fn definition(seen: &Seen, asked: &Asked, id: &str) -> Page {
    let Some(job) = seen.job(id) else {
        return missing(seen, id);
    };
    let json = serde_json::to_string_pretty(&super::super::json::job(job)).unwrap_or_default();
    let body = html! {
        section aria-labelledby="definition" {
            h2 #definition { "Definition " (copy(&json, "the definition")) }
            p.dim {
                "Version " (job.version) " as the API has it, with what was left out filled in."
            }
            pre.code tabindex="0" { code { (json) } }
        }
    };
    Page::new(format!("Definition of {}", job.id))
        .with("head", head(seen, job, &asked.place))
        .with("list", body)
}

/// One evaluation: why it was, and what it came to.
pub(super) fn evaluation(seen: &Seen, id: &str) -> Page {
    let Some(eval) = seen.eval(id) else {
        return Page::missing(
            &format!("There is no evaluation \u{201c}{id}\u{201d}."),
            "Finished ones are forgotten after a while.",
        );
    };
    let at = |id: &str| Place::Evaluation(id.to_owned());
    let head = html! {
        (crumbs(&[("Jobs", Place::Jobs), (eval.job_id.as_str(), Place::Job(eval.job_id.clone()))]))
        div.title {
            h1 { "Evaluation " (super::elements::short(&eval.id)) }
            (super::elements::state(&eval.status))
            (copy(&eval.id, "the evaluation's id"))
        }
        (facts(&[
            ("Triggered by", text(&eval.triggered_by)),
            ("Priority", text(&eval.priority.to_string())),
            ("Created", ago(Time(eval.create_time), seen.now)),
            ("Changed", ago(Time(eval.modify_time), seen.now)),
        ]))
        @if !eval.status_description.is_empty() { p { (eval.status_description) } }
        @for (word, id) in [
            ("Before it", &eval.previous_eval),
            ("After it", &eval.next_eval),
            ("Waits for room", &eval.blocked_eval),
        ] {
            @if !id.is_empty() { p { (word) ": " (super::elements::id_link(&at(id), id)) } }
        }
    };
    let unplaced = eval.failed_tg_allocs.iter();
    let found: Vec<_> = unplaced
        .map(|(group, metric)| troubles::Trouble {
            tone: Tone::Bad,
            place: Place::Job(eval.job_id.clone()),
            subject: eval.job_id.clone(),
            says: troubles::placement(group, metric),
            since: None,
            reasons: troubles::reasons(&seen.store, metric),
        })
        .collect();
    let why = html! {
        @if !found.is_empty() { section.attention { h2 { "Without a place" } (troubles::list(&found, false, seen.now)) } }
        @else if eval.status == "complete" {
            p.dim { "It found a place for everything it was asked to place." }
        }
        @else if eval.wait_until > seen.now {
            p.dim { "The scheduler looks at it " (ago(eval.wait_until, seen.now)) "." }
        }
    };
    Page::new(format!("Evaluation {}", super::elements::short(&eval.id)))
        .with("head", head)
        .with("why", why)
}

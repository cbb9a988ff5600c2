//! The list of jobs, and how allocations look in lists.

use std::sync::Arc;

use logic::model::{Allocation, JOB_SYSTEM, Job, TaskEvent};
use logic::state::GroupSummary;
use logic::time::Time;
use maud::{Markup, html};

use super::deployments;
use super::elements::{
    Tone, ago, bar, columns, command, count, id_link, link, pager, short, state, status, window,
};
use super::page::Page;
use super::place::Place;
use super::seen::{Asked, Seen};
use super::troubles::{self, Trouble};

/// What the list can be narrowed to.
const STATUSES: [(&str, &str); 4] = [
    ("", "Any status"),
    ("running", "Running"),
    ("pending", "Pending"),
    ("dead", "Dead"),
];

pub(super) fn page(seen: &Seen, asked: &Asked) -> Page {
    let jobs = wanted(seen, asked);
    let title = h1_and_filter(seen, asked, jobs.len());
    Page::new("Jobs")
        .with("head", title)
        .with("list", list(seen, asked, &jobs))
}

fn wanted<'a>(seen: &'a Seen, asked: &Asked) -> Vec<&'a Arc<Job>> {
    let text = asked.query.get("q").unwrap_or_default().to_lowercase();
    let status = asked.query.get("status");
    let jobs = seen.store.jobs().filter(|job| {
        status.is_none_or(|status| job.status == status) && job.id.to_lowercase().contains(&text)
    });
    jobs.collect()
}

fn h1_and_filter(seen: &Seen, asked: &Asked, found: usize) -> Markup {
    let all = seen.store.jobs().count();
    let chosen = asked.query.get("status").unwrap_or_default();
    let text = asked.query.get("q").unwrap_or_default();
    html! {
        div.title {
            h1 { "Jobs" }
            span.dim {
                @if found == all { (count(all, "job", "jobs")) }
                @else { (found) " of " (count(all, "job", "jobs")) }
            }
        }
        form.filter action=(Place::Jobs.href()) method="get" {
            label { span.hidden { "Name contains" }
                input type="search" name="q" value=(text) placeholder="Name contains"
                    autocomplete="off" spellcheck="false";
                }
            label { span.hidden { "Status" }
                select name="status" {
                    @for (value, name) in STATUSES {
                        option value=(value) selected[value == chosen] { (name) }
                    }
                }
            }
            button type="submit" { "Show" }
        }
    }
}

fn list(seen: &Seen, asked: &Asked, jobs: &[&Arc<Job>]) -> Markup {
    let shown = &jobs[window(asked, jobs.len())];
    html! {
        @if jobs.is_empty() {
            section.empty {
                @if seen.store.jobs().next().is_none() {
                    p { "There is no job yet. Run one: " (command("drover job run FILE")) }
                } @else {
                    p { "No job is like that. " (link(&Place::Jobs, "Show all")) }
                }
            }
        } @else {
            div.scroll {
                table.rows {
                    (columns(&["Job", "Status", "Type", "Allocations", "Version", "Submitted"]))
                    tbody { @for job in shown { (row(seen, job)) } }
                }
            }
            (pager(asked, jobs.len(), &["q", "status"]))
        }
    }
}

fn row(seen: &Seen, job: &Job) -> Markup {
    let troubles = troubles::of_job(&seen.store, job);
    let sum = sum(&seen
        .store
        .job_summary(job)
        .summary
        .into_values()
        .collect::<Vec<_>>());
    html! {
        tr data-key={ "j-" (job.id) } {
            td data-l="Job" {
                strong { (link(&Place::Job(job.id.clone()), &job.id)) }
                @for trouble in troubles.iter().take(2) {
                    p class={ "why " (trouble.tone.class()) } { (trouble.says) }
                }
                @if let Some(rolled_out) = deployments::under_way(seen, job) {
                    p.why.busy { (rolled_out) }
                }
            }
            td data-l="Status" { (job_state(job, &troubles)) }
            td data-l="Type" { (job.r#type) }
            td data-l="Allocations" { (allocations(job, &sum)) }
            td.number data-l="Version" { (job.version) }
            td data-l="Submitted" { (ago(Time(job.submit_time), seen.now)) }
        }
    }
}

/// All groups of a job together.
pub(super) fn sum(groups: &[GroupSummary]) -> GroupSummary {
    groups
        .iter()
        .fold(GroupSummary::default(), |sum, group| GroupSummary {
            queued: sum.queued + group.queued,
            complete: sum.complete + group.complete,
            failed: sum.failed + group.failed,
            running: sum.running + group.running,
            starting: sum.starting + group.starting,
            lost: sum.lost + group.lost,
            unknown: sum.unknown + group.unknown,
        })
}

/// The API's word for a job's status, in the colour of how it really is.
pub(super) fn job_state(job: &Job, troubles: &[Trouble]) -> Markup {
    let worst = troubles.iter().map(|trouble| trouble.tone).min();
    let word = if job.stop && job.status == "dead" {
        "dead (stopped)"
    } else {
        &job.status
    };
    status(worst.unwrap_or(Tone::of(&job.status)), word)
}

/// How many allocations of a job run, of how many.
fn allocations(job: &Job, sum: &GroupSummary) -> Markup {
    let wanted: usize = job
        .task_groups
        .iter()
        .map(logic::model::TaskGroup::desired_count)
        .sum();
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    let wanted = match (job.stop, job.r#type == JOB_SYSTEM) {
        (true, _) => 0,
        (false, true) => sum.running + sum.starting + sum.queued,
        (false, false) => wanted,
    };
    // Of a service it is history; of a batch job it is what was asked for.
    let done = if job.r#type == "batch" || wanted == 0 {
        sum.complete
    } else {
        0
    };
    let missing = wanted - sum.running - sum.starting - sum.unknown - done;
    html! {
        span.amount {
            (bar(&[
                (Tone::Ok, sum.running),
                (Tone::Busy, sum.starting),
                (Tone::Warn, sum.unknown),
                (if wanted == 0 { Tone::Idle } else { Tone::Ok }, done),
                (Tone::Bad, missing.max(0)),
            ]))
            @if job.r#type == "batch" && sum.complete > 0 {
                span {
                    (sum.complete) " complete"
                    @if sum.running > 0 { ", " (sum.running) " running" }
                }
            } @else {
                span { (sum.running) "/" (wanted) " running" }
            }
        }
    }
}

/// How an allocation is: the node's word, and the servers' where they want something else.
pub(super) fn alloc_state(alloc: &Allocation) -> Markup {
    let tone = match troubles::ailment(alloc) {
        Some((tone, _)) => tone,
        None if alloc.terminal() && alloc.client_status != "failed" => Tone::Idle,
        None => Tone::of(&alloc.client_status),
    };
    let stopping = alloc.server_terminal() && !alloc.client_terminal();
    html! {
        (status(tone, &alloc.client_status))
        @if stopping { " " span.dim { "stopping" } }
        @if let Some(health) = &alloc.deployment_status {
            @if health.canary { " " span.dim { "canary" } }
            @match health.healthy {
                Some(true) if !alloc.terminal() => { " " span.dim { "healthy" } }
                Some(false) => { " " (status(Tone::Bad, "unhealthy")) }
                Some(true) | None => {}
            }
        }
    }
}

/// The newest thing that happened to any of its tasks.
pub(super) fn last_event(alloc: &Allocation) -> &str {
    let events = alloc.task_states.values().flat_map(|state| &state.events);
    let said = |event: &TaskEvent| event.time;
    match events.max_by_key(|event| said(event)) {
        Some(event) if event.display_message.is_empty() => &event.r#type,
        Some(event) => &event.display_message,
        None => "",
    }
}

/// A table of allocations; with `jobs` it names the job rather than the group.
pub(super) fn alloc_table(seen: &Seen, allocs: &[&Arc<Allocation>], of_job: bool) -> Markup {
    html! {
        div.scroll {
            table.rows {
                thead { tr {
                    th { "Allocation" }
                    th { @if of_job { "Group" } @else { "Name" } }
                    @if of_job { th { "Client" } }
                    th { "Status" } th { "Version" } th { "Restarts" } th { "Changed" }
                    th { "Last event" } th { "Logs" }
                } }
                tbody { @for alloc in allocs { (alloc_row(seen, alloc, of_job)) } }
            }
        }
    }
}

fn alloc_row(seen: &Seen, alloc: &Allocation, of_job: bool) -> Markup {
    let restarts: u64 = alloc.task_states.values().map(|state| state.restarts).sum();
    let number = alloc
        .index()
        .map_or(String::new(), |index| format!("[{index}]"));
    html! {
        tr data-key={ "a-" (alloc.id) } {
            td data-l="Allocation" { (id_link(&Place::Allocation(alloc.id.clone()), &alloc.id)) }
            @if of_job {
                td data-l="Group" { (alloc.task_group) (number) }
                td data-l="Client" {
                    (link(&Place::Client(alloc.node_id.clone()), &alloc.node_name))
                }
            } @else {
                td data-l="Name" { (link(&Place::Job(alloc.job_id.clone()), &alloc.name)) }
            }
            td data-l="Status" { (alloc_state(alloc)) }
            td.number data-l="Version" { (alloc.job_version()) }
            td.number data-l="Restarts" { (restarts) }
            td data-l="Changed" { (ago(Time(alloc.modify_time), seen.now)) }
            td data-l="Last event" { span.said { (last_event(alloc)) } }
            td data-l="Logs" { (log_links(alloc)) }
        }
    }
}

/// A link to the output of each task, in one click.
fn log_links(alloc: &Allocation) -> Markup {
    let tasks: Vec<&String> = alloc.task_states.keys().collect();
    let one = tasks.len() == 1;
    html! {
        span.links {
            @for task in tasks {
                @let place = Place::Logs { alloc: alloc.id.clone(), task: task.clone() };
                a href=(place.href()) aria-label={ "Logs of " (task) " in " (short(&alloc.id)) } {
                    @if one { "logs" } @else { (task) }
                }
            }
        }
    }
}

/// A table of evaluations, as on a job's page.
pub(super) fn eval_table(seen: &Seen, evals: &[&Arc<logic::model::Evaluation>]) -> Markup {
    html! {
        div.scroll {
            table.rows {
                (columns(&["Evaluation", "Triggered by", "Status", "Placement", "Created"]))
                tbody {
                    @for eval in evals {
                        @let unplaced: i64 = eval.queued_allocations.values().sum();
                        tr data-key={ "e-" (eval.id) } {
                            td data-l="Evaluation" {
                                (id_link(&Place::Evaluation(eval.id.clone()), &eval.id))
                            }
                            td data-l="Triggered by" { (eval.triggered_by) }
                            td data-l="Status" { (state(&eval.status)) }
                            td data-l="Placement" {
                                @if !eval.failed_tg_allocs.is_empty() {
                                    (status(Tone::Bad, &format!("{unplaced} without a place")))
                                }
                                @else if eval.status == "complete" {
                                    span.dim { "all placed" }
                                }
                                @else if eval.wait_until > seen.now {
                                    span.dim { "due " (ago(eval.wait_until, seen.now)) }
                                }
                                @else { span.dim { "none" } }
                            }
                            td data-l="Created" { (ago(Time(eval.create_time), seen.now)) }
                        }
                    }
                }
            }
        }
    }
}

//! A job's deployments: how far each version was rolled out, and what it waits for.

use logic::model::{Deployment, DeploymentState, Job};
use logic::time::Time;
use maud::{Markup, html};

use super::elements::{Tone, ago, bar, columns, command, copy, short, status};
use super::job::{head, missing};
use super::page::Page;
use super::seen::{Asked, Seen};

pub(super) fn page(seen: &Seen, asked: &Asked, id: &str) -> Page {
    let Some(job) = seen.job(id) else {
        return missing(seen, id);
    };
    let all = seen.store.deployments_of_job(&job.id);
    let list = html! {
        section aria-labelledby="deployments" {
            h2 #deployments { "Deployments " span.dim { (all.len()) } }
            @if all.is_empty() {
                p.dim {
                    "None: a job with an " code { "update" } " block is rolled out a few "
                    "allocations at a time."
                }
            }
            @for deployment in all { (card(seen, deployment)) }
        }
    };
    Page::new(format!("Deployments of {}", job.id))
        .with("head", head(seen, job, &asked.place))
        .with("list", list)
}

/// The newest one, on the job's own page.
pub(super) fn latest(seen: &Seen, job: &Job) -> Markup {
    let all = seen.store.deployments_of_job(&job.id);
    html! {
        @if let Some(deployment) = all.first() {
            section aria-labelledby="deployment" {
                h2 #deployment { "Latest deployment" }
                (card(seen, deployment))
            }
        }
    }
}

/// How far the newest version is, while it is being rolled out and nobody has to do anything.
pub(super) fn under_way(seen: &Seen, job: &Job) -> Option<String> {
    let deployment = seen.store.deployment_of(job)?;
    if !deployment.running() || deployment.requires_promotion() {
        return None;
    }
    let states = || deployment.task_groups.values();
    let healthy: u64 = states().map(|state| state.healthy_allocs).sum();
    let wanted: u64 = states().map(|state| state.desired_total).sum();
    let version = deployment.job_version;
    Some(format!(
        "Version {version} is being rolled out: {healthy} of {wanted} healthy"
    ))
}

fn tone(deployment: &Deployment) -> Tone {
    match deployment.status.as_str() {
        "running" if deployment.requires_promotion() => Tone::Warn,
        "running" => Tone::Busy,
        "paused" => Tone::Warn,
        "failed" => Tone::Bad,
        "successful" => Tone::Ok,
        _ => Tone::Idle,
    }
}

fn card(seen: &Seen, deployment: &Deployment) -> Markup {
    html! {
        div.card data-key={ "d-" (deployment.id) } {
            p.line {
                (status(tone(deployment), &deployment.status))
                span { "Version " (deployment.job_version) }
                span.nowrap {
                    code title=(deployment.id) { (short(&deployment.id)) }
                    (copy(&deployment.id, "the deployment's id"))
                }
                span.dim { "begun " (ago(Time(deployment.create_time), seen.now)) }
                span { (deployment.status_description) }
            }
            div.scroll {
                table.rows {
                    (columns(&[
                        "Group", "Healthy", "Placed", "Unhealthy", "Canaries", "Progress due",
                    ]))
                    tbody {
                        @for (group, state) in &deployment.task_groups {
                            (group_row(seen, deployment, group, state))
                        }
                    }
                }
            }
            @if deployment.active() { (commands(deployment)) }
        }
    }
}

fn group_row(seen: &Seen, of: &Deployment, group: &str, state: &DeploymentState) -> Markup {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let rest = state
        .desired_total
        .saturating_sub(state.healthy_allocs + state.unhealthy_allocs);
    // One that was lost or stopped has a successor.
    let living = |id: &&String| seen.store.alloc(id).is_some_and(|one| !one.terminal());
    let canaries = state.placed_canaries.iter().flatten();
    let placed = canaries.filter(living).count();
    let due = of.active() && state.lacks_health() && !state.require_progress_by.is_never();
    html! {
        tr data-key={ "dg-" (group) } {
            td data-l="Group" { strong { (group) } }
            td data-l="Healthy" {
                span.amount {
                    (bar(&[
                        (Tone::Ok, number(state.healthy_allocs)),
                        (Tone::Bad, number(state.unhealthy_allocs)),
                        (Tone::Idle, number(rest)),
                    ]))
                    span { (state.healthy_allocs) "/" (state.desired_total) " healthy" }
                }
            }
            td data-l="Placed" { (state.placed_allocs) }
            td data-l="Unhealthy" {
                @if state.unhealthy_allocs == 0 { span.dim { "0" } }
                @else { (status(Tone::Bad, &state.unhealthy_allocs.to_string())) }
            }
            td data-l="Canaries" {
                @if state.desired_canaries == 0 { span.dim { "none" } }
                @else if state.promoted { (state.desired_canaries) ", promoted" }
                @else { (placed) " of " (state.desired_canaries) " placed, not promoted" }
            }
            td data-l="Progress due" {
                @if due { (ago(state.require_progress_by, seen.now)) }
                @else { span.dim { "not due" } }
            }
        }
    }
}

fn commands(deployment: &Deployment) -> Markup {
    let id = short(&deployment.id);
    html! {
        ul.commands {
            @if deployment.requires_promotion() {
                li { (command(&format!("drover deployment promote {id}"))) }
            }
            li { (command(&format!("drover deployment fail {id}"))) }
        }
    }
}

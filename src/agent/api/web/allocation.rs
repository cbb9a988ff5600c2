//! One allocation: how its tasks fare, what happened to them, their checks, ports and resources.

use logic::catalog::Instance;
use logic::model::{
    AllocMetric, Allocation, CLIENT_LOST, Resources, TASK_RUNNING, Task, TaskEvent, TaskState,
};
use logic::time::Time;
use maud::{Markup, html};
use serde_json::Value;

use super::elements::{
    Tone, ago, ago_at, amount, columns, command, copy, facts, gauge, id_link, link, megabytes,
    short, state, status, text,
};
use super::job::quoted;
use super::jobs::alloc_state;
use super::page::{Page, crumbs};
use super::place::Place;
use super::seen::Seen;
use super::services::checks_table;
use super::troubles;

pub(super) fn page(seen: &Seen, id: &str) -> Page {
    let Some(alloc) = seen.alloc(id) else {
        return missing(id);
    };
    let page = Page::new(format!("{} {}", alloc.name, short(&alloc.id)))
        .with("head", head(seen, alloc))
        .with("why", why(seen, alloc))
        .with("tasks", tasks(seen, alloc));
    page.with("ports", ports(seen, alloc))
        .with("checks", checks(seen, alloc))
        .with("events", events(seen, alloc))
        .with("placement", placement(seen, alloc))
        .with("commands", commands(alloc))
}

pub(super) fn missing(id: &str) -> Page {
    let what = format!("There is no allocation \u{201c}{id}\u{201d}.");
    Page::missing(
        &what,
        "Those that ended are forgotten after a while; prefixes must be unique.",
    )
}

pub(super) fn head(seen: &Seen, alloc: &Allocation) -> Markup {
    let job = Place::Job(alloc.job_id.clone());
    let client = Place::Client(alloc.node_id.clone());
    let mut told = vec![
        ("Job", link(&job, &alloc.job_id)),
        ("Group", text(&alloc.task_group)),
        ("Client", link(&client, &alloc.node_name)),
        ("Version", text(&alloc.job_version().to_string())),
        ("Wanted", text(&alloc.desired_status)),
        ("Created", ago(Time(alloc.create_time), seen.now)),
        ("Changed", ago(Time(alloc.modify_time), seen.now)),
    ];
    for (name, id) in [
        ("Replaces", &alloc.previous_allocation),
        ("Replaced by", &alloc.next_allocation),
    ] {
        if !id.is_empty() {
            told.push((name, id_link(&Place::Allocation(id.clone()), id)));
        }
    }
    html! {
        (crumbs(&[("Jobs", Place::Jobs), (alloc.job_id.as_str(), job)]))
        div.title {
            h1 { (alloc.name) }
            (alloc_state(alloc))
        }
        p.id { code { (alloc.id) } (copy(&alloc.id, "the allocation's id")) }
        (facts(&told))
        @if !alloc.desired_description.is_empty() {
            p.dim { "Servers: " (alloc.desired_description) }
        }
        @if !alloc.client_description.is_empty() { p.dim { "Client: " (alloc.client_description) } }
    }
}

fn why(seen: &Seen, alloc: &Allocation) -> Markup {
    let ailment = troubles::ailment(alloc);
    let follow_up = seen.store.eval(&alloc.follow_up_eval_id);
    html! {
        @if let Some((tone, says)) = ailment {
            section.attention {
                h2 { "Why it isn't running" }
                ul.troubles { li class=(tone.class()) {
                    p.says { (status(tone, "problem")) " " (says) }
                    @if let Some(eval) = follow_up.filter(|eval| !eval.terminal()) {
                        p { "It will be replaced " (ago(eval.wait_until, seen.now)) "." }
                    }
                } }
            }
        }
    }
}

/// The group's tasks in the job's order; those only the node knows of at the end.
fn each_task(alloc: &Allocation) -> Vec<(&str, Option<&Task>, Option<&TaskState>)> {
    let group = alloc.group();
    let mut tasks: Vec<_> = group
        .iter()
        .flat_map(|group| &group.tasks)
        .map(|task| {
            (
                task.name.as_str(),
                Some(task),
                alloc.task_states.get(&task.name),
            )
        })
        .collect();
    let unknown = |name: &str| group.is_none_or(|group| group.task(name).is_none());
    let others = alloc.task_states.iter().filter(|(name, _)| unknown(name));
    tasks.extend(others.map(|(name, state)| (name.as_str(), None, Some(state))));
    tasks
}

fn tasks(seen: &Seen, alloc: &Allocation) -> Markup {
    html! {
        section aria-labelledby="tasks" {
            h2 #tasks { "Tasks" }
            div.scroll {
                table.rows {
                    (columns(&[
                        "Task", "State", "Driver", "Restarts", "Started", "CPU", "Memory",
                        "Logs",
                    ]))
                    tbody {
                        @for (name, task, state) in each_task(alloc) {
                            (task_row(seen, alloc, name, task, state))
                        }
                    }
                }
            }
            @let mut states = alloc.task_states.values();
            @if alloc.client_status == CLIENT_LOST {
                p.dim { "This is what the client said before it was lost." }
            } @else if seen.usage.is_none() && states.any(|state| state.state == TASK_RUNNING) {
                p.dim { "The client doesn't tell how much is used; what is reserved is shown." }
            }
        }
    }
}

fn task_row(
    seen: &Seen,
    alloc: &Allocation,
    name: &str,
    task: Option<&Task>,
    state: Option<&TaskState>,
) -> Markup {
    let given = alloc
        .task_resources
        .get(name)
        .or(task.map(|task| &task.resources));
    let (cpu, memory) = used(seen, name);
    let given = given.cloned().unwrap_or_default();
    let output = |stream: &str| {
        let place = Place::Logs {
            alloc: alloc.id.clone(),
            task: name.to_owned(),
        };
        format!("{}?type={stream}", place.href())
    };
    html! {
        tr data-key={ "t-" (name) } {
            td data-l="Task" { strong { (name) } }
            td data-l="State" {
                @if alloc.client_status == CLIENT_LOST {
                    (status(Tone::Idle, state.map_or("pending", |state| &state.state)))
                } @else {
                    (task_state(state))
                }
            }
            td data-l="Driver" { (task.map_or("", |task| &task.driver)) }
            td.number data-l="Restarts" { (state.map_or(0, |state| state.restarts)) }
            td data-l="Started" {
                (ago(state.map_or(Time::NEVER, |state| state.started_at), seen.now))
            }
            td data-l="CPU" { (cpu_gauge(cpu, &given)) }
            td data-l="Memory" { (memory_gauge(memory, &given)) }
            td data-l="Logs" {
                @if state.is_some() {
                    span.links {
                        a href=(output("stdout")) { "stdout" }
                        a href=(output("stderr")) { "stderr" }
                    }
                } @else { span.dim { "none yet" } }
            }
        }
    }
}

fn task_state(task: Option<&TaskState>) -> Markup {
    match task {
        None => state("pending"),
        Some(task) if task.failed => status(Tone::Bad, &format!("{} (failed)", task.state)),
        Some(task) if task.successful() => status(Tone::Idle, "dead (done)"),
        Some(task) => state(&task.state),
    }
}

/// MHz and MB that a task uses.
fn used(seen: &Seen, task: &str) -> (Option<i64>, Option<i64>) {
    let usage = |path: &str| {
        let tasks = seen.usage.as_ref()?.get("Tasks")?.get(task)?;
        tasks.pointer(path)?.as_f64()
    };
    let cpu = usage("/ResourceUsage/CpuStats/TotalTicks").map(whole);
    let memory = usage("/ResourceUsage/MemoryStats/RSS").map(|bytes| whole(bytes / 1_048_576.0));
    (cpu, memory)
}

#[expect(clippy::cast_possible_truncation, reason = "a measure for people")]
pub(super) fn whole(number: f64) -> i64 {
    number.round() as i64
}

fn cpu_gauge(used: Option<i64>, given: &Resources) -> Markup {
    let Some(used) = used else {
        return html! { (amount(given.cpu)) " MHz" };
    };
    let words = format!("{} of {} MHz", amount(used), amount(given.cpu));
    gauge(used, given.cpu, &words)
}

fn memory_gauge(used: Option<i64>, given: &Resources) -> Markup {
    let Some(used) = used else {
        return html! { (megabytes(given.memory_mb)) };
    };
    let words = format!("{} of {}", amount(used), megabytes(given.memory_mb));
    gauge(used, given.memory_mb, &words)
}

fn ports(seen: &Seen, alloc: &Allocation) -> Markup {
    let address = seen
        .store
        .node(&alloc.node_id)
        .map(|node| node.address.clone());
    let address = address.unwrap_or_default();
    let ports: Vec<_> = alloc.ports().collect();
    html! {
        @if !ports.is_empty() {
            section aria-labelledby="ports" {
                h2 #ports { "Ports" }
                div.scroll {
                    table.rows {
                        (columns(&["Label", "Task", "Address", "In the task"]))
                        tbody {
                            @for (task, port) in ports {
                                @let at = format!("{}:{}", bracketed(&address), port.value);
                                tr {
                                    td data-l="Label" { (port.label) }
                                    td data-l="Task" {
                                        @if task.is_empty() {
                                            span.dim { "the group" }
                                        } @else {
                                            (task)
                                        }
                                    }
                                    td data-l="Address" { code.at { (at) } (copy(&at, "the address")) }
                                    td data-l="In the task" {
                                        @if port.to == 0 { "the same" } @else { (port.to) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// An address as it stands before a port.
pub(super) fn bracketed(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}

fn checks(seen: &Seen, alloc: &Allocation) -> Markup {
    let offered: Vec<&Instance> = seen
        .view
        .services
        .values()
        .flatten()
        .filter(|one| one.service.alloc_id == alloc.id)
        .collect();
    html! {
        @if !offered.is_empty() {
            section aria-labelledby="checks" {
                h2 #checks { "Services and checks" }
                @for instance in offered {
                    @let service = &instance.service;
                    p {
                        (link(&Place::Service(service.service.clone()), &service.service))
                        " at " code { (bracketed(instance.address())) ":" (service.port) }
                        " " (state(instance.status()))
                    }
                    (checks_table(instance))
                }
            }
        }
    }
}

fn events(seen: &Seen, alloc: &Allocation) -> Markup {
    let mut events: Vec<(&str, &TaskEvent)> = alloc
        .task_states
        .iter()
        .flat_map(|(task, state)| state.events.iter().map(move |event| (task.as_str(), event)))
        .collect();
    // Equal times keep their order, which is that of the task.
    events.reverse();
    events.sort_by_key(|(_, event)| std::cmp::Reverse(event.time));
    let many = alloc.task_states.len() > 1;
    html! {
        section aria-labelledby="events" {
            h2 #events { "Events" }
            @if events.is_empty() { p.dim { "The client hasn't said anything of it yet." } }
            @else {
                div.scroll {
                    table.rows.timeline {
                        thead {
                            tr {
                                th { "When" } @if many { th { "Task" } } th { "Event" }
                                th { "What happened" }
                            }
                        }
                        tbody {
                            @for (task, event) in events {
                                tr data-key={ "v-" (task) "-" (event.time) "-" (event.r#type) } {
                                    td data-l="When" { (ago_at(Time(event.time), seen.now)) }
                                    @if many { td data-l="Task" { (task) } }
                                    td data-l="Event" { (status(event_tone(event), &event.r#type)) }
                                    td data-l="What happened" { (event.display_message) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn event_tone(event: &TaskEvent) -> Tone {
    match event.r#type.as_str() {
        "Started" => Tone::Ok,
        "Terminated" if event.exit_code == 0 && event.signal == 0 => Tone::Idle,
        "Terminated" | "Driver Failure" | "Setup Failure" | "Failed Validation"
        | "Not Restarting" => Tone::Bad,
        "Restarting" | "Killing" => Tone::Warn,
        _ => Tone::Idle,
    }
}

/// How its client was chosen.
fn placement(seen: &Seen, alloc: &Allocation) -> Markup {
    let AllocMetric {
        nodes_evaluated,
        nodes_filtered,
        nodes_exhausted,
        scores,
        ..
    } = &alloc.metrics;
    let eval = Place::Evaluation(alloc.eval_id.clone());
    let known = seen.store.eval(&alloc.eval_id).is_some();
    html! {
        section aria-labelledby="placement" {
            h2 #placement { "Why this client" }
            p {
                (nodes_evaluated) " looked at, " (nodes_filtered) " ruled out by constraints, "
                (nodes_exhausted) " without room. Evaluation "
                @if known {
                    (id_link(&eval, &alloc.eval_id))
                } @else {
                    code { (short(&alloc.eval_id)) }
                }
                "."
            }
            @if !scores.is_empty() {
                details {
                    summary { "Scores" }
                    ul.plain {
                        @for (name, score) in scores {
                            li { code { (name) } " " (format!("{score:.3}")) }
                        }
                    }
                }
            }
        }
    }
}

fn commands(alloc: &Allocation) -> Markup {
    let id = short(&alloc.id);
    let task = each_task(alloc).first().map(|(name, ..)| quoted(name));
    html! {
        section aria-labelledby="commands" {
            h2 #commands { "At a terminal" }
            ul.commands {
                li { (command(&format!("drover alloc status {id}"))) }
                @if let Some(task) = task {
                    li { (command(&format!("drover alloc logs -f {id} {task}"))) }
                }
            }
        }
    }
}

/// The page around a task's output.
pub(super) fn logs(seen: &Seen, id: &str, task: &str, stream: &str, output: &Output) -> Page {
    let Some(alloc) = seen.alloc(id) else {
        return missing(id);
    };
    let place = |task: &str, stream: &str| {
        let place = Place::Logs {
            alloc: alloc.id.clone(),
            task: task.to_owned(),
        };
        format!("{}?type={stream}", place.href())
    };
    let flag = if stream == "stderr" { "-stderr " } else { "" };
    let typed = format!(
        "drover alloc logs {flag}-f {} {}",
        short(&alloc.id),
        quoted(task)
    );
    let head = html! {
        (crumbs(&[("Jobs", Place::Jobs), (alloc.job_id.as_str(), Place::Job(alloc.job_id.clone())),
            (alloc.name.as_str(), Place::Allocation(alloc.id.clone()))]))
        div.title { h1 { "Logs of " (task) } (alloc_state(alloc)) }
        nav.tabs aria-label="Outputs" {
            @for (name, ..) in each_task(alloc) {
                @for kind in ["stdout", "stderr"] {
                    @let here = (name == task && kind == stream).then_some("page");
                    a href=(place(name, kind)) aria-current=[here] {
                        @if alloc.task_states.len() > 1 { (name) " " } (kind)
                    }
                }
            }
        }
        p.tools {
            (command(&typed))
            button #wrap type="button" aria-pressed="true" { "Wrap lines" }
            button #to-end type="button" { "To the end" }
        }
    };
    Page::new(format!("{stream} of {task}"))
        .with("head", head)
        .with("output", shown(output))
}

/// A task's output up to now.
pub(super) struct Output {
    pub(super) text: String,
    /// It begins earlier than what is shown.
    pub(super) cut: bool,
    /// Where news begin.
    pub(super) end: u64,
    /// Why there is none.
    pub(super) trouble: Option<String>,
}

fn shown(output: &Output) -> Markup {
    html! {
        @if output.cut { p.dim { "Earlier output isn't shown here." } }
        @if let Some(trouble) = &output.trouble { p #log-empty .dim { (trouble) } }
        @else if output.text.is_empty() { p #log-empty .dim { "Nothing was written yet." } }
        pre #log .log.wrap tabindex="0" role="log" aria-label="Output" { (output.text) }
    }
}

/// Numbers of a node's own measure, as its page shows them.
pub(super) fn number(value: &Value, path: &str) -> Option<i64> {
    value.pointer(path)?.as_f64().map(whole)
}

//! The first page: what needs attention, how much of everything there is, and what happened last.

use std::collections::BTreeMap;
use std::sync::Arc;

use logic::membership::MemberStatus;
use logic::model::{Allocation, CHECK_CRITICAL, CHECK_PASSING, JOB_DEAD, JOB_PENDING, JOB_RUNNING};
use logic::time::Time;
use maud::{Markup, html};

use super::elements::{
    Tone, ago, bar, columns, command, count, gauge, grouped, id_link, link, megabytes,
};
use super::jobs::alloc_state;
use super::page::Page;
use super::place::Place;
use super::seen::Seen;
use super::troubles::{self, Trouble};

/// Changes shown.
const RECENT: usize = 12;
/// Troubles told at once; the others are opened.
const TROUBLES: usize = 12;

pub(super) fn page(seen: &Seen) -> Page {
    let troubles = troubles::all(seen);
    let title = if troubles.is_empty() {
        "Overview".to_owned()
    } else {
        count(troubles.len(), "problem", "problems")
    };
    Page::new(title)
        .with("attention", attention(seen, &troubles))
        .with("counts", counts(seen))
        .with("room", room(seen))
        .with("recent", recent(seen))
}

fn attention(seen: &Seen, troubles: &[Trouble]) -> Markup {
    let jobs = seen.store.jobs().count();
    html! {
        h1 { "Overview" }
        @if !troubles.is_empty() {
            section.attention aria-labelledby="attention" {
                h2 #attention { "Needs attention" }
                @let (first, others) = troubles.split_at(troubles.len().min(TROUBLES));
                (troubles::list(first, true, seen.now))
                @if !others.is_empty() {
                    details.more {
                        summary { "and " (grouped(others.len())) " more" }
                        (troubles::list(others, true, seen.now))
                    }
                }
            }
        } @else if jobs == 0 {
            section.empty {
                p { "The cluster is ready, and nobody has asked it for anything yet." }
                p {
                    "Write a job file and run it: " (command("drover job init")) " "
                    (command("drover job run example.nomad"))
                }
            }
        } @else {
            p.calm { "Everything runs as asked." }
        }
    }
}

/// A row of the overview: a kind, how many, and how they are.
fn counted(place: &Place, name: &str, total: usize, parts: &[(Tone, usize, &str)]) -> Markup {
    let shares: Vec<(Tone, i64)> = parts
        .iter()
        .map(|(tone, number, _)| (*tone, i64::try_from(*number).unwrap_or(i64::MAX)))
        .collect();
    let there: Vec<_> = parts.iter().filter(|(_, number, _)| *number > 0).collect();
    html! {
        a.tile href=(place.href()) {
            span.name { (name) }
            span.number { (grouped(total)) }
            (bar(&shares))
            span.parts {
                @if there.is_empty() { span.dim { "none" } }
                @for (tone, number, word) in there {
                    span class={ "st " (tone.class()) } { (grouped(*number)) " " (word) }
                }
            }
        }
    }
}

fn counts(seen: &Seen) -> Markup {
    let store = &seen.store;
    let jobs = |status: &str| store.jobs().filter(|job| job.status == status).count();
    let mut allocs: BTreeMap<&str, usize> = BTreeMap::new();
    for alloc in store.allocs().filter(|alloc| !alloc.terminal()) {
        *allocs.entry(alloc.client_status.as_str()).or_default() += 1;
    }
    let alive: usize = allocs.values().sum();
    let of = |status: &str| allocs.get(status).copied().unwrap_or(0);
    let nodes = store.nodes().count();
    let away = store.nodes().filter(|node| node.away()).count();
    let ready = store.nodes().filter(|node| node.ready()).count();
    let (servers, heard) = servers(seen);
    let instances = || seen.view.services.values().flatten();
    let like = |status: &str| instances().filter(|one| one.status() == status).count();
    let (passing, critical) = (like(CHECK_PASSING), like(CHECK_CRITICAL));
    html! {
        section.tiles aria-label="Counts" {
            (counted(&Place::Jobs, "Jobs", store.jobs().count(), &[
                (Tone::Ok, jobs(JOB_RUNNING), "running"),
                (Tone::Busy, jobs(JOB_PENDING), "pending"),
                (Tone::Idle, jobs(JOB_DEAD), "dead"),
            ]))
            (counted(&Place::Jobs, "Allocations", alive, &[
                (Tone::Ok, of("running"), "running"),
                (Tone::Busy, of("pending"), "pending"),
                (Tone::Warn, of("unknown"), "unknown"),
            ]))
            (counted(&Place::Clients, "Clients", nodes, &[
                (Tone::Ok, ready, "ready"),
                (Tone::Warn, nodes - ready - away, "not eligible"),
                (Tone::Bad, away, "down"),
            ]))
            (counted(&Place::Servers, "Servers", servers, &[
                (Tone::Ok, heard, "alive"),
                (Tone::Bad, servers - heard, "failed"),
            ]))
            (counted(&Place::Services, "Service instances", instances().count(), &[
                (Tone::Ok, passing, "passing"),
                (Tone::Warn, instances().count() - passing - critical, "warning"),
                (Tone::Bad, critical, "critical"),
            ]))
        }
    }
}

/// How many servers there should be, and how many of them are heard from.
fn servers(seen: &Seen) -> (usize, usize) {
    let known = seen.members.iter().filter(|known| known.member.server);
    let known: Vec<_> = known
        .filter(|known| known.status != MemberStatus::Left)
        .collect();
    let alive = known
        .iter()
        .filter(|known| known.status == MemberStatus::Alive);
    (known.len(), alive.count())
}

/// How much of the ready clients' resources is promised.
fn room(seen: &Seen) -> Markup {
    let store = &seen.store;
    let (mut cpu, mut memory, mut disk) = ((0, 0), (0, 0), (0, 0));
    for node in store.nodes().filter(|node| !node.away()) {
        let (there, used) = (node.available(), store.usage(&node.id));
        cpu = (cpu.0 + used.cpu, cpu.1 + there.cpu);
        memory = (memory.0 + used.memory_mb, memory.1 + there.memory_mb);
        disk = (disk.0 + used.disk_mb, disk.1 + there.disk_mb);
    }
    html! {
        @if cpu.1 > 0 {
            section aria-labelledby="room" {
                h2 #room { "Reserved on all clients" }
                (gauges(cpu, memory, disk))
            }
        }
    }
}

/// What is reserved of what there is: CPU, memory, disk.
pub(super) fn gauges(cpu: (i64, i64), memory: (i64, i64), disk: (i64, i64)) -> Markup {
    let mhz = format!(
        "{} of {} MHz",
        super::elements::amount(cpu.0),
        super::elements::amount(cpu.1)
    );
    let mb = |(used, there): (i64, i64)| format!("{} of {}", megabytes(used), megabytes(there));
    html! {
        dl.gauges {
            div { dt { "CPU" } dd { (gauge(cpu.0, cpu.1, &mhz)) } }
            div { dt { "Memory" } dd { (gauge(memory.0, memory.1, &mb(memory))) } }
            div { dt { "Disk" } dd { (gauge(disk.0, disk.1, &mb(disk))) } }
        }
    }
}

/// Allocations that changed last.
fn recent(seen: &Seen) -> Markup {
    let mut allocs: Vec<&Arc<Allocation>> = seen.store.allocs().collect();
    allocs.sort_by_key(|alloc| std::cmp::Reverse((alloc.modify_index, alloc.id.clone())));
    allocs.truncate(RECENT);
    html! {
        @if !allocs.is_empty() {
            section aria-labelledby="recent" {
                h2 #recent { "Changed last" }
                div.scroll {
                    table.rows.timeline {
                        (columns(&["When", "Allocation", "Name", "Client", "Status", "Last event"]))
                        tbody { @for alloc in allocs { (changed(seen, alloc)) } }
                    }
                }
            }
        }
    }
}

fn changed(seen: &Seen, alloc: &Allocation) -> Markup {
    let place = Place::Allocation(alloc.id.clone());
    let job = Place::Job(alloc.job_id.clone());
    html! {
        tr id={ "a-" (alloc.id) } {
            td data-l="When" { (ago(Time(alloc.modify_time), seen.now)) }
            td data-l="Allocation" { (id_link(&place, &alloc.id)) }
            td data-l="Name" { (link(&job, &alloc.name)) }
            td data-l="Client" { (link(&Place::Client(alloc.node_id.clone()), &alloc.node_name)) }
            td data-l="Status" { (alloc_state(alloc)) }
            td data-l="Last event" { span.said { (super::jobs::last_event(alloc)) } }
        }
    }
}

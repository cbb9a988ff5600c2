//! The machines that run allocations: all of them, and one.

use std::sync::Arc;

use logic::model::{Allocation, Node};
use maud::{Markup, html};
use serde_json::Value;

use super::allocation::number;
use super::elements::{
    Tone, ago, ago_at, amount, columns, command, copy, count, facts, gauge, link, megabytes, pager,
    pairs, short, state, status, text, window,
};
use super::jobs::alloc_table;
use super::overview::gauges;
use super::page::{Page, crumbs};
use super::place::Place;
use super::seen::{Asked, Seen};
use super::troubles;

pub(super) fn page(seen: &Seen, asked: &Asked) -> Page {
    let mut nodes: Vec<&Arc<Node>> = seen.store.nodes().collect();
    nodes.sort_by_key(|node| (node.name.clone(), node.id.clone()));
    let shown = &nodes[window(asked, nodes.len())];
    let list = html! {
        div.title { h1 { "Clients" } span.dim { (count(nodes.len(), "client", "clients")) } }
        @if nodes.is_empty() {
            section.empty {
                p {
                    "No client has joined yet. Start an agent with "
                    code { "client { enabled = true }" } "."
                }
            }
        } @else {
            div.scroll {
                table.rows {
                    (columns(&[
                        "Client", "Status", "Datacenter", "Class", "Address", "Allocations",
                        "CPU reserved", "Memory reserved",
                    ]))
                    tbody { @for node in shown { (row(seen, node)) } }
                }
            }
            (pager(asked, nodes.len(), &[]))
        }
    };
    Page::new("Clients").with("list", list)
}

/// The node's status, and whether it takes new allocations.
fn node_state(node: &Node) -> Markup {
    html! {
        (state(&node.status))
        @if node.drain { " " (status(Tone::Warn, "draining")) }
        @else if node.scheduling_eligibility == "ineligible" {
            " " (status(Tone::Warn, "ineligible"))
        }
    }
}

fn row(seen: &Seen, node: &Node) -> Markup {
    let living = seen.store.allocs_on_node(&node.id);
    let living = living.filter(|alloc| !alloc.terminal()).count();
    let (there, used) = (node.available(), seen.store.usage(&node.id));
    let mhz = format!("{} of {} MHz", amount(used.cpu), amount(there.cpu));
    let mb = format!(
        "{} of {}",
        megabytes(used.memory_mb),
        megabytes(there.memory_mb)
    );
    html! {
        tr data-key={ "n-" (node.id) } {
            td data-l="Client" {
                strong { (link(&Place::Client(node.id.clone()), &node.name)) } " "
                code.dim { (short(&node.id)) }
            }
            td data-l="Status" { (node_state(node)) }
            td data-l="Datacenter" { (node.datacenter) }
            td data-l="Class" {
                @if node.node_class.is_empty() { span.dim { "none" } } @else { (node.node_class) }
            }
            td data-l="Address" { code.at { (node.address) } }
            td.number data-l="Allocations" { (living) }
            td data-l="CPU reserved" { (gauge(used.cpu, there.cpu, &mhz)) }
            td data-l="Memory reserved" { (gauge(used.memory_mb, there.memory_mb, &mb)) }
        }
    }
}

pub(super) fn one(seen: &Seen, asked: &Asked, id: &str) -> Page {
    let Some(node) = seen.node(id) else {
        let what = format!("There is no client \u{201c}{id}\u{201d}.");
        return Page::missing(
            &what,
            "A client is found by its id, a unique prefix, or its name.",
        );
    };
    Page::new(node.name.clone())
        .with("head", head(seen, node))
        .with("why", why(seen, node))
        .with("room", room(seen, node))
        .with("allocs", allocations(seen, asked, node))
        .with("drivers", drivers(node))
        .with("events", events(seen, node))
        .with("attributes", attributes(node))
        .with("commands", commands(node))
}

fn head(seen: &Seen, node: &Node) -> Markup {
    let class = if node.node_class.is_empty() {
        "none"
    } else {
        &node.node_class
    };
    let forced = node
        .drain_strategy
        .as_ref()
        .map(|strategy| strategy.force_deadline);
    html! {
        (crumbs(&[("Clients", Place::Clients)]))
        div.title { h1 { (node.name) } (node_state(node)) }
        p.id { code { (node.id) } (copy(&node.id, "the client's id")) }
        (facts(&[
            ("Address", html! { code { (node.address) } }),
            ("HTTP", html! { code { (node.http_addr) } }),
            ("Datacenter", text(&node.datacenter)),
            ("Class", text(class)),
            ("Eligibility", text(&node.scheduling_eligibility)),
        ]))
        @if node.drain {
            p {
                "It is being emptied: its allocations leave for other clients"
                @if let Some(at) = forced.filter(|at| !at.is_never()) {
                    ", and whatever is left has to go " (ago(at, seen.now))
                }
                "."
            }
        }
    }
}

fn why(seen: &Seen, node: &Node) -> Markup {
    let found: Vec<_> = troubles::of_client(seen, node).into_iter().collect();
    html! {
        @if !found.is_empty() {
            section.attention {
                h2 { "Needs attention" }
                (troubles::list(&found, false, seen.now))
            }
        }
    }
}

fn room(seen: &Seen, node: &Node) -> Markup {
    let (there, used) = (node.available(), seen.store.usage(&node.id));
    html! {
        section aria-labelledby="room" {
            h2 #room { "Reserved by allocations" }
            (gauges(
                (used.cpu, there.cpu),
                (used.memory_mb, there.memory_mb),
                (used.disk_mb, there.disk_mb),
            ))
            h2 { "Used by the whole machine" }
            @match &seen.usage {
                Some(usage) => { (measured(node, usage)) }
                None => { p.dim { "The client doesn't tell now." } }
            }
        }
    }
}

fn measured(node: &Node, usage: &Value) -> Markup {
    let mb = |path: &str| number(usage, path).unwrap_or(0) >> 20;
    let cpu = number(usage, "/CPUTicksConsumed").unwrap_or(0);
    html! {
        (gauges(
            (cpu, node.resources.cpu),
            (mb("/Memory/Used"), mb("/Memory/Total")),
            (mb("/AllocDirStats/Used"), mb("/AllocDirStats/Size")),
        ))
    }
}

fn allocations(seen: &Seen, asked: &Asked, node: &Node) -> Markup {
    let mut allocs: Vec<&Arc<Allocation>> = seen.store.allocs_on_node(&node.id).collect();
    allocs.sort_by_key(|alloc| {
        (
            alloc.terminal(),
            std::cmp::Reverse(alloc.create_index),
            alloc.id.clone(),
        )
    });
    let shown = &allocs[window(asked, allocs.len())];
    let living = allocs.iter().filter(|alloc| !alloc.terminal()).count();
    html! {
        section aria-labelledby="allocs" {
            h2 #allocs { "Allocations " span.dim { (living) " of " (allocs.len()) " live" } }
            @if allocs.is_empty() { p.dim { "None." } }
            @else { (alloc_table(seen, shown, false)) }
            (pager(asked, allocs.len(), &[]))
        }
    }
}

fn drivers(node: &Node) -> Markup {
    html! {
        section aria-labelledby="drivers" {
            h2 #drivers { "Drivers" }
            div.scroll {
                table.rows {
                    (columns(&["Driver", "State", "Why"]))
                    tbody {
                        @for (name, driver) in &node.drivers {
                            tr {
                                td data-l="Driver" { (name) }
                                td data-l="State" {
                                    @if !driver.detected { (status(Tone::Idle, "not there")) }
                                    @else if driver.healthy { (status(Tone::Ok, "healthy")) }
                                    @else { (status(Tone::Bad, "unhealthy")) }
                                }
                                td data-l="Why" { (driver.health_description) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn events(seen: &Seen, node: &Node) -> Markup {
    html! {
        @if !node.events.is_empty() {
            section aria-labelledby="events" {
                h2 #events { "Events" }
                div.scroll {
                    table.rows.timeline {
                        (columns(&["When", "Subsystem", "What happened"]))
                        tbody {
                            @for event in node.events.iter().rev() {
                                tr {
                                    td data-l="When" {
                                        (ago_at(event.timestamp, seen.now))
                                    }
                                    td data-l="Subsystem" { (event.subsystem) }
                                    td data-l="What happened" { (event.message) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn attributes(node: &Node) -> Markup {
    html! {
        section aria-labelledby="attributes" {
            h2 #attributes { "Attributes" }
            p.dim { "In a job file: " code { "constraint { attribute = \"${attr.NAME}\" }" } }
            (pairs("Attributes", node.attributes.iter()))
            @if !node.meta.is_empty() {
                h2 { "Meta" }
                (pairs("Meta", node.meta.iter()))
            }
        }
    }
}

fn commands(node: &Node) -> Markup {
    let id = short(&node.id);
    html! {
        section aria-labelledby="commands" {
            h2 #commands { "At a terminal" }
            ul.commands {
                li { (command(&format!("drover node status -verbose {id}"))) }
                li { (command(&format!("drover node eligibility -disable {id}"))) }
            }
        }
    }
}

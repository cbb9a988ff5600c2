//! The catalog: services with how many of their instances pass, and one with each and its checks.

use std::collections::BTreeSet;

use logic::catalog::Instance;
use logic::model::{CHECK_CRITICAL, CHECK_PASSING, CHECK_WARNING};
use logic::percent;
use maud::{Markup, html};

use super::allocation::bracketed;
use super::elements::{
    Tone, bar, breakable, columns, command, copy, count, id_link, link, pager, state, status,
    window,
};
use super::job::quoted;
use super::page::{Page, crumbs};
use super::place::Place;
use super::seen::{Asked, Doors, Seen};

/// Tags of a service in the list; its own page has all.
const TAGS_LISTED: usize = 5;

pub(super) fn page(seen: &Seen, asked: &Asked) -> Page {
    let services: Vec<_> = seen.view.services.iter().collect();
    let shown = &services[window(asked, services.len())];
    let list = html! {
        div.title { h1 { "Services" } span.dim { (count(services.len(), "service", "services")) } }
        @if services.is_empty() {
            section.empty {
                p { "The catalog is empty: a task's " code { "service" } " block registers one." }
            }
        } @else {
            div.scroll {
                table.rows {
                    (columns(&["Service", "Health", "Instances", "Tags"]))
                    tbody { @for (name, instances) in shown { (row(name, instances)) } }
                }
            }
            (pager(asked, services.len(), &[]))
        }
    };
    Page::new("Services").with("list", list)
}

fn number(instances: &[Instance], status: &str) -> i64 {
    whole(
        instances
            .iter()
            .filter(|one| one.status() == status)
            .count(),
    )
}

/// The health of the worst instance, which is bad only if all are critical.
fn worst(instances: &[Instance]) -> Markup {
    let word = [CHECK_CRITICAL, CHECK_WARNING]
        .into_iter()
        .find(|status| number(instances, status) > 0)
        .unwrap_or(CHECK_PASSING);
    if word == CHECK_CRITICAL && number(instances, CHECK_CRITICAL) < whole(instances.len()) {
        return status(Tone::Warn, "partly critical");
    }
    state(word)
}

fn whole(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn row(name: &str, instances: &[Instance]) -> Markup {
    let passing = number(instances, CHECK_PASSING);
    html! {
        tr data-key={ "s-" (name) } {
            td data-l="Service" { strong { (link(&Place::Service(name.to_owned()), name)) } }
            td data-l="Health" { (worst(instances)) }
            td data-l="Instances" {
                span.amount {
                    (bar(&[
                        (Tone::Ok, passing),
                        (Tone::Warn, number(instances, CHECK_WARNING)),
                        (Tone::Bad, number(instances, CHECK_CRITICAL)),
                    ]))
                    span { (passing) "/" (instances.len()) " passing" }
                }
            }
            td data-l="Tags" { (tags(instances, TAGS_LISTED)) }
        }
    }
}

fn tags(instances: &[Instance], most: usize) -> Markup {
    let tags: BTreeSet<&String> = instances.iter().flat_map(|one| &one.service.tags).collect();
    let others = tags.len().saturating_sub(most);
    html! {
        span.tags {
            @for tag in tags.iter().take(most) { code { (breakable(tag)) } }
            @if others > 0 { span.dim { "and " (others) " more" } }
        }
    }
}

pub(super) fn one(seen: &Seen, asked: &Asked, name: &str) -> Page {
    let instances = seen.view.instances(name);
    if instances.is_empty() {
        let what = format!("Nobody offers a service \u{201c}{name}\u{201d}.");
        return Page::missing(
            &what,
            "It is here again as soon as an instance of it is registered.",
        );
    }
    let shown = &instances[window(asked, instances.len())];
    let list = html! {
        section aria-labelledby="instances" {
            h2 #instances { "Instances" }
            @for instance in shown { (instance_card(seen, instance)) }
            (pager(asked, instances.len(), &[]))
        }
    };
    Page::new(name)
        .with("head", head(seen, name, instances))
        .with("list", list)
        .with("commands", commands(seen, name))
}

fn head(seen: &Seen, name: &str, instances: &[Instance]) -> Markup {
    html! {
        (crumbs(&[("Services", Place::Services)]))
        div.title { h1 { (name) } (worst(instances)) (copy(name, "the service's name")) }
        @let verb = if instances.len() == 1 { " passes." } else { " pass." };
        p {
            (number(instances, CHECK_PASSING)) " of "
            (count(instances.len(), "instance", "instances")) (verb)
            @let jobs = jobs(seen, instances);
            @if !jobs.is_empty() {
                " From " @for (at, job) in jobs.iter().enumerate() {
                    @if at > 0 { ", " }
                    (link(&Place::Job((*job).clone()), job))
                } "."
            }
        }
        p { (tags(instances, usize::MAX)) }
    }
}

fn jobs<'a>(seen: &'a Seen, instances: &[Instance]) -> BTreeSet<&'a String> {
    let of = |one: &Instance| {
        seen.store
            .alloc(&one.service.alloc_id)
            .map(|alloc| &alloc.job_id)
    };
    instances.iter().filter_map(of).collect()
}

fn instance_card(seen: &Seen, instance: &Instance) -> Markup {
    let service = &instance.service;
    let at = format!("{}:{}", bracketed(instance.address()), service.port);
    let node = seen.store.node(&instance.node.id);
    let place = node.map(|node| Place::Client(node.id.clone()));
    html! {
        div.card data-key={ "i-" (instance.node.node) "-" (service.id) } {
            p.line {
                (state(instance.status()))
                span.nowrap { code { (at) } (copy(&at, "the address")) }
                span {
                    "on "
                    @if let Some(place) = place {
                        (link(&place, &instance.node.node))
                    } @else {
                        (instance.node.node)
                    }
                }
                @if !service.alloc_id.is_empty() {
                    span {
                        "allocation "
                        (id_link(&Place::Allocation(service.alloc_id.clone()), &service.alloc_id))
                    }
                }
            }
            (checks_table(instance))
        }
    }
}

/// Each check of an instance with what its last run said.
pub(super) fn checks_table(instance: &Instance) -> Markup {
    html! {
        @if instance.checks.is_empty() { p.dim { "It has no check." } }
        @else {
            div.scroll {
                table.rows.checks {
                    (columns(&["Check", "Status", "Last output"]))
                    tbody {
                        @for check in &instance.checks {
                            tr data-key={ "c-" (check.check_id) } {
                                td data-l="Check" {
                                    (check.name)
                                    @if check.service_id.is_empty() { " " span.dim { "(node)" } }
                                }
                                td data-l="Status" { (state(&check.status)) }
                                td data-l="Last output" { span.output { (check.output.trim()) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn commands(seen: &Seen, name: &str) -> Markup {
    let Doors { http, dns, domain } = &seen.doors;
    let url = format!("http://{http}/v1/health/service/{}", percent::segment(name));
    let (at, port) = (dns.ip(), dns.port());
    let name = format!("{name}.service.{}.{domain}", seen.datacenter);
    let dig = format!("dig @{at} -p {port} SRV {}", quoted(&name));
    html! {
        section aria-labelledby="commands" {
            h2 #commands { "At a terminal" }
            ul.commands {
                li { (command(&dig)) }
                li { (command(&format!("curl {}", quoted(&url)))) }
            }
        }
    }
}

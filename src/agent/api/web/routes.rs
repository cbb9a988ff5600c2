//! The edge's routing table: which requests go where, and which job answers them.

use std::collections::BTreeMap;

use logic::catalog::Instance;
use logic::routes::{Route, Table, Target};
use maud::{Markup, html};

use super::allocation::bracketed;
use super::elements::{Tone, breakable, columns, count, id_link, link, pager, status, window};
use super::page::Page;
use super::place::Place;
use super::seen::{Asked, Seen};

pub(super) fn page(seen: &Seen, asked: &Asked) -> Page {
    let table = Table::new(&seen.view, &seen.tag_prefix);
    let rows: Vec<_> = table
        .routes()
        .flat_map(|route| route.targets.iter().map(move |target| (route, target)))
        .collect();
    let shown = &rows[window(asked, rows.len())];
    let behind = behind(seen);
    let list = html! {
        div.title { h1 { "Routes" } span.dim { (count(rows.len(), "route", "routes")) } }
        p.dim {
            "What the edge does with requests and connections: the longest path of the best "
            "matching host wins. Only instances that pass their checks are here."
        }
        @if rows.is_empty() {
            section.empty {
                p {
                    "No service has a route. Tag one with " code { (seen.tag_prefix) "HOST/PATH" }
                    " and give it a check."
                }
            }
        } @else {
            div.scroll {
                table.rows {
                    (columns(&["Source", "Goes to", "Share", "Service", "Job", "Options"]))
                    tbody { @for (route, target) in shown { (row(seen, route, target, &behind)) } }
                }
            }
            (pager(asked, rows.len(), &[]))
        }
    };
    Page::new("Routes")
        .with("list", list)
        .with("rejected", rejected(&table))
}

/// Instances by their service and address.
type Behind<'a> = BTreeMap<(&'a str, String), &'a Instance>;

fn behind(seen: &Seen) -> Behind<'_> {
    let all = seen.view.services.values().flatten();
    all.map(|one| {
        let at = format!("{}:{}", bracketed(one.address()), one.service.port);
        ((one.service.service.as_str(), at), one)
    })
    .collect()
}

fn row(seen: &Seen, route: &Route, target: &Target, behind: &Behind<'_>) -> Markup {
    let instance = behind.get(&(target.service.as_str(), target.address.clone()));
    let alloc = instance.and_then(|one| seen.store.alloc(&one.service.alloc_id));
    let source = format!("{}{}", route.host, route.path);
    html! {
        tr data-key={ "r-" (source) "-" (target.destination()) } {
            td.wide data-l="Source" { code { @if source.is_empty() { "/" } @else { (breakable(&source)) } } }
            td.wide data-l="Goes to" { code { (target.destination()) } }
            td.number data-l="Share" { (format!("{:.1}%", target.weight * 100.0)) }
            td data-l="Service" { (of_service(&target.service)) }
            td data-l="Job" {
                @match alloc {
                    Some(alloc) => {
                        (link(&Place::Job(alloc.job_id.clone()), &alloc.job_id)) " "
                        (id_link(&Place::Allocation(alloc.id.clone()), &alloc.id))
                    }
                    None => { span.dim { "none of this cluster" } }
                }
            }
            td.some data-l="Options" {
                @if target.shown_options().is_empty() { span.dim { "none" } }
                @else { code { (breakable(target.shown_options())) } }
            }
        }
    }
}

fn of_service(name: &str) -> Markup {
    link(&Place::Service(name.to_owned()), name)
}

fn rejected(table: &Table) -> Markup {
    html! {
        @if !table.rejected().is_empty() {
            section.attention aria-labelledby="rejected" {
                h2 #rejected { "Tags that are no routes" }
                ul.troubles {
                    @for rejected in table.rejected() {
                        li.warn {
                            p.says {
                                (status(Tone::Warn, "warning")) " "
                                strong {
                                    (of_service(&rejected.service))
                                }
                                " "
                                code { (rejected.tag) } ": " (rejected.reason)
                            }
                        }
                    }
                }
            }
        }
    }
}

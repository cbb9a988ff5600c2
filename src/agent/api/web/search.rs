//! Finding something by its name or by the beginning of its id.

use maud::{Markup, html};

use super::elements::{count, link, short};
use super::page::Page;
use super::place::Place;
use super::seen::{Asked, Seen};

/// Hits shown of each kind.
const HITS: usize = 20;

/// Something that was found.
struct Hit {
    place: Place,
    name: String,
    about: String,
}

/// What is found, by kind.
type Hits = Vec<(&'static str, Vec<Hit>)>;

fn hits(seen: &Seen, text: &str) -> Hits {
    let lower = text.to_lowercase();
    let named = |name: &str| name.to_lowercase().contains(&lower);
    let identified = |id: &str| lower.len() >= 4 && id.starts_with(&lower);
    let store = &seen.store;
    let jobs = store.jobs().filter(|job| named(&job.id)).map(|job| Hit {
        place: Place::Job(job.id.clone()),
        name: job.id.clone(),
        about: format!("{}, {}", job.r#type, job.status),
    });
    let allocs = store
        .allocs()
        .filter(|alloc| identified(&alloc.id) || alloc.name == text);
    let allocs = allocs.map(|alloc| Hit {
        place: Place::Allocation(alloc.id.clone()),
        name: short(&alloc.id).to_owned(),
        about: format!("{}, {}", alloc.name, alloc.client_status),
    });
    let nodes = store
        .nodes()
        .filter(|node| named(&node.name) || identified(&node.id));
    let nodes = nodes.map(|node| Hit {
        place: Place::Client(node.id.clone()),
        name: node.name.clone(),
        about: format!("{}, {}", short(&node.id), node.status),
    });
    let evals = store
        .evals()
        .filter(|eval| identified(&eval.id))
        .map(|eval| Hit {
            place: Place::Evaluation(eval.id.clone()),
            name: short(&eval.id).to_owned(),
            about: format!("of {}, {}", eval.job_id, eval.status),
        });
    let services = seen.view.services.iter().filter(|(name, _)| named(name));
    let services = services.map(|(name, instances)| Hit {
        place: Place::Service(name.clone()),
        name: name.clone(),
        about: count(instances.len(), "instance", "instances"),
    });
    let mut found = vec![
        ("Jobs", jobs.collect::<Vec<_>>()),
        ("Allocations", allocs.collect()),
        ("Clients", nodes.collect()),
        ("Services", services.collect()),
        ("Evaluations", evals.collect()),
    ];
    found.retain(|(_, hits)| !hits.is_empty());
    found
}

/// The one thing that can be meant, if there is only one.
pub(super) fn only(seen: &Seen, text: &str) -> Option<Place> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    if seen.store.job(text).is_some() {
        return Some(Place::Job(text.to_owned()));
    }
    let mut all = hits(seen, text).into_iter().flat_map(|(_, hits)| hits);
    match (all.next(), all.next()) {
        (Some(hit), None) => Some(hit.place),
        _ => None,
    }
}

pub(super) fn page(seen: &Seen, asked: &Asked) -> Page {
    let text = asked.query.get("q").unwrap_or_default().trim();
    let found = if text.is_empty() {
        Vec::new()
    } else {
        hits(seen, text)
    };
    let body = html! {
        h1 { @if text.is_empty() { "Search" } @else { "Search for \u{201c}" (text) "\u{201d}" } }
        @if text.is_empty() {
            p.dim {
                "Names of jobs, clients and services, and the beginnings of ids "
                "(four characters or more)."
            }
        } @else if found.is_empty() {
            p { "Nothing is called so, and no id begins so." }
        }
        @for (kind, hits) in &found { (of_kind(kind, hits)) }
    };
    Page::new("Search").with("list", body)
}

fn of_kind(kind: &str, hits: &[Hit]) -> Markup {
    html! {
        section {
            h2 { (kind) " " span.dim { (hits.len()) } }
            ul.hits {
                @for hit in hits.iter().take(HITS) {
                    li { strong { (link(&hit.place, &hit.name)) } " " span.dim { (hit.about) } }
                }
            }
            @if hits.len() > HITS {
                p.dim { "And " (hits.len() - HITS) " more: type more of the name." }
            }
        }
    }
}

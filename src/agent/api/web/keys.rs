//! Keys and values: a folder at a time, and one key with its value.

use std::collections::BTreeMap;

use logic::model::KvPair;
use maud::{Markup, html};

use super::elements::{columns, command, copy, count, facts, grouped, link, pager, text, window};
use super::job::quoted;
use super::page::{Page, crumbs};
use super::place::Place;
use super::seen::{Asked, Seen};

/// No more of a value is shown.
const VALUE_MAX: usize = 64 << 10;

/// `at` is a key, or a folder that ends with a slash; empty is the root.
pub(super) fn page(seen: &Seen, asked: &Asked, at: &str) -> Page {
    match seen.store.kv(at) {
        Some(pair) if !at.ends_with('/') => value(pair),
        Some(_) | None => folder(seen, asked, at),
    }
}

/// What is directly below a folder: keys, and folders with how many keys are in each.
fn below(seen: &Seen, folder: &str) -> BTreeMap<String, (usize, usize)> {
    let mut entries: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for pair in seen.store.kv_under(folder) {
        let rest = &pair.key[folder.len()..];
        let name = match rest.split_once('/') {
            Some((name, _)) => format!("{name}/"),
            None => rest.to_owned(),
        };
        // A key that is the folder itself isn't in it.
        if !name.is_empty() {
            let entry = entries.entry(name).or_default();
            *entry = (entry.0 + 1, entry.1 + pair.value.len());
        }
    }
    entries
}

fn folder(seen: &Seen, asked: &Asked, at: &str) -> Page {
    let folder = match at {
        "" => String::new(),
        at if at.ends_with('/') => at.to_owned(),
        at => format!("{at}/"),
    };
    let entries = below(seen, &folder);
    if entries.is_empty() && !folder.is_empty() && seen.store.kv(&folder).is_none() {
        let what = format!("There is no key \u{201c}{at}\u{201d}, and none below it.");
        return Page::missing(&what, "Keys that were deleted leave nothing behind.");
    }
    let rows: Vec<_> = entries.iter().collect();
    let shown = &rows[window(asked, rows.len())];
    let title = if folder.is_empty() { "Keys" } else { &folder };
    let list = html! {
        (way(&folder))
        div.title { h1 { (title) } span.dim { (count(rows.len(), "entry", "entries")) } }
        @if rows.is_empty() {
            section.empty {
                p {
                    "Nothing is kept here. Put something: "
                    (command("drover kv put greeting hello"))
                }
            }
        } @else {
            div.scroll {
                table.rows {
                    (columns(&["Key", "Size"]))
                    tbody {
                        @for (name, (keys, bytes)) in shown {
                            tr data-key={ "k-" (name) } {
                                td data-l="Key" {
                                    code { (link(&Place::Keys(format!("{folder}{name}")), name)) }
                                }
                                td data-l="Size" {
                                    @if name.ends_with('/') { (count(*keys, "key", "keys")) ", " }
                                    (grouped(*bytes)) " bytes"
                                }
                            }
                        }
                    }
                }
            }
            (pager(asked, rows.len(), &[]))
        }
    };
    Page::new(title).with("list", list)
}

/// The folders above.
fn way(key: &str) -> Markup {
    let mut above = vec![("Keys", Place::Keys(String::new()))];
    let trimmed = key.trim_end_matches('/');
    let mut from = 0;
    for (at, _) in trimmed.match_indices('/') {
        above.push((&key[from..at], Place::Keys(key[..=at].to_owned())));
        from = at + 1;
    }
    html! { @if !key.is_empty() { (crumbs(&above)) } }
}

fn value(pair: &KvPair) -> Page {
    let head = html! {
        (way(&pair.key))
        div.title { h1 { (pair.key) } (copy(&pair.key, "the key")) }
        (facts(&[
            ("Size", html! { (grouped(pair.value.len())) " bytes" }),
            ("Flags", text(&pair.flags.to_string())),
            ("Created at index", text(&pair.create_index.to_string())),
            ("Changed at index", text(&pair.modify_index.to_string())),
        ]))
    };
    let body = match std::str::from_utf8(&pair.value) {
        Ok("") => html! { p.dim { "The value is empty." } },
        Ok(value) if value.len() <= VALUE_MAX => html! {
            section {
                h2 { "Value " (copy(value, "the value")) }
                pre.code tabindex="0" { code { (value) } }
            }
        },
        Ok(_) => html! { p.dim { "The value is too large to be shown here." } },
        Err(_) => html! { p.dim { "The value isn't text." } },
    };
    let typed = format!("drover kv get {}", quoted(&pair.key));
    let commands = html! {
        section { h2 { "At a terminal" } ul.commands { li { (command(&typed)) } } }
    };
    Page::new(pair.key.clone())
        .with("head", head)
        .with("value", body)
        .with("commands", commands)
}

//! A page: its parts, which are brought up to date one by one, and the frame around them.

use axum::http::StatusCode;
use logic::percent;
use maud::{DOCTYPE, Markup, html};
use serde::{Deserialize, Serialize};

use super::assets;
use super::place::Place;
use super::seen::{Asked, Seen};

/// What a page shows.
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) title: String,
    pub(super) parts: Vec<Part>,
}

/// Something of a page that changes as a whole.
pub(super) struct Part {
    /// Unique on its page; the same parts are there whatever the state.
    pub(super) id: &'static str,
    pub(super) markup: Markup,
}

impl Page {
    pub(super) fn new(title: impl Into<String>) -> Self {
        Self {
            status: StatusCode::OK,
            title: title.into(),
            parts: Vec::new(),
        }
    }

    #[must_use]
    pub(super) fn with(mut self, id: &'static str, markup: Markup) -> Self {
        self.parts.push(Part { id, markup });
        self
    }

    /// For what isn't there, or isn't there any more.
    pub(super) fn missing(what: &str, hint: &str) -> Self {
        let mut page = Self::new("Not found").with(
            "head",
            html! {
                h1 { "Not found" }
                p { (what) }
                p.dim { (hint) }
            },
        );
        page.status = StatusCode::NOT_FOUND;
        page
    }

    pub(super) fn rendered(self, stamp: String) -> Rendered {
        let parts = self.parts.into_iter();
        Rendered {
            build: assets::build().to_owned(),
            stamp,
            title: self.title,
            parts: parts
                .map(|part| (part.id.to_owned(), part.markup.into_string()))
                .collect(),
        }
    }
}

/// A page as it travels: to browsers part by part, and from server to agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rendered {
    /// What rendered it: see [`assets::build`].
    pub(super) build: String,
    pub(super) stamp: String,
    pub(super) title: String,
    pub(super) parts: Vec<(String, String)>,
}

const NAVIGATION: [(&str, Place); 7] = [
    ("Overview", Place::Overview),
    ("Jobs", Place::Jobs),
    ("Clients", Place::Clients),
    ("Servers", Place::Servers),
    ("Services", Place::Services),
    ("Routes", Place::Routes),
    ("Keys", Place::Keys(String::new())),
];

/// Which entry of the navigation a place belongs to.
fn entry(place: &Place) -> &'static str {
    match place {
        Place::Overview | Place::Search => "Overview",
        Place::Jobs
        | Place::Job(_)
        | Place::JobAllocations(_)
        | Place::JobVersions(_)
        | Place::JobEvaluations(_)
        | Place::JobDefinition(_)
        | Place::JobDeployments(_)
        | Place::Allocation(_)
        | Place::Logs { .. }
        | Place::Evaluation(_) => "Jobs",
        Place::Clients | Place::Client(_) => "Clients",
        Place::Servers => "Servers",
        Place::Services | Place::Service(_) => "Services",
        Place::Routes => "Routes",
        Place::Keys(_) => "Keys",
    }
}

/// The whole document.
pub(super) fn document(seen: &Seen, asked: &Asked, page: &Page, live: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" data-build=(assets::build()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (page.title) " · Drover" }
                link rel="icon" type="image/svg+xml" href=(assets::href("icon.svg"));
                link rel="stylesheet" href=(assets::href("style.css"));
                script src=(assets::href("live.js")) defer {}
            }
            body {
                a.skip href="#main" { "Skip to content" }
                (header(seen, asked))
                main id="main" data-live=(live) {
                    @for part in &page.parts {
                        div.part id={ "part-" (part.id) } { (part.markup) }
                    }
                }
            }
        }
    }
}

fn header(seen: &Seen, asked: &Asked) -> Markup {
    let here = entry(&asked.place);
    let searched = asked
        .query
        .get("q")
        .filter(|_| asked.place == Place::Search);
    html! {
        header.top {
            a.brand href=(Place::Overview.href()) aria-label="Drover: overview" { "Drover" }
            nav.main aria-label="Main" {
                @for (name, place) in &NAVIGATION {
                    a href=(place.href()) aria-current=[(*name == here).then_some("page")] {
                        (name)
                    }
                }
            }
            form.search role="search" action=(Place::Search.href()) method="get" {
                input type="search" name="q" value=(searched.unwrap_or_default())
                    aria-label="Find a job, allocation, client or service"
                    placeholder="Find a name or id" autocomplete="off" spellcheck="false";
            }
            span.where {
                span.dim title="Region and datacenter" { (seen.region) " / " (seen.datacenter) }
                span.live #live role="status" {
                    noscript { "Not live: reload to see news" }
                }
            }
        }
    }
}

/// Above a page's title: where it belongs.
pub(super) fn crumbs(above: &[(&str, Place)]) -> Markup {
    html! {
        nav.crumbs aria-label="Above" {
            @for (name, place) in above {
                a href=(place.href()) { (name) }
                span aria-hidden="true" { "/" }
            }
        }
    }
}

/// The stream that tells a page's news.
pub(super) fn live_address(asked: &Asked, stamp: &str) -> String {
    let mut address = format!(
        "{}?live=1&since={}",
        asked.place.href(),
        percent::segment(stamp)
    );
    for name in ["page", "q", "status", "type"] {
        if let Some(value) = asked.query.get(name) {
            address = format!("{address}&{name}={}", percent::segment(value));
        }
    }
    address
}

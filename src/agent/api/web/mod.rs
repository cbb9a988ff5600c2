//! The web page at `/ui/` of both HTTP ports: pages are pure functions of the state, rendered here
//! and kept up to date by streams of events. It only shows: nothing can be changed through it.

mod allocation;
mod assets;
mod clients;
mod deployments;
mod elements;
mod job;
mod jobs;
mod keys;
mod live;
mod measure;
mod offered;
mod output;
mod overview;
mod page;
mod place;
mod routes;
mod search;
mod seen;
mod servers;
mod services;
mod troubles;
mod versions;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use logic::state::Store;
use maud::html;

use super::errors::Failure;
use super::query::Query;
use super::{Api, cluster, forward};
use crate::rpc::{ApiKind, HttpRequest};
use crate::server::Server;
use live::Streams;
use page::{Page, Rendered};
use place::{Found, Place};
use seen::{Asked, Doors, Seen};

/// Nothing is fetched from elsewhere, nothing runs that isn't in our own script, and nobody frames
/// the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'";

pub(super) fn router(kind: ApiKind) -> Router<Api> {
    let streams = Streams::default();
    let show = move |State(api): State<Api>, uri: Uri, query: Query, headers: HeaderMap| {
        let web = Web {
            api,
            kind,
            streams: streams.clone(),
        };
        async move { web.answer(&uri, query, &headers).await }
    };
    let home = || async { Redirect::temporary("/ui/") };
    Router::new()
        .route("/", get(home))
        .route("/ui", get(home))
        .route("/ui/", get(show.clone()))
        .route("/ui/assets/{build}/{name}", get(assets::serve))
        .route("/ui/{*rest}", get(show))
}

/// What answers one request for a page.
#[derive(Clone)]
struct Web {
    api: Api,
    /// The API on whose port it came in.
    kind: ApiKind,
    streams: Streams,
}

impl Web {
    async fn answer(self, uri: &Uri, query: Query, headers: &HeaderMap) -> Response {
        let place = match Place::of(uri.path(), &self.api.config.datacenter) {
            Found::Here(place) => place,
            Found::Moved(place) => return Redirect::temporary(&place.href()).into_response(),
            Found::Nowhere => return self.nowhere(uri.path()),
        };
        let asked = Asked { place, query };
        if asked.query.has("live") {
            return live::stream(self, asked, headers).await;
        }
        let Some(server) = &self.api.server else {
            return self.ask_a_server(uri).await;
        };
        if asked.query.has("parts") {
            return live::parts(&self, &asked).await;
        }
        let page = self.page(server, &asked).await;
        page.unwrap_or_else(|failure| self.trouble(&asked, &failure))
    }

    async fn page(&self, server: &Server, asked: &Asked) -> Result<Response, Failure> {
        let mut seen = look(&self.api, server);
        let mut page = shown(&seen, asked);
        if page.status == StatusCode::NOT_FOUND && server.linearize().await.is_ok() {
            // Another server may have been told of it a moment ago.
            seen = look(&self.api, server);
            page = shown(&seen, asked);
        }
        if let Some(place) = elsewhere(&seen, asked) {
            return Ok(Redirect::temporary(&place.href()).into_response());
        }
        if let Place::Logs { alloc, task } = &asked.place {
            return Ok(self.logs(&seen, asked, alloc, task).await);
        }
        seen.usage = measure::usage(&self.api, &seen, &asked.place).await;
        if seen.usage.is_some() {
            page = shown(&seen, asked);
        }
        Ok(document(&seen, asked, &page))
    }

    async fn logs(&self, seen: &Seen, asked: &Asked, alloc: &str, task: &str) -> Response {
        let kind = output::kind(&asked.query);
        let so_far = output::so_far(&self.api, alloc, task, kind).await;
        let page = allocation::logs(seen, alloc, task, kind, &so_far);
        let live = page::live_address(asked, &so_far.end.to_string());
        respond(
            page.status,
            page::document(seen, asked, &page, &live).into_string(),
        )
    }

    /// An agent that is no server shows what one of them would.
    async fn ask_a_server(&self, uri: &Uri) -> Response {
        let path = uri.path_and_query().map_or("/ui/", |path| path.as_str());
        let answer = forward::ask(&self.api, self.request(path.to_owned())).await;
        match answer {
            Ok(answer) => forward::restore(answer),
            Err(failure) => {
                let asked = Asked {
                    place: Place::Overview,
                    query: Query::default(),
                };
                self.trouble(&asked, &failure)
            }
        }
    }

    fn request(&self, path: String) -> HttpRequest {
        HttpRequest {
            api: self.kind,
            method: "GET".to_owned(),
            path,
            body: Vec::new(),
        }
    }

    fn nowhere(&self, path: &str) -> Response {
        let asked = Asked {
            place: Place::Overview,
            query: Query::default(),
        };
        let what = format!("There is no page at {path}.");
        let page = Page::missing(&what, "The navigation above leads to every page.");
        plain_page(&self.api, &asked, &page)
    }

    /// A page that tells why there is none.
    fn trouble(&self, asked: &Asked, failure: &Failure) -> Response {
        let text = failure.text().to_owned();
        let mut page = Page::new("Trouble").with(
            "head",
            html! {
                h1 { "This agent can't show the cluster now" }
                p { (text) }
                p.dim { "Tasks on its node run on. Reload to try again." }
            },
        );
        page.status = StatusCode::SERVICE_UNAVAILABLE;
        plain_page(&self.api, asked, &page)
    }
}

/// A page that is the same whatever the state, and isn't live.
fn plain_page(api: &Api, asked: &Asked, page: &Page) -> Response {
    let seen = Seen {
        store: Arc::new(Store::default()),
        ..of_agent(api)
    };
    respond(
        page.status,
        page::document(&seen, asked, page, "").into_string(),
    )
}

fn document(seen: &Seen, asked: &Asked, page: &Page) -> Response {
    let live = if page.status == StatusCode::OK {
        page::live_address(asked, &seen.stamp(&asked.place))
    } else {
        String::new()
    };
    respond(
        page.status,
        page::document(seen, asked, page, &live).into_string(),
    )
}

fn respond(status: StatusCode, html: String) -> Response {
    let mut response = (status, Html(html)).into_response();
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Everything a page is made of, as it is now.
fn look(api: &Api, server: &Server) -> Seen {
    Seen {
        store: server.state.now(),
        peers: server.peers(),
        leader: server.leader().map(|leader| leader.id),
        ..of_agent(api)
    }
}

fn of_agent(api: &Api) -> Seen {
    Seen {
        store: Arc::default(),
        view: Arc::clone(&api.view.borrow()),
        now: api.world.clock.now(),
        region: api.config.region.clone(),
        datacenter: api.config.datacenter.clone(),
        doors: Doors::of(&api.config),
        tag_prefix: api.config.edge.tag_prefix.clone(),
        members: cluster::by_name(api),
        peers: Vec::new(),
        leader: None,
        usage: None,
    }
}

/// Where a request should rather have gone: the whole id, the one hit.
fn elsewhere(seen: &Seen, asked: &Asked) -> Option<Place> {
    match &asked.place {
        Place::Search => search::only(seen, asked.query.get("q")?),
        Place::Allocation(id) => {
            let alloc = seen.alloc(id).filter(|alloc| alloc.id != *id)?;
            Some(Place::Allocation(alloc.id.clone()))
        }
        Place::Logs { alloc, task } => {
            let found = seen.alloc(alloc).filter(|found| found.id != *alloc)?;
            Some(Place::Logs {
                alloc: found.id.clone(),
                task: task.clone(),
            })
        }
        _ => None,
    }
}

/// The page of a place. Pure.
fn shown(seen: &Seen, asked: &Asked) -> Page {
    match &asked.place {
        Place::Overview => overview::page(seen),
        Place::Jobs => jobs::page(seen, asked),
        Place::Job(id) => job::page(seen, id),
        Place::JobAllocations(id) => job::allocations(seen, asked, id),
        Place::JobVersions(id) => job::history(seen, asked, id),
        Place::JobEvaluations(id) => job::evaluations(seen, asked, id),
        Place::JobDefinition(id) => job::definition(seen, asked, id),
        Place::JobDeployments(id) => deployments::page(seen, asked, id),
        Place::Allocation(id) => allocation::page(seen, id),
        Place::Logs { alloc, .. } => match seen.alloc(alloc) {
            Some(alloc) => Page::new(alloc.name.clone()),
            None => allocation::missing(alloc),
        },
        Place::Evaluation(id) => job::evaluation(seen, id),
        Place::Clients => clients::page(seen, asked),
        Place::Client(id) => clients::one(seen, asked, id),
        Place::Servers => servers::page(seen),
        Place::Services => services::page(seen, asked),
        Place::Service(name) => services::one(seen, asked, name),
        Place::Routes => routes::page(seen, asked),
        Place::Keys(at) => keys::page(seen, asked, at),
        Place::Search => search::page(seen, asked),
    }
}

fn rendered(seen: &Seen, asked: &Asked) -> Rendered {
    shown(seen, asked).rendered(seen.stamp(&asked.place))
}

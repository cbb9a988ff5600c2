//! The web page over a real server: what its pages say, how they are kept up to date, and that
//! nobody's words become markup.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use http_body_util::BodyExt;
use logic::catalog::View;
use logic::model::{
    Allocation, CHECK_CRITICAL, CHECK_WARNING, CLIENT_FAILED, CLIENT_RUNNING, KvChange, Plan,
    Resources,
};
use logic::state::{Command, Store};
use serde_json::{Value, json};
use tower_service::Service;

use super::drain::comes_up;
use super::fixture::{Agent, Answer, NODE, NODE_ID, answer, check_web, get, put, request, web_job};
use super::passing_on::{RPC, open};

const SOON: Duration = Duration::from_secs(20);
const EVIL: &str = "<script>alert(\"it's\")</script>&amp;";

async fn page(agent: &Agent, path: &str) -> Answer {
    let answer = get(&agent.nomad, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text);
    answer
}

/// What a page says, without its markup.
fn words(html: &str) -> String {
    let mut text = String::new();
    let mut within = false;
    for c in html.chars() {
        match c {
            '<' => within = true,
            '>' => {
                within = false;
                text.push(' ');
            }
            c if !within => text.push(c),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn says(page: &Answer, sentence: &str) {
    let words = words(&page.text);
    assert!(words.contains(sentence), "{sentence:?} isn't in {words}");
}

/// Shows the catalog to the agent's replica, as the catalog's actor would. The service is that of
/// the job.
fn publish_catalog(agent: &Agent) {
    let store = agent.now();
    let mut catalog = store.catalog("dc1");
    let alloc = store.allocs_of_job("web").next().unwrap();
    for service in &mut catalog.services {
        service.alloc_id.clone_from(&alloc.id);
    }
    let view = View::new(catalog);
    agent.view.send_replace(Arc::new(view));
}

/// A job that is like `web` but for its id and the memory that it takes.
fn job(id: &str, memory_mb: i64) -> Value {
    let mut job = web_job();
    job["Job"]["ID"] = id.into();
    job["Job"]["Name"] = id.into();
    job["Job"]["TaskGroups"][0]["Tasks"][0]["Resources"]["MemoryMB"] = memory_mb.into();
    job
}

#[actix::test]
async fn every_page_is_there_and_says_what_it_is_about() {
    let (agent, alloc) = Agent::with_web().await;
    publish_catalog(&agent);
    let change = KvChange::Put {
        key: "config/app".to_owned(),
        value: "on".into(),
        flags: 7,
        cas: None,
    };
    agent.propose(Command::Kv { change }).await;
    let eval = agent.now().evals_of_job("web").next().unwrap().id.clone();
    let short = &alloc[..8];
    for (path, sentence) in [
        ("/ui/".to_owned(), "Everything runs as asked."),
        ("/ui/".to_owned(), "Service instances 1 1 passing"),
        ("/ui/jobs".to_owned(), "1/1 running"),
        ("/ui/jobs?q=nosuch".to_owned(), "No job is like that."),
        ("/ui/jobs?status=running".to_owned(), "web"),
        ("/ui/jobs/web".to_owned(), "Task started by client"),
        ("/ui/jobs/web@default".to_owned(), "drover job stop web"),
        ("/ui/jobs/web/allocations".to_owned(), short),
        ("/ui/jobs/web/versions".to_owned(), "Version 0 current"),
        ("/ui/jobs/web/evaluations".to_owned(), "job-register"),
        (
            "/ui/jobs/web/definition".to_owned(),
            "&quot;TaskGroups&quot;",
        ),
        (
            format!("/ui/allocations/{alloc}"),
            "Started Task started by client",
        ),
        (
            format!("/ui/allocations/{alloc}"),
            "HTTP GET http://10.0.0.2/: 200 OK",
        ),
        (
            format!("/ui/evaluations/{eval}"),
            "Triggered by job-register",
        ),
        ("/ui/clients".to_owned(), NODE),
        (format!("/ui/clients/{NODE_ID}"), "kernel.name linux"),
        (format!("/ui/clients/{NODE}"), NODE_ID),
        ("/ui/servers".to_owned(), "leader"),
        ("/ui/services".to_owned(), "1/1 passing"),
        (
            "/ui/services/web".to_owned(),
            "1 of 1 instance passes. From web",
        ),
        ("/ui/routes".to_owned(), "web.example/ http://10.0.0.2:"),
        ("/ui/kv/".to_owned(), "config/ 1 key"),
        ("/ui/kv/config/".to_owned(), "app 2 bytes"),
        ("/ui/kv/config/app".to_owned(), "Flags 7"),
        ("/ui/search?q=we".to_owned(), "Jobs 1 web"),
    ] {
        says(&page(&agent, &path).await, sentence);
        let other = get(&agent.consul, &path).await;
        assert_eq!(other.status, StatusCode::OK, "{path} on the catalog's port");
    }
}

#[actix::test]
async fn addresses_that_others_know_lead_on() {
    let (agent, alloc) = Agent::with_web().await;
    for (path, location) in [
        ("/".to_owned(), "/ui/".to_owned()),
        ("/ui".to_owned(), "/ui/".to_owned()),
        (
            "/ui/dc1/services/web".to_owned(),
            "/ui/services/web".to_owned(),
        ),
        ("/ui/dc1/kv/a/b/edit".to_owned(), "/ui/kv/a/b".to_owned()),
        ("/ui/jobs/web/web".to_owned(), "/ui/jobs/web".to_owned()),
        (
            format!("/ui/allocations/{}", &alloc[..8]),
            format!("/ui/allocations/{alloc}"),
        ),
        (
            format!("/ui/search?q={}", &alloc[..6]),
            format!("/ui/allocations/{alloc}"),
        ),
        ("/ui/search?q=web".to_owned(), "/ui/jobs/web".to_owned()),
    ] {
        for router in [&agent.nomad, &agent.consul] {
            let answer = get(router, &path).await;
            assert!(answer.status.is_redirection(), "{path}: {}", answer.status);
            assert_eq!(answer.headers["location"], location, "{path}");
        }
    }
    for path in [
        "/ui/jobs/nosuch",
        "/ui/allocations/nosuch",
        "/ui/services/nosuch",
        "/ui/what",
    ] {
        let answer = get(&agent.nomad, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        says(&answer, "Not found");
    }
}

#[actix::test]
async fn nothing_is_fetched_from_elsewhere_and_what_is_built_in_is_kept() {
    let (agent, _) = Agent::with_web().await;
    let answer = page(&agent, "/ui/jobs/web").await;
    let policy = &answer.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    for forbidden in [
        "http://",
        "https://",
        " style=",
        " onclick=",
        "<script>",
        "javascript:",
    ] {
        assert!(!answer.text.contains(forbidden), "{forbidden}");
    }
    let assets = answer
        .text
        .split('"')
        .filter(|text| text.starts_with("/ui/assets/"));
    let assets: Vec<_> = assets.collect();
    assert_eq!(assets.len(), 3, "{assets:?}");
    for asset in assets {
        let file = get(&agent.nomad, asset).await;
        assert_eq!(file.status, StatusCode::OK, "{asset}");
        assert!(
            file.headers["cache-control"].contains("immutable"),
            "{asset}"
        );
        assert!(
            !file.text.contains("http") || asset.ends_with("icon.svg"),
            "{asset}"
        );
    }
    let other = get(&agent.nomad, "/ui/assets/0/style.css").await;
    assert_eq!(other.headers["cache-control"], "no-store");
    let none = get(&agent.nomad, "/ui/assets/0/nosuch").await;
    assert_eq!(none.status, StatusCode::NOT_FOUND);
}

#[actix::test]
async fn what_people_name_never_becomes_markup() {
    let (agent, _) = Agent::with_web().await;
    let mut evil = job(EVIL, 10);
    evil["Job"]["Meta"] = json!({ EVIL: EVIL });
    let registered = put(&agent.nomad, "/v1/jobs", &evil).await;
    assert_eq!(registered.status, StatusCode::OK, "{}", registered.text);
    agent
        .until(|store| store.allocs_of_job(EVIL).next().is_some())
        .await;
    let alloc = agent.now().allocs_of_job(EVIL).next().unwrap().id.clone();
    let put = KvChange::Put {
        key: format!("folder/{EVIL}"),
        value: EVIL.into(),
        flags: 0,
        cas: None,
    };
    agent.propose(Command::Kv { change: put }).await;
    let encoded = "%3Cscript%3Ealert%28%22it%27s%22%29%3C%2Fscript%3E%26amp%3B";
    for path in [
        "/ui/".to_owned(),
        "/ui/jobs".to_owned(),
        format!("/ui/jobs?q={encoded}"),
        format!("/ui/jobs/{encoded}"),
        format!("/ui/jobs/{encoded}/definition"),
        format!("/ui/allocations/{alloc}"),
        "/ui/kv/folder/".to_owned(),
        "/ui/search?q=%3Cscript".to_owned(),
        format!("/ui/search?q=x{encoded}"),
        format!("/ui/jobs/x{encoded}"),
    ] {
        let answer = get(&agent.nomad, &path).await;
        assert!(!answer.text.contains("<script>"), "{path}");
        assert!(!answer.text.contains("\"it's"), "{path}");
    }
}

#[actix::test]
async fn why_a_job_has_no_place_is_told_in_numbers_until_it_has_one() {
    let (agent, _) = Agent::with_web().await;
    let registered = put(&agent.nomad, "/v1/jobs", &job("big", 90_000)).await;
    assert_eq!(registered.status, StatusCode::OK, "{}", registered.text);
    let blocked = |id: &'static str, wanted: bool| {
        move |store: &logic::state::Store| {
            let mut evals = store.evals_of_job(id);
            evals.any(|eval| eval.status == "blocked") == wanted
        }
    };
    agent.until(blocked("big", true)).await;
    for path in ["/ui/", "/ui/jobs", "/ui/jobs/big"] {
        let sentence = "1 allocation of group web has no place: of 1 ready node, 1 lacks memory";
        says(&page(&agent, path).await, sentence);
    }
    says(
        &page(&agent, "/ui/jobs/big").await,
        "needs 90000 MB of memory",
    );
    let smaller = put(&agent.nomad, "/v1/jobs", &job("big", 10)).await;
    assert_eq!(smaller.status, StatusCode::OK, "{}", smaller.text);
    agent
        .until(|store| store.allocs_of_job("big").next().is_some())
        .await;
    agent.until(blocked("big", false)).await;
    let now = page(&agent, "/ui/jobs/big").await;
    assert!(!now.text.contains("no place"), "{}", words(&now.text));
    let versions = page(&agent, "/ui/jobs/big/versions").await;
    says(&versions, "MemoryMB 90000 → 10");
}

#[actix::test]
async fn a_rollout_is_shown_with_how_far_it_is_and_how_it_ended() {
    let (agent, _) = Agent::with_web().await;
    let mut rolled = job("rolled", 10);
    rolled["Job"]["Update"] = json!({
        "MaxParallel": 1,
        "HealthCheck": "checks",
        "MinHealthyTime": 10_000_000_000_i64,
        "HealthyDeadline": 300_000_000_000_i64,
        "ProgressDeadline": 600_000_000_000_i64,
    });
    let registered = put(&agent.nomad, "/v1/jobs", &rolled).await;
    assert_eq!(registered.status, StatusCode::OK, "{}", registered.text);
    agent
        .until(|store| store.allocs_of_job("rolled").next().is_some())
        .await;
    for path in ["/ui/jobs/rolled", "/ui/jobs/rolled/deployments"] {
        let page = page(&agent, path).await;
        says(&page, "Deployment is running");
        says(&page, "web 0/1 healthy 1 0 none in 10m");
    }
    let sentence = "Version 0 is being rolled out: 0 of 1 healthy";
    says(&page(&agent, "/ui/jobs").await, sentence);
    let id = agent.now().deployments_of_job("rolled")[0].id.clone();
    let failed = put(
        &agent.nomad,
        &format!("/v1/deployment/fail/{id}"),
        &json!({}),
    )
    .await;
    assert_eq!(failed.status, StatusCode::OK, "{}", failed.text);
    let sentence = "rolled : Version 0: Deployment marked as failed";
    says(&page(&agent, "/ui/").await, sentence);
    says(
        &page(&agent, "/ui/jobs/web/deployments").await,
        "None: a job with an update block",
    );
}

#[actix::test]
async fn the_overview_is_a_screenful_and_tells_warnings_from_failures() {
    let (agent, alloc) = Agent::with_web().await;
    let mut catalog = agent.now().catalog("dc1");
    let (service, check) = (catalog.services[0].clone(), catalog.checks.clone());
    let check = check.iter().find(|check| check.service_id == service.id);
    let check = check.unwrap().clone();
    let mut offer = |name: &str, status: &str, alloc: &str| {
        let (mut service, mut check) = (service.clone(), check.clone());
        (service.id, service.service) = (format!("{name}-1"), name.to_owned());
        service.alloc_id = alloc.to_owned();
        check.check_id = format!("{name}-check");
        (check.service_id, check.service_name) = (service.id.clone(), name.to_owned());
        check.status = status.to_owned();
        catalog.services.push(service);
        catalog.checks.push(check);
    };
    for number in 0..20 {
        offer(&format!("sick-{number}"), CHECK_CRITICAL, "");
    }
    offer("warned", CHECK_WARNING, "");
    offer("gone", CHECK_CRITICAL, &alloc);
    agent.view.send_replace(Arc::new(View::new(catalog)));

    let overview = page(&agent, "/ui/").await;
    says(
        &overview,
        "warned : 1 of 1 instance of this service has a warning",
    );
    says(
        &overview,
        "sick-0 : 1 of 1 instance of this service fails its checks",
    );
    says(&overview, "21 critical");
    let services = page(&agent, "/ui/services").await;
    says(&services, "sick-0 critical");
    let (first, others) = overview.text.split_once("<details").unwrap();
    assert_eq!(first.matches("of this service").count(), 12);
    assert!(words(others).contains("more"), "{}", words(others));

    let stop = put(
        &agent.nomad,
        &format!("/v1/allocation/{alloc}/stop"),
        &json!({}),
    )
    .await;
    assert_eq!(stop.status, StatusCode::OK, "{}", stop.text);
    let next = |store: &Store| store.alloc(&alloc).unwrap().next_allocation.clone();
    let store = agent.until(|store| !next(store).is_empty()).await;
    comes_up(&agent, &next(&store)).await;
    agent
        .until(|store| store.alloc(&alloc).unwrap().server_terminal())
        .await;
    let overview = page(&agent, "/ui/").await;
    assert!(!overview.text.contains(">gone<"), "its job tells");
}

/// Puts as many allocations of `web` on the node, all running but the last.
async fn many(agent: &Agent, count: usize) {
    let store = agent.now();
    let first = store.allocs_of_job("web").next().unwrap().clone();
    let alloc = |number: usize| Allocation {
        id: format!("{number:08x}-0000-4000-8000-000000000000"),
        name: format!("web.web[{number}]"),
        client_status: if number == count {
            CLIENT_FAILED
        } else {
            CLIENT_RUNNING
        }
        .to_owned(),
        resources: Resources::default(),
        task_resources: BTreeMap::new(),
        ..(*first).clone()
    };
    let plan = Plan {
        job: store.job("web").map(|job| (**job).clone()),
        places: (1..=count).map(alloc).collect(),
        ..Plan::default()
    };
    agent
        .propose(Command::ApplyPlan {
            plan: Box::new(plan),
        })
        .await;
}

#[actix::test]
async fn a_job_with_thousands_of_allocations_is_shown_page_by_page() {
    let (agent, _) = Agent::with_web().await;
    many(&agent, 5_000).await;
    let all = agent.now().allocs_of_job("web").count();
    assert_eq!(all, 5_001);
    let overview = page(&agent, "/ui/jobs/web").await;
    assert!(
        overview.text.len() < 100_000,
        "{} bytes",
        overview.text.len()
    );
    let first = page(&agent, "/ui/jobs/web/allocations").await;
    assert!(first.text.len() < 200_000, "{} bytes", first.text.len());
    assert_eq!(first.text.matches("<tr data-key=\"a-").count(), 100);
    let last = all.div_ceil(100);
    let rest = page(&agent, &format!("/ui/jobs/web/allocations?page={last}")).await;
    assert_eq!(
        rest.text.matches("<tr data-key=\"a-").count(),
        all - (last - 1) * 100
    );
    let client = page(&agent, &format!("/ui/clients/{NODE_ID}?page=2")).await;
    assert_eq!(client.text.matches("<tr data-key=\"a-").count(), 100);
}

/// A browser's side of a stream of events.
struct Events {
    body: Body,
    text: String,
}

impl Events {
    async fn open(agent: &Agent, path: &str) -> Self {
        let Ok(response) = agent.nomad.clone().call(request("GET", path, "")).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert!(
            response.headers()["content-type"]
                .to_str()
                .unwrap()
                .starts_with("text/event-stream")
        );
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// The stream that a page's own script would open.
    async fn of_page(agent: &Agent, path: &str) -> Self {
        let page = page(agent, path).await;
        let (_, rest) = page.text.split_once("data-live=\"").unwrap();
        let (live, _) = rest.split_once('"').unwrap();
        Self::open(agent, &live.replace("&amp;", "&")).await
    }

    /// The next event with this name.
    async fn next(&mut self, name: &str) -> Option<Value> {
        let within = tokio::time::timeout(SOON, self.find(name));
        within
            .await
            .unwrap_or_else(|_| panic!("no {name} within {SOON:?}"))
    }

    async fn find(&mut self, name: &str) -> Option<Value> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let mut lines = event.lines();
                if lines.next() == Some(&format!("event: {name}")) {
                    let data = lines.find_map(|line| line.strip_prefix("data: ")).unwrap();
                    return Some(serde_json::from_str(data).unwrap());
                }
            }
            let frame = self.body.frame().await?.unwrap();
            let bytes = frame.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }
}

fn parts(news: &Value) -> String {
    let parts = news["parts"].as_array().unwrap().iter();
    let htmls: Vec<_> = parts
        .map(|part| part[1].as_str().unwrap().to_owned())
        .collect();
    words(&htmls.join(" "))
}

#[actix::test]
async fn a_page_hears_of_changes_and_only_of_its_parts_that_changed() {
    let (agent, _) = Agent::with_web().await;
    publish_catalog(&agent);
    let mut events = Events::of_page(&agent, "/ui/services/web").await;
    assert!(events.next("hello").await.unwrap()["now"].is_number());
    agent.propose(check_web(CHECK_CRITICAL)).await;
    publish_catalog(&agent);
    let news = events.next("parts").await.unwrap();
    assert!(parts(&news).contains("0 of 1 instance passes."), "{news}");
    agent.propose(check_web("passing")).await;
    publish_catalog(&agent);
    let news = events.next("parts").await.unwrap();
    assert!(parts(&news).contains("1 of 1 instance passes."), "{news}");
    let ids: Vec<_> = news["parts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|part| &part[0])
        .collect();
    assert_eq!(ids, ["head", "list"], "the commands are the same");
}

#[actix::test]
async fn a_page_hears_that_what_it_shows_is_gone() {
    let agent = Agent::server().await;
    put(&agent.nomad, "/v1/jobs", &job("gone", 10)).await;
    let mut events = Events::of_page(&agent, "/ui/jobs/gone").await;
    let purge = request("DELETE", "/v1/job/gone?purge=true", "");
    answer(&agent.nomad, purge).await;
    let news = loop {
        let news = events.next("parts").await.unwrap();
        if news["title"] == "Not found" {
            break news;
        }
    };
    assert_eq!(
        news["ids"],
        json!(["head"]),
        "it has no other parts: {news}"
    );
}

#[actix::test]
async fn who_comes_back_with_an_older_state_is_told_at_once() {
    let (agent, _) = Agent::with_web().await;
    let mut events = Events::open(&agent, "/ui/jobs/web?live=1&since=long-ago").await;
    let news = events.next("parts").await.unwrap();
    assert_eq!(news["title"], "web");
    assert!(parts(&news).contains("running"), "{news}");
}

#[actix::test]
async fn streams_are_limited_and_free_their_places_when_nobody_listens() {
    let (agent, _) = Agent::with_web().await;
    let mut open = Vec::new();
    let refused: Response = loop {
        let path = "/ui/jobs?live=1";
        let Ok(response) = agent.nomad.clone().call(request("GET", path, "")).await;
        if response.status() != StatusCode::OK {
            break response;
        }
        open.push(response);
        assert!(open.len() < 1_000, "there is a limit");
    };
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    page(&agent, "/ui/jobs").await;
    open.pop();
    Events::open(&agent, "/ui/jobs?live=1").await;
}

#[actix::test]
async fn output_is_shown_and_followed_where_the_page_ends() {
    let (agent, alloc) = Agent::with_web().await;
    let path = format!("/ui/allocations/{alloc}/web/logs");
    says(&page(&agent, &path).await, "not started yet");
    agent.machine.tasks.write(&alloc, "web", "one <b>\n");
    let shown = page(&agent, &path).await;
    assert!(
        shown.text.contains("one &lt;b&gt;\n</pre>"),
        "{}",
        shown.text
    );
    let mut events = Events::of_page(&agent, &path).await;
    for text in ["two\n", "楼\u{1b}[31m!\n"] {
        agent.machine.tasks.write(&alloc, "web", text);
        let output = events.next("output").await.unwrap();
        assert_eq!(output, text.replace("\u{1b}[31m", ""));
    }
    let answer = get(
        &agent.nomad,
        &format!("/ui/allocations/{alloc}/nosuch/logs"),
    )
    .await;
    says(&answer, "does not have task with name &quot;nosuch&quot;");
}

#[actix::test]
async fn an_agent_that_is_no_server_shows_the_same_and_keeps_it_up_to_date() {
    let (server, _) = Agent::with_web().await;
    open(&server).await;
    let agent = Agent::beside(&server, &[RPC]);
    for path in ["/ui/jobs/web", "/ui/servers", "/ui/nothing"] {
        let (here, there) = (
            get(&agent.nomad, path).await,
            get(&server.nomad, path).await,
        );
        assert_eq!(here.status, there.status, "{path}");
        assert_eq!(words(&here.text), words(&there.text), "{path}");
    }
    let mut events = Events::of_page(&agent, "/ui/jobs").await;
    events.next("hello").await.unwrap();
    let registered = put(&server.nomad, "/v1/jobs", &job("second", 10)).await;
    assert_eq!(registered.status, StatusCode::OK, "{}", registered.text);
    loop {
        let news = events.next("parts").await.unwrap();
        if parts(&news).contains("second") {
            break;
        }
    }
}

#[actix::test]
async fn without_a_server_the_page_says_so() {
    let server = Agent::server().await;
    let agent = Agent::beside(&server, &["10.0.0.9:4647"]);
    let answer = get(&agent.nomad, "/ui/jobs").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    says(
        &answer,
        "This agent can't show the cluster now No cluster leader",
    );
    let mut events = Events::open(&agent, "/ui/jobs?live=1").await;
    let trouble = events.next("trouble").await.unwrap();
    assert!(
        trouble.as_str().unwrap().contains("No cluster leader"),
        "{trouble}"
    );
}

//! The web page in a real browser: clicked through, live without reloading, readable on a phone,
//! in the dark and without JavaScript, and silent towards everybody else.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::program::{Agent, eventually};
use crate::webdriver::Browser;

/// Writes a line now and then, and has an odd name.
const TICKER: &str = r#"
job "tick<b>er</b>" {
  datacenters = ["dc1"]
  group "ticker" {
    task "tick" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args    = ["-c", "i=0; while :; do i=$((i+1)); echo \"tick $i <i>\"; sleep 0.2; done"]
      }
    }
  }
}
"#;

/// Asks for more than there is.
const HUGE: &str = r#"
job "huge" {
  datacenters = ["dc1"]
  group "huge" {
    task "huge" {
      driver = "raw_exec"
      config {
        command = "/bin/sleep"
        args    = ["1000"]
      }
      resources {
        memory = 90000000
      }
    }
  }
}
"#;

fn hello(agent: &Agent) -> String {
    let path = crate::program::repository().join("docs/jobs/quickstart.nomad");
    std::fs::read_to_string(path)
        .expect("the job file")
        .replace(":9999", &format!(":{}", agent.proxy_port()))
}

fn run(agent: &Agent, name: &str, job: &str) {
    let file = agent.write(name, job);
    agent.ask(&["job", "run", "-detach", &file]);
}

fn url(agent: &Agent, path: &str) -> String {
    format!("http://127.0.0.1:{}{path}", agent.http_port())
}

#[test]
fn the_page_is_clicked_through_and_is_live() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let agent = Agent::dev(430);
    browser.open(&url(&agent, "/"));
    assert_eq!(browser.path(), "/ui/");
    browser.sees("nobody has asked it for anything yet");
    // A reload would take this with it.
    browser.script("window.still = true");
    run(&agent, "hello.nomad", &hello(&agent));
    run(&agent, "ticker.nomad", TICKER);
    browser.sees("hello.hello[1]");
    browser.sees("Everything runs as asked.");
    run(&agent, "huge.nomad", HUGE);
    browser.sees("1 allocation of group huge has no place: of 1 ready node, 1 lacks memory");
    assert_eq!(
        browser.script("return window.still"),
        true,
        "it was reloaded"
    );
    eventually("the title tells the problem", || {
        let title = browser.script("return document.title");
        (title == "1 problem · Drover").then_some(())
    });

    a_job_is_found_and_seen_stopping(&agent, &browser);
    logs_are_followed(&browser);
    keys_work(&agent, &browser);
    nothing_else_was_asked_for(&agent, &browser);
}

fn a_job_is_found_and_seen_stopping(agent: &Agent, browser: &Browser) {
    browser.click("a", "Jobs");
    browser.sees("tick<b>er</b>");
    browser.click("a", "hello");
    browser.sees("hello[1]");
    assert_eq!(browser.path(), "/ui/jobs/hello");
    browser.click("a", "Versions");
    browser.sees("The first one.");
    let fewer = hello(agent).replace("count = 2", "count = 1");
    run(agent, "hello.nomad", &fewer);
    browser.sees("group hello › Count 2 → 1");
    browser.click("a", "Overview");
    browser.open(&url(agent, "/ui/jobs/hello"));
    browser.script(
        "window.still = true; getSelection().selectAllChildren(document.querySelector('h1'))",
    );
    agent.ask(&["job", "stop", "-detach", "hello"]);
    browser.sees("dead (stopped)");
    assert_eq!(
        browser.script("return window.still"),
        true,
        "it was reloaded"
    );
    let selected = browser.script("return getSelection().toString()");
    assert_eq!(selected, "hello", "what a reader selected stays selected");
}

fn logs_are_followed(browser: &Browser) {
    browser.click("a", "Jobs");
    browser.click("a", "tick<b>er</b>");
    browser.click("a", "logs");
    browser.sees("tick 1 <i>");
    browser.script("window.still = true");
    let lines = || browser.text().matches("<i>").count();
    let before = lines();
    eventually("more is written", || (lines() >= before + 5).then_some(()));
    assert_eq!(
        browser.script("return window.still"),
        true,
        "it was reloaded"
    );
    let text = browser.text();
    let numbers: Vec<usize> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("tick ")?
                .strip_suffix(" <i>")?
                .parse()
                .ok()
        })
        .collect();
    let expected: Vec<usize> = (1..=numbers.len()).collect();
    assert_eq!(numbers, expected, "no line is missing or twice");
    browser.click("a", "stderr");
    browser.sees("Nothing was written yet.");
}

fn keys_work(agent: &Agent, browser: &Browser) {
    browser.press("/");
    let focused = browser.script("return document.activeElement.name");
    assert_eq!(focused, "q", "/ leads to the search");
    browser.open(&url(agent, "/ui/search?q=hello"));
    assert_eq!(browser.path(), "/ui/jobs/hello");
    browser.click("button", "copy");
    eventually("it says that it was copied", || {
        let done = browser.script("return document.querySelectorAll('button.done').length");
        (done == 1).then_some(())
    });
}

fn nothing_else_was_asked_for(agent: &Agent, browser: &Browser) {
    let asked = browser.asked_for();
    let ours = url(agent, "/");
    let others: BTreeSet<&String> = asked
        .iter()
        .filter(|url| !url.starts_with(&ours) && url.starts_with("http"))
        .collect();
    assert!(asked.len() > 10, "{asked:?}");
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

/// What is wider than the screen, and what is hard to read.
const LOOK: &str = r#"
const luminance = (color) => {
  const [r, g, b] = color.map((part) => {
    const c = part / 255;
    return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const parse = (text) => (text.match(/[\d.]+/g) || []).map(Number);
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const color = parse(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color.slice(0, 3);
  }
  return [255, 255, 255];
};
const found = [];
if (document.documentElement.scrollWidth > innerWidth) found.push("wider than the screen");
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  const box = node.getBoundingClientRect();
  const text = walker.currentNode.nodeValue.trim();
  if (!text || !box.width || node.closest(".hidden, .skip, noscript, script, option")) continue;
  const front = luminance(parse(getComputedStyle(node).color).slice(0, 3));
  const back = luminance(behind(node));
  const ratio = (Math.max(front, back) + 0.05) / (Math.min(front, back) + 0.05);
  if (ratio < 4.5) found.push(`${ratio.toFixed(2)}: ${text}`);
}
for (const control of document.querySelectorAll("a, button, input, select")) {
  const name = control.textContent.trim() || control.getAttribute("aria-label");
  const label = control.closest("label");
  if (!name && !label) found.push(`no name: ${control.outerHTML}`);
}
return found;
"#;

/// A page of each kind.
fn every_page(agent: &Agent, alloc: &str) -> Vec<String> {
    let nodes = agent.nomad("GET", "/v1/nodes", "").expect("an answer");
    let node = nodes.json()[0]["ID"].take();
    let node = node.as_str().expect("an id");
    let mut pages: Vec<String> = [
        "/ui/",
        "/ui/jobs",
        "/ui/jobs/huge",
        "/ui/jobs/hello",
        "/ui/jobs/hello/allocations",
        "/ui/jobs/hello/deployments",
        "/ui/jobs/hello/versions",
        "/ui/jobs/hello/evaluations",
        "/ui/jobs/hello/definition",
        "/ui/clients",
        "/ui/servers",
        "/ui/services",
        "/ui/services/hello",
        "/ui/routes",
        "/ui/kv/a/long/key/of/some/",
        "/ui/kv/a/long/key/of/some/application",
        "/ui/search?q=h",
        "/ui/nothing",
        // The edge's own page.
        "/routes",
    ]
    .map(str::to_owned)
    .into();
    pages.push(format!("/ui/allocations/{alloc}"));
    pages.push(format!("/ui/allocations/{alloc}/hello/logs"));
    pages.push(format!("/ui/clients/{node}"));
    pages
}

#[test]
fn every_page_is_readable_on_a_phone_and_in_the_dark() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let agent = Agent::dev(440);
    run(&agent, "hello.nomad", &hello(&agent));
    run(&agent, "huge.nomad", HUGE);
    agent.ask(&["kv", "put", "a/long/key/of/some/application", "on"]);
    eventually("both instances pass", || {
        (agent.passing("hello").len() == 2).then_some(())
    });
    let allocs = agent.nomad("GET", "/v1/job/hello/allocations", "");
    let alloc = allocs.expect("an answer").json()[0]["ID"].take();
    let alloc = alloc.as_str().expect("an id");
    let pages = every_page(&agent, alloc);
    let mut found = Vec::new();
    for (scheme, width) in [
        ("light", 375),
        ("dark", 375),
        ("light", 1280),
        ("dark", 1280),
    ] {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        browser.chromium(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [feature] }),
        );
        let screen =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500 });
        browser.chromium("Emulation.setDeviceMetricsOverride", &screen);
        for page in &pages {
            let routes = 9_998 + 440;
            browser.open(&match page.as_str() {
                "/routes" => format!("http://127.0.0.1:{routes}/routes"),
                page => url(&agent, page),
            });
            let Value::Array(wrong) = browser.script(LOOK) else {
                panic!("{page}: not a list");
            };
            found.extend(
                wrong
                    .iter()
                    .map(|wrong| format!("{page} {scheme} {width}: {wrong}")),
            );
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn without_javascript_there_is_all_but_news() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let agent = Agent::dev(450);
    run(&agent, "hello.nomad", &hello(&agent));
    browser.chromium(
        "Emulation.setScriptExecutionDisabled",
        &json!({ "value": true }),
    );
    eventually("reloading shows what runs", || {
        browser.open(&url(&agent, "/ui/jobs"));
        browser.text().contains("2/2 running").then_some(())
    });
    let header = browser.script("return document.querySelector('header').innerText");
    assert!(
        header.as_str().unwrap_or_default().contains("Not live"),
        "{header}"
    );
}

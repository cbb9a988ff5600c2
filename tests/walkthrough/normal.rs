//! What differs from run to run, under names that don't: ids, times, addresses, indexes, use.

use std::collections::BTreeMap;

use regex_lite::Regex;
use serde_json::Value;

/// What a step's answer may vary in beyond that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Loose {
    /// It depends on where something was placed.
    pub(crate) placed: bool,
    /// Its lines may come in any order.
    pub(crate) unordered: bool,
    /// How often a line comes means nothing.
    pub(crate) kinds: bool,
}

/// In the order in which they are replaced.
const ALWAYS: &[(&str, &str)] = &[
    (
        r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        "<uuid>",
    ),
    (r"_nomad-task-[a-z2-7]{32}", "_nomad-task-<id>"),
    (r"\b[0-9a-f]{40}\b", "<hash>"),
    (
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
        "<time>",
    ),
    (r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", "<time>"),
    (
        r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}",
        "<time>",
    ),
    (
        r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT",
        "<date>",
    ),
    (r"\b(\d+(h|m|s|ms))+ (ago|from now)", "<age> $3"),
    (r"Uptime(\s+)= \S+", "Uptime$1= <age>"),
    (r"restarting in [0-9.]+s", "restarting in <time>"),
    (r"Allocation Time     = \S+", "Allocation Time     = <time>"),
    (r#"binpack" = [0-9.]+"#, r#"binpack" = <n>"#),
    // Ports that were chosen for a task.
    (r"\b(2\d|3[01])\d{3}\b", "<port>"),
    (r"\b[0-9a-f]{8}\b", "<id>"),
    (
        r"(Job Modify Index: |-check-index |job modify index:? )[0-9]+",
        "$1<n>",
    ),
    (r#"("\w*Index": )\d+"#, "$1<n>"),
    (r#"("SubmitTime": )\d+"#, "$1<n>"),
    (r"\d+/(\d{1,3}) MHz", "<n>/$1 MHz"),
    (r"\d+/\d{4,} MHz", "<n>/<n> MHz"),
    (r"[0-9.]+ [KMG]?i?B/([0-9.]+ MiB)", "<n>/$1"),
    (r"[0-9.]+ [KMG]?i?B/[0-9.]+ GiB", "<n>/<n>"),
    // dig
    (r"id: \d+", "id: <n>"),
    (r"Query time: \d+ msec", "Query time: <n> msec"),
    (r"WHEN: .*", "WHEN: <time>"),
    (r"MSG SIZE  rcvd: \d+", "MSG SIZE  rcvd: <n>"),
    (r"hostmaster\.consul\. \d+", "hostmaster.consul. <n>"),
    // ping
    (r"time[= ][0-9.]+ ?ms", "time <n> ms"),
    (r"[0-9.]+/[0-9.]+/[0-9.]+(/[0-9.]+)? ms", "<n> ms"),
    (r"ttl=\d+", "ttl=<n>"),
    // Columns are as wide as what is in them.
    (r"(\S)[ \t]+=( |\n)", "$1 =$2"),
    (r"(\S)(  +|\t+)", "$1  "),
];

const PLACED: &[(&str, &str)] = &[
    (r"172\.16\.66\.10[234]", "<address>"),
    (r"consul-[123]\b", "consul-<n>"),
    (r"dxnode[123]\b", "dxnode<n>"),
];

pub(crate) fn normal(text: &str, loose: Loose) -> String {
    let mut text = text.replace("\r\n", "\n");
    let placed = if loose.placed { PLACED } else { &[] };
    for (pattern, name) in ALWAYS.iter().chain(placed) {
        let pattern = Regex::new(pattern).expect("a pattern");
        text = pattern.replace_all(&text, *name).into_owned();
    }
    let mut lines: Vec<String> = Vec::new();
    // The order of names means nothing in JSON.
    let whole = serde_json::from_str::<Value>(&in_quotes(&text));
    if let Ok(json @ (Value::Object(_) | Value::Array(_))) = &whole {
        lines = fields("", json);
        text.clear();
    }
    for line in text.lines() {
        match serde_json::from_str::<Value>(line) {
            Ok(json @ Value::Object(_)) => lines.extend(fields("", &json)),
            _ => lines.push(line.trim_end().to_owned()),
        }
    }
    for head in lines.split_mut(String::is_empty) {
        plain_head(head);
    }
    if loose.unordered {
        lines.sort_unstable();
    }
    if loose.kinds {
        lines.dedup();
    }
    lines.join("\n").trim_end().to_owned()
}

/// Of an HTTP head neither the order nor the case of names means anything.
fn plain_head(lines: &mut [String]) {
    let Some(first) = lines.iter().position(|line| line.starts_with("HTTP/1.1 ")) else {
        return;
    };
    let headers = &mut lines[first + 1..];
    for line in headers.iter_mut() {
        if let Some((name, value)) = line.split_once(": ") {
            *line = format!("{}: {value}", name.to_lowercase());
        }
    }
    headers.sort_unstable();
}

/// Names that took a number's place in JSON are strings.
fn in_quotes(text: &str) -> String {
    let bare = Regex::new(r": <(n|port)>").expect("a pattern");
    bare.replace_all(text, ": \"<$1>\"").into_owned()
}

/// JSON as a line for each value.
fn fields(path: &str, json: &Value) -> Vec<String> {
    match json {
        Value::Object(map) if !map.is_empty() => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let inside = sorted
                .into_iter()
                .map(|(name, value)| fields(&format!("{path}.{name}"), value));
            inside.flatten().collect()
        }
        Value::Array(list) if !list.is_empty() => list
            .iter()
            .flat_map(|value| fields(&format!("{path}[]"), value))
            .collect(),
        value => vec![format!("{path} {value}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_from_run_to_run_is_named() {
        let strict = Loose::default();
        let placed = Loose {
            placed: true,
            ..strict
        };
        for (text, loose, expected) in [
            (
                "Allocation \"0e0dd4b7\" created",
                strict,
                "Allocation \"<id>\" created",
            ),
            (
                "11173477  15500a3f  web         1        run      running   10s ago  1m1s ago",
                strict,
                "<id>  <id>  web  1  run  running  <age> ago  <age> ago",
            ),
            (
                "Submit Date   = 2026-11-24T13:12:42Z",
                strict,
                "Submit Date = <time>",
            ),
            (
                "nomad job run -check-index 31 x",
                strict,
                "nomad job run -check-index <n> x",
            ),
            (
                "http: 172.16.66.103:26258",
                strict,
                "http: 172.16.66.103:<port>",
            ),
            (
                "http: 172.16.66.103:26258",
                placed,
                "http: <address>:<port>",
            ),
            (
                "0/100 MHz  820 KiB/300 MiB  300 MiB",
                strict,
                "<n>/100 MHz  <n>/300 MiB  300 MiB",
            ),
            ("Version     = 3", strict, "Version = 3"),
            (
                "+ Interval:      \"10000000000\"",
                strict,
                "+ Interval:  \"10000000000\"",
            ),
        ] {
            assert_eq!(normal(text, loose), expected);
        }
        let head = "HTTP/1.1 200 OK\nB: x\nA: y\n\nbody: z";
        assert_eq!(
            normal(head, strict),
            "HTTP/1.1 200 OK\na: y\nb: x\n\nbody: z"
        );
        assert_eq!(
            normal("{\"a\":{\"b\":[1,{}]}}", strict),
            ".a.b[] 1\n.a.b[] {}"
        );
        let unordered = Loose {
            unordered: true,
            ..strict
        };
        assert_eq!(normal("b\na \n", unordered), "a\nb");
    }
}

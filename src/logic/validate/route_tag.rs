//! Tags that publish a service at the edge: `urlprefix-HOST/PATH OPTIONS`.

use super::{did_you_mean, listed};
use crate::routes::{self, TAG_PREFIX};

const OPTIONS: [&str; 13] = [
    "proto",
    "tlsskipverify",
    "strip",
    "prepend",
    "host",
    "register",
    "redirect",
    "weight",
    "auth",
    "allow",
    "deny",
    "pxyproto",
    "grpcservername",
];

const PROTOCOLS: [&str; 6] = ["http", "https", "tcp", "tcp+sni", "grpc", "grpcs"];

type Wrong = (String, Option<String>);

/// Whether `tag` is an ordinary tag, or a route that the edge will understand.
pub(super) fn check(tag: &str) -> Result<(), Wrong> {
    let Some(route) = tag.strip_prefix(TAG_PREFIX) else {
        return Ok(());
    };
    let mut words = route.split_whitespace();
    let source = words.next().unwrap_or("");
    // A leading space would make the first option the source.
    let source = if route.starts_with(char::is_whitespace) {
        ""
    } else {
        source
    };
    check_source(tag, source)?;
    let mut seen = Vec::new();
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        if !OPTIONS.contains(&name) {
            let hint = did_you_mean(name, OPTIONS)
                .unwrap_or_else(|| format!("known are {}", listed(&OPTIONS)));
            return Err((
                format!("unknown option `{name}` in tag `{tag}`"),
                Some(hint),
            ));
        }
        if seen.contains(&name) {
            return Err((format!("option `{name}` twice in tag `{tag}`"), None));
        }
        seen.push(name);
        check_option(tag, name, value)?;
    }
    if seen.contains(&"allow") && seen.contains(&"deny") {
        return Err((format!("both `allow` and `deny` in tag `{tag}`"), None));
    }
    if route.contains("${") {
        // Only the node knows what stands there.
        return Ok(());
    }
    routes::check_tag(route).map_err(|why| (format!("tag `{tag}` is not a route: {why}"), None))
}

fn check_source(tag: &str, source: &str) -> Result<(), Wrong> {
    if let Some(port) = source.strip_prefix(':') {
        return match port.parse::<u16>() {
            Ok(number) if number > 0 => Ok(()),
            _ => Err((
                format!("`{port}` in tag `{tag}` is not a port"),
                Some(format!("such as `{TAG_PREFIX}:9997 proto=tcp`")),
            )),
        };
    }
    if source.contains('/') {
        return Ok(());
    }
    let hint = if source.is_empty() {
        format!("write `{TAG_PREFIX}HOST/PATH`, `{TAG_PREFIX}/PATH` or `{TAG_PREFIX}:PORT`")
    } else {
        format!("did you mean `{TAG_PREFIX}{source}/`?")
    };
    let expected = "expected HOST/PATH, /PATH or :PORT";
    Err((
        format!("tag `{tag}` is not a route: {expected}"),
        Some(hint),
    ))
}

fn check_option(tag: &str, name: &str, value: &str) -> Result<(), Wrong> {
    let is_fine = match name {
        "proto" => {
            if !PROTOCOLS.contains(&value) {
                let hint = did_you_mean(value, PROTOCOLS)
                    .unwrap_or_else(|| format!("known are {}", listed(&PROTOCOLS)));
                return Err((
                    format!("unknown proto `{value}` in tag `{tag}`"),
                    Some(hint),
                ));
            }
            true
        }
        "tlsskipverify" | "pxyproto" => matches!(value, "true" | "false"),
        "weight" => value
            .parse::<f64>()
            .is_ok_and(|weight| (0.0..=1.0).contains(&weight)),
        "strip" | "prepend" => value.starts_with('/'),
        "redirect" => routes::redirects(value),
        _ => !value.is_empty(),
    };
    if is_fine {
        return Ok(());
    }
    let expected = match name {
        "tlsskipverify" | "pxyproto" => "true or false",
        "weight" => "a number from 0 to 1",
        "strip" | "prepend" => "a path such as /api",
        "redirect" => "a status and a URL, such as 301,https://example.com$path",
        _ => "a value",
    };
    Err((
        format!("`{name}={value}` in tag `{tag}` makes no sense: expected {expected}"),
        None,
    ))
}

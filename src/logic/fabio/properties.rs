//! `fabio.properties`: `key = value` lines as Java reads them.

use std::collections::BTreeMap;

/// How deeply values may refer to others.
const DEPTH_MAX: usize = 16;

/// Reads a file. `${name}` stands for another key's value, or for a variable of the environment.
pub fn parse(
    text: &str,
    env: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut raw = BTreeMap::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while continues(&line) {
            line.pop();
            let Some(next) = lines.next() else { break };
            line.push_str(next.trim_start());
        }
        let (key, value) = split(&line);
        if key.is_empty() {
            return Err(format!("\"{line}\" has no key"));
        }
        raw.insert(key, value);
    }
    let expanded = raw.iter().map(|(key, value)| {
        let value = expand(value, &raw, env, 0).map_err(|why| format!("{key}: {why}"))?;
        Ok((key.clone(), value))
    });
    expanded.collect()
}

/// Ends with an odd number of backslashes.
fn continues(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// The key ends at the first `=`, `:` or space that isn't escaped.
fn split(line: &str) -> (String, String) {
    let mut key = String::new();
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next_if(|c| !c.is_whitespace() && !matches!(c, '=' | ':')) {
        if c == '\\' {
            unescape(&mut rest, &mut key);
        } else {
            key.push(c);
        }
    }
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
    if rest.next_if(|c| matches!(c, '=' | ':')).is_some() {
        while rest.next_if(|c| c.is_whitespace()).is_some() {}
    }
    let mut value = String::new();
    while let Some(c) = rest.next() {
        if c == '\\' {
            unescape(&mut rest, &mut value);
        } else {
            value.push(c);
        }
    }
    (key, value.trim_end().to_owned())
}

fn unescape(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    match rest.next() {
        Some('n') => out.push('\n'),
        Some('t') => out.push('\t'),
        Some('r') => out.push('\r'),
        Some('f') => out.push('\u{c}'),
        Some('u') => {
            let digits: String = rest.take(4).collect();
            let code = u32::from_str_radix(&digits, 16).ok();
            out.push(code.and_then(char::from_u32).unwrap_or('\u{fffd}'));
        }
        Some(other) => out.push(other),
        None => {}
    }
}

fn expand(
    value: &str,
    raw: &BTreeMap<String, String>,
    env: &BTreeMap<String, String>,
    depth: usize,
) -> Result<String, String> {
    let Some((before, after)) = value.split_once("${") else {
        return Ok(value.to_owned());
    };
    let Some((name, rest)) = after.split_once('}') else {
        return Err("a \"${\" isn't closed".to_owned());
    };
    if depth == DEPTH_MAX {
        return Err(format!("${{{name}}} refers to itself"));
    }
    let found = match raw.get(name) {
        Some(other) => expand(other, raw, env, depth + 1)?,
        None => env.get(name).cloned().unwrap_or_default(),
    };
    let rest = expand(rest, raw, env, depth)?;
    Ok(format!("{before}{found}{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_keys_and_values() {
        let text = "# a comment\n! another\n\n\
                    proxy.addr = :9999,\\\n    :9997;proto=tcp\n\
                    log.level:TRACE\nui.title my page\nempty =\n\
                    registry.static.routes = route add a /a http://h:1/\\n# b\n\
                    a\\:b = c\\\\d\nlong = ${log.level}-${HOME}${missing}\n";
        let env = BTreeMap::from([("HOME".to_owned(), "/root".to_owned())]);
        let read = parse(text, &env).expect("properties");
        for (key, value) in [
            ("proxy.addr", ":9999,:9997;proto=tcp"),
            ("log.level", "TRACE"),
            ("ui.title", "my page"),
            ("empty", ""),
            ("registry.static.routes", "route add a /a http://h:1/\n# b"),
            ("a:b", "c\\d"),
            ("long", "TRACE-/root"),
        ] {
            assert_eq!(read.get(key).map(String::as_str), Some(value), "{key}");
        }
    }

    #[test]
    fn what_has_no_meaning_is_refused() {
        let none = BTreeMap::new();
        assert_eq!(parse("= x", &none), Err("\"= x\" has no key".to_owned()));
        let itself = parse("a = ${b}\nb = ${a}", &none).expect_err("a circle");
        assert!(itself.ends_with("refers to itself"), "{itself}");
    }
}

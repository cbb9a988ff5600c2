//! Host patterns: `*.example.com`, `{www,api}.example.com`, `web-?.example.com`.

/// More alternatives than this in one pattern are left alone: `{` then means itself.
const ALTERNATIVES_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob {
    /// The pattern without braces: one for each choice.
    choices: Vec<Vec<u8>>,
}

impl Glob {
    pub(super) fn is_pattern(host: &str) -> bool {
        host.contains(['*', '?', '{'])
    }

    pub(super) fn new(pattern: &str) -> Self {
        let choices = alternatives(pattern)
            .unwrap_or_else(|| vec![pattern.to_owned()])
            .into_iter()
            .map(String::into_bytes)
            .collect();
        Self { choices }
    }

    pub(super) fn matches(&self, host: &str) -> bool {
        self.choices
            .iter()
            .any(|choice| wildcard(choice, host.as_bytes()))
    }
}

/// Writes out every choice of every `{a,b}`; none if there are too many or a brace is open.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let mut open = vec![String::new()];
    let mut rest = pattern;
    while let Some(start) = rest.find('{') {
        let end = start + rest[start..].find('}')?;
        let mut next = Vec::new();
        for done in &open {
            for choice in rest[start + 1..end].split(',') {
                next.push(format!("{done}{}{choice}", &rest[..start]));
            }
        }
        if next.len() > ALTERNATIVES_MAX {
            return None;
        }
        open = next;
        rest = &rest[end + 1..];
    }
    for done in &mut open {
        done.push_str(rest);
    }
    Some(open)
}

/// `*` is any run of characters, `?` is one. Linear but for the last `*`, which may be retried.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            Some(_) | None => {
                let Some((after, from)) = retry else {
                    return false;
                };
                retry = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_people_expect() {
        for (pattern, host, expected) in [
            ("*.example.com", "www.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com:9999", "www.example.com:9999", true),
            ("{www,api}.example.com", "api.example.com", true),
            ("{www,api}.example.com", "dev.example.com", false),
            ("{a,b}{c,d}", "bd", true),
            ("web-?.x", "web-1.x", true),
            ("web-?.x", "web-12.x", false),
            ("*", "anything", true),
            ("a*b*c", "axxbyybc", true),
            ("a*b*c", "axxbyyb", false),
            ("{open", "{open", true),
        ] {
            let matched = Glob::new(pattern).matches(host);
            assert_eq!(matched, expected, "{pattern} {host}");
        }
    }

    #[test]
    fn a_pattern_with_too_many_choices_is_taken_literally() {
        let pattern = "{a,b,c,d,e}".repeat(4);
        assert!(!Glob::new(&pattern).matches("aaaa"));
        assert!(Glob::new(&pattern).matches(&pattern));
    }
}

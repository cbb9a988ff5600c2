//! JSON to the same tree that HCL is read into, so that it too has places.

use std::collections::BTreeSet;

use crate::problem::Findings;
use crate::tree::{Data, Kind, Name};

/// Lists and maps within each other.
const DEPTH_MAX: usize = 128;

/// The whole file; nothing if that was reported.
pub(crate) fn read(findings: &mut Findings<'_>) -> Option<Data> {
    let mut reader = Reader {
        text: findings.source.text,
        at: 0,
    };
    reader.spaces();
    let result = reader.value(0).and_then(|data| {
        reader.spaces();
        match reader.peek() {
            None => Ok(data),
            Some(_) => reader.fail("nothing may follow the closing brace"),
        }
    });
    match result {
        Ok(data) => Some(data),
        Err((at, message)) => {
            findings.error(at, message);
            None
        }
    }
}

type Read<T> = Result<T, (usize, String)>;

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn fail<T>(&self, message: &str) -> Read<T> {
        Err((self.at, message.to_owned()))
    }

    fn spaces(&mut self) {
        let rest = self.rest();
        let space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n' | '\u{feff}');
        self.at += rest.len() - rest.trim_start_matches(space).len();
    }

    fn takes(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn value(&mut self, depth: usize) -> Read<Data> {
        if depth > DEPTH_MAX {
            return self.fail(&format!("nested too deeply: at most {DEPTH_MAX} levels"));
        }
        let at = self.at;
        let kind = match self.peek() {
            Some('{') => self.map(depth)?,
            Some('[') => self.list(depth)?,
            Some('"') => Kind::Text(self.string()?),
            Some(c) if c == '-' || c.is_ascii_digit() => self.number()?,
            _ => self.word()?,
        };
        Ok(Data { at, kind })
    }

    fn word(&mut self) -> Read<Kind> {
        for (word, kind) in [
            ("null", Kind::Null),
            ("true", Kind::Bool(true)),
            ("false", Kind::Bool(false)),
        ] {
            if self.rest().starts_with(word) {
                self.at += word.len();
                return Ok(kind);
            }
        }
        match self.peek() {
            Some(c) => self.fail(&format!("expected a value, found `{}`", c.escape_debug())),
            None => self.fail("the file ends where a value should be"),
        }
    }

    fn number(&mut self) -> Read<Kind> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E')))
            .unwrap_or(rest.len());
        let text = &rest[..end];
        let kind = if let Ok(number) = text.parse::<i64>() {
            Kind::Int(number)
        } else {
            match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Kind::Float(number),
                _ => return self.fail(&format!("`{text}` is not a number")),
            }
        };
        self.at += end;
        Ok(kind)
    }

    fn string(&mut self) -> Read<String> {
        let start = self.at;
        let rest = self.rest();
        let mut escaped = false;
        for (offset, c) in rest.char_indices().skip(1) {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '\n' => break,
                '"' => {
                    self.at += offset + 1;
                    let raw = &rest[..=offset];
                    return serde_json::from_str(raw)
                        .map_err(|error| (start, format!("not a string: {}", plain(&error))));
                }
                _ => {}
            }
        }
        self.fail("this string has no closing `\"` on its line")
    }

    fn list(&mut self, depth: usize) -> Read<Kind> {
        let opening = self.at;
        self.at += 1;
        let mut items = Vec::new();
        self.spaces();
        if self.takes(']') {
            return Ok(Kind::List(items));
        }
        loop {
            self.spaces();
            items.push(self.value(depth + 1)?);
            self.spaces();
            if self.takes(']') {
                return Ok(Kind::List(items));
            }
            self.comma(opening, '[')?;
        }
    }

    fn map(&mut self, depth: usize) -> Read<Kind> {
        let opening = self.at;
        self.at += 1;
        let mut entries: Vec<(Name, Data)> = Vec::new();
        let mut seen = BTreeSet::new();
        self.spaces();
        if self.takes('}') {
            return Ok(Kind::Map(entries));
        }
        loop {
            self.spaces();
            let at = self.at;
            if self.peek() != Some('"') {
                return self.fail("expected a name in quotes");
            }
            let text = self.string()?;
            if !seen.insert(text.clone()) {
                return Err((at, format!("`{text}` is there more than once")));
            }
            self.spaces();
            if !self.takes(':') {
                return self.fail(&format!("expected `:` after `{text}`"));
            }
            self.spaces();
            entries.push((Name { text, at }, self.value(depth + 1)?));
            self.spaces();
            if self.takes('}') {
                return Ok(Kind::Map(entries));
            }
            self.comma(opening, '{')?;
        }
    }

    fn comma(&mut self, opening: usize, bracket: char) -> Read<()> {
        if self.takes(',') {
            return Ok(());
        }
        match self.peek() {
            None => Err((opening, format!("this `{bracket}` is never closed"))),
            Some(_) => self.fail("expected `,` or the closing bracket"),
        }
    }
}

/// A serde error without the place, which is relative to something the user never sees.
pub(crate) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    text[..end].to_owned()
}

impl Data {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.kind {
            Kind::Null | Kind::Bad => serde_json::Value::Null,
            Kind::Bool(flag) => (*flag).into(),
            Kind::Int(number) => (*number).into(),
            Kind::Float(number) => (*number).into(),
            Kind::Text(text) => text.as_str().into(),
            Kind::List(items) => items.iter().map(Data::to_json).collect(),
            Kind::Map(entries) => entries
                .iter()
                .map(|(name, data)| (name.text.clone(), data.to_json()))
                .collect(),
        }
    }
}

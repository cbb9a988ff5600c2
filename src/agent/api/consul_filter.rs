//! `?filter=`: which rows are wanted, by what is in their JSON. The language is go-bexpr's:
//! `ServiceName == "web" and not "a" in ServiceTags`, `Meta.key != x`, `Checks is empty`.

use serde_json::{Map, Value};

use super::errors::Failure;
use super::filter_words::{Word, told, words};
use super::query::Query;

/// No expression is deeper.
const DEPTH_MAX: usize = 32;

/// What is wanted; everything if nothing is said.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter(Option<Wanted>);

#[derive(Clone, Debug)]
enum Wanted {
    All(Vec<Wanted>),
    Any(Vec<Wanted>),
    Not(Box<Wanted>),
    Is(Selector, Test),
}

/// `Node.Meta.key`.
type Selector = Vec<String>;

#[derive(Clone, Debug)]
enum Test {
    Equals(String),
    Contains(String),
    Empty,
    Matches(regex_lite::Regex),
}

impl Filter {
    pub(super) fn of(query: &Query) -> Result<Self, Failure> {
        let Some(text) = query.get("filter") else {
            return Ok(Self(None));
        };
        let wanted = parse(text).map_err(|why| {
            Failure::bad_request(format!(
                "Failed to create boolean expression evaluator: {why}"
            ))
        })?;
        Ok(Self(Some(wanted)))
    }

    /// Whether a row is wanted; an error names a field that it hasn't.
    pub(super) fn wants(&self, row: &Value) -> Result<bool, Failure> {
        match &self.0 {
            None => Ok(true),
            Some(wanted) => holds(wanted, row).map_err(Failure::bad_request),
        }
    }

    /// The same of a row that is made only if it is looked at.
    pub(super) fn wants_of(&self, row: impl FnOnce() -> Value) -> Result<bool, Failure> {
        match &self.0 {
            None => Ok(true),
            Some(_) => self.wants(&row()),
        }
    }

    /// The rows that are wanted, in their order.
    pub(super) fn keep(&self, rows: Vec<Value>) -> Result<Vec<Value>, Failure> {
        let mut kept = Vec::new();
        for row in rows {
            if self.wants(&row)? {
                kept.push(row);
            }
        }
        Ok(kept)
    }

    pub(super) fn keep_pairs(
        &self,
        rows: impl Iterator<Item = (String, Value)>,
    ) -> Result<Map<String, Value>, Failure> {
        let mut kept = Map::new();
        for (key, row) in rows {
            if self.wants(&row)? {
                kept.insert(key, row);
            }
        }
        Ok(kept)
    }
}

fn find<'a>(row: &'a Value, selector: &[String]) -> Result<Option<&'a Value>, String> {
    let mut at = row;
    for (depth, name) in selector.iter().enumerate() {
        match at {
            Value::Object(object) => match object.get(name) {
                Some(value) => at = value,
                // Only keys that users choose may be missing.
                None if depth > 0 => return Ok(None),
                None => {
                    return Err(format!("Selector \"{}\" is not valid", selector.join(".")));
                }
            },
            Value::Null => return Ok(None),
            _ => return Err(format!("Selector \"{}\" is not valid", selector.join("."))),
        }
    }
    Ok(Some(at))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn holds(wanted: &Wanted, row: &Value) -> Result<bool, String> {
    Ok(match wanted {
        Wanted::All(parts) => {
            for part in parts {
                if !holds(part, row)? {
                    return Ok(false);
                }
            }
            true
        }
        Wanted::Any(parts) => {
            for part in parts {
                if holds(part, row)? {
                    return Ok(true);
                }
            }
            false
        }
        Wanted::Not(inner) => !holds(inner, row)?,
        Wanted::Is(selector, test) => {
            let found = find_in(row, selector)?;
            match test {
                Test::Empty => found.iter().all(|value| is_empty(value)),
                Test::Equals(wanted) => found.iter().any(|value| text(value) == *wanted),
                Test::Contains(wanted) => found.iter().any(|value| contains(value, wanted)),
                Test::Matches(pattern) => found.iter().any(|value| pattern.is_match(&text(value))),
            }
        }
    })
}

/// A selector that goes through a list looks at each of its items.
fn find_in<'a>(row: &'a Value, selector: &[String]) -> Result<Vec<&'a Value>, String> {
    for split in 1..selector.len() {
        if let Some(Value::Array(items)) = find(row, &selector[..split])? {
            let rest = &selector[split..];
            let mut found = Vec::new();
            for item in items {
                found.extend(find_in(item, rest)?);
            }
            return Ok(found);
        }
    }
    Ok(find(row, selector)?.into_iter().collect())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn contains(value: &Value, wanted: &str) -> bool {
    match value {
        Value::Array(items) => items.iter().any(|item| text(item) == wanted),
        Value::Object(fields) => fields.contains_key(wanted),
        Value::String(text) => text.contains(wanted),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

struct Parser {
    words: Vec<Word>,
    at: usize,
}

fn parse(text: &str) -> Result<Wanted, String> {
    let mut parser = Parser {
        words: words(text)?,
        at: 0,
    };
    let wanted = parser.any(0)?;
    match parser.words.get(parser.at) {
        None => Ok(wanted),
        word => Err(format!("{} is left over after the expression", told(word))),
    }
}

impl Parser {
    fn is_next(&self, keyword: &str) -> bool {
        let next = self.words.get(self.at);
        matches!(next, Some(Word::Plain(plain)) if plain.eq_ignore_ascii_case(keyword))
    }

    fn take(&mut self, keyword: &str) -> bool {
        let is = self.is_next(keyword);
        self.at += usize::from(is);
        is
    }

    fn next(&mut self) -> Option<Word> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word
    }

    fn any(&mut self, depth: usize) -> Result<Wanted, String> {
        let mut parts = vec![self.all(depth)?];
        while self.take("or") {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Wanted::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Wanted, String> {
        let mut parts = vec![self.one(depth)?];
        while self.take("and") {
            parts.push(self.one(depth)?);
        }
        Ok(one_or(parts, Wanted::All))
    }

    fn one(&mut self, depth: usize) -> Result<Wanted, String> {
        if depth > DEPTH_MAX {
            return Err("it is too deep".to_owned());
        }
        if self.take("not") {
            return Ok(Wanted::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.words.get(self.at) == Some(&Word::Open) {
            self.at += 1;
            let inner = self.any(depth + 1)?;
            return match self.next() {
                Some(Word::Close) => Ok(inner),
                _ => Err("a parenthesis isn't closed".to_owned()),
            };
        }
        self.test()
    }

    fn test(&mut self) -> Result<Wanted, String> {
        let subject = match self.next() {
            Some(Word::Plain(text) | Word::Quoted(text)) => text,
            other => {
                let found = told(other.as_ref());
                return Err(format!(
                    "a field or a value is expected, and there is {found}"
                ));
            }
        };
        let not = |negated: bool, wanted| {
            if negated {
                Wanted::Not(Box::new(wanted))
            } else {
                wanted
            }
        };
        let is = |selector: &str, test| Wanted::Is(selected(selector), test);
        match self.next() {
            Some(Word::Equals) => Ok(is(&subject, Test::Equals(self.value()?))),
            Some(Word::Differs) => Ok(not(true, is(&subject, Test::Equals(self.value()?)))),
            Some(Word::Plain(operator)) => {
                let operator = operator.to_ascii_lowercase();
                let negated = match operator.as_str() {
                    "is" => self.take("not"),
                    "not" => true,
                    _ => false,
                };
                let operator = if operator == "not" {
                    match self.next() {
                        Some(Word::Plain(operator)) => operator.to_ascii_lowercase(),
                        other => {
                            let found = told(other.as_ref());
                            return Err(format!(
                                "after `not` comes in, contains or matches, and there is {found}"
                            ));
                        }
                    }
                } else {
                    operator
                };
                match operator.as_str() {
                    "is" if self.take("empty") => Ok(not(negated, is(&subject, Test::Empty))),
                    "in" => {
                        let selector = self.value()?;
                        Ok(not(negated, is(&selector, Test::Contains(subject))))
                    }
                    "contains" => Ok(not(negated, is(&subject, Test::Contains(self.value()?)))),
                    "matches" => {
                        let pattern = regex_lite::Regex::new(&self.value()?).map_err(|error| {
                            format!("Failed to compile regular expression: {error}")
                        })?;
                        Ok(not(negated, is(&subject, Test::Matches(pattern))))
                    }
                    other => Err(format!(
                        "`{other}` is no operator: ==, !=, in, not in, contains, is empty, matches"
                    )),
                }
            }
            other => {
                let found = told(other.as_ref());
                let text = format!("an operator is expected after `{subject}`, and there is");
                Err(format!("{text} {found}"))
            }
        }
    }

    fn value(&mut self) -> Result<String, String> {
        match self.next() {
            Some(Word::Plain(text) | Word::Quoted(text)) => Ok(text),
            other => {
                let found = told(other.as_ref());
                Err(format!("a value is expected, and there is {found}"))
            }
        }
    }
}

/// What stands alone needs no list around it.
fn one_or(mut parts: Vec<Wanted>, list: fn(Vec<Wanted>) -> Wanted) -> Wanted {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (popped, _) => {
            parts.extend(popped);
            list(parts)
        }
    }
}

fn selected(text: &str) -> Selector {
    text.split('.').map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_wanted_by_their_fields() {
        let row = json!({
            "Service": { "Service": "web", "Tags": ["a", "b"], "Meta": { "k": "v" }, "Port": 80 },
            "Checks": [{ "Status": "passing" }, { "Status": "critical" }],
            "Node": { "Meta": {} },
        });
        for (text, wanted) in [
            (r#"Service.Service == "web""#, true),
            ("Service.Service == web and Service.Port == 80", true),
            ("Service.Service != web", false),
            (r#""a" in Service.Tags"#, true),
            (r#""c" not in Service.Tags"#, true),
            ("Service.Tags contains `b`", true),
            ("Service.Tags not contains b", false),
            ("Service.Meta.k == v or Service.Meta.other == x", true),
            ("Service.Meta.other == x", false),
            ("k in Service.Meta", true),
            ("Node.Meta is empty", true),
            ("Node.Meta is not empty", false),
            ("not (Service.Port == 80)", false),
            (r#"Service.Service matches "^w""#, true),
            ("Checks.Status == critical", true),
        ] {
            let wants = holds(
                &parse(text).unwrap_or_else(|why| panic!("{text}: {why}")),
                &row,
            );
            assert_eq!(wants, Ok(wanted), "{text}");
        }
        assert!(holds(&parse("Nosuch == 1").expect("it parses"), &row).is_err());
    }

    #[test]
    fn an_expression_may_be_long_but_not_deep() {
        let row = json!({ "a": "b" });
        let on_a_small_stack = std::thread::Builder::new().stack_size(256 << 10);
        let looking = on_a_small_stack.spawn(move || {
            for (word, last, holds_at) in [("or", "a == b", true), ("and", "a != b", false)] {
                let other = if holds_at { "a != b" } else { "a == b" };
                let text = format!("{}{last}", format!("{other} {word} ").repeat(20_000));
                let wanted = parse(&text).expect("it parses");
                assert_eq!(holds(&wanted, &row), Ok(holds_at));
            }
        });
        looking
            .expect("a thread")
            .join()
            .expect("its stack suffices");
        let deep = "not ".repeat(DEPTH_MAX + 2) + "a == b";
        assert!(parse(&deep).is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "",
            "a",
            "a ==",
            "a = b",
            "a matches `(`",
            "(a == b",
            "a == \"b",
            "a == b c",
            "a is full",
            "not",
            "a >= 1",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"not ".repeat(100)).is_err());
        let why = |text| parse(text).err().unwrap_or_default();
        assert!(
            why("a>1").starts_with("`>` is no operator"),
            "{}",
            why("a>1")
        );
        assert_eq!(
            why("a"),
            "an operator is expected after `a`, and there is nothing more"
        );
        assert_eq!(why("a == )"), "a value is expected, and there is `)`");
    }
}

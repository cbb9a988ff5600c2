//! Objects as clients write them: `ServiceName`, `service_name` and `servicename` are the same
//! field, and a mistake names the field it is in.

use std::collections::BTreeMap;

use logic::duration;
use serde_json::{Map, Value};

/// The fields of one object.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    /// Where the object is, such as `Check.`; empty for the whole.
    at: String,
    values: BTreeMap<String, Value>,
}

/// Why an object can't be used.
pub type Wrong = String;

/// Case and underscores tell no names apart.
pub(crate) fn plain(name: &str) -> String {
    let letters = name.chars().filter(|letter| !matches!(letter, '_' | '-'));
    letters.flat_map(char::to_lowercase).collect()
}

impl Fields {
    pub fn of(object: Map<String, Value>) -> Self {
        Self::within(String::new(), object)
    }

    fn within(at: String, object: Map<String, Value>) -> Self {
        let values = object
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (plain(&name), value))
            .collect();
        Self { at, values }
    }

    /// The object that is a JSON text; an empty text has no fields.
    pub fn parse(text: &[u8]) -> Result<Self, Wrong> {
        if text.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(text) {
            Ok(Value::Object(object)) => Ok(Self::of(object)),
            Ok(Value::Null) => Ok(Self::default()),
            Ok(_) => Err("Request decode failed: a JSON object is expected".to_owned()),
            Err(error) => Err(format!("Request decode failed: {error}")),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(&plain(name))
    }

    /// Whether something is given that isn't as if it weren't, such as `{"Native": false}`.
    pub fn says(&self, name: &str) -> bool {
        self.value(name).is_some_and(|value| !is_bare(value))
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(&plain(name))
    }

    fn wrong(&self, name: &str, expected: &str, value: &Value) -> Wrong {
        format!("{}{name} must be {expected}, and is {value}", self.at)
    }

    /// Empty if it isn't given.
    pub fn text(&self, name: &str) -> Result<String, Wrong> {
        match self.value(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value) => Err(self.wrong(name, "a string", value)),
        }
    }

    pub fn flag(&self, name: &str) -> Result<bool, Wrong> {
        match self.value(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(self.wrong(name, "true or false", value)),
        }
    }

    pub fn number(&self, name: &str) -> Result<Option<u64>, Wrong> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let number = value.as_u64().or_else(|| whole(value.as_f64()?));
        let number = number.or_else(|| value.as_str()?.parse().ok());
        number
            .map(Some)
            .ok_or_else(|| self.wrong(name, "a whole number of at least 0", value))
    }

    /// Nanoseconds: `"10s"`, or a number of nanoseconds; below 1,000 it is taken for seconds.
    pub fn nanos(&self, name: &str) -> Result<Option<i64>, Wrong> {
        let expected = "a duration such as \"10s\"";
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(value @ Value::String(text)) => match duration::parse(text) {
                Ok(nanos) if nanos >= 0 => Ok(Some(nanos)),
                Ok(_) | Err(_) => Err(self.wrong(name, expected, value)),
            },
            Some(value) => match value.as_i64() {
                Some(number @ 0..1_000) => Ok(Some(number * duration::SECOND)),
                Some(number) if number > 0 => Ok(Some(number)),
                Some(_) | None => Err(self.wrong(name, expected, value)),
            },
        }
    }

    pub fn texts(&self, name: &str) -> Result<Vec<String>, Wrong> {
        let wrong = |value| self.wrong(name, "a list of strings", value);
        match self.value(name) {
            None => Ok(Vec::new()),
            Some(value @ Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
                texts.collect::<Option<_>>().ok_or_else(|| wrong(value))
            }
            Some(value) => Err(wrong(value)),
        }
    }

    /// An object of strings, its names as they are written.
    pub fn map(&self, name: &str) -> Result<BTreeMap<String, String>, Wrong> {
        let wrong = |value| self.wrong(name, "an object of strings", value);
        match self.value(name) {
            None => Ok(BTreeMap::new()),
            Some(value @ Value::Object(object)) => {
                let texts = object
                    .iter()
                    .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
                texts.collect::<Option<_>>().ok_or_else(|| wrong(value))
            }
            Some(value) => Err(wrong(value)),
        }
    }

    /// An object of durations in nanoseconds, its names as they are written.
    pub fn periods(&self, name: &str) -> Result<BTreeMap<String, i64>, Wrong> {
        let mut periods = BTreeMap::new();
        let objects = match self.value(name) {
            None => return Ok(periods),
            Some(Value::Array(items)) => items.as_slice(),
            Some(one) => std::slice::from_ref(one),
        };
        for object in objects {
            let Value::Object(object) = object else {
                return Err(self.wrong(name, "an object of durations", object));
            };
            for (key, value) in object {
                let at = format!("{}{name}.", self.at);
                let one = Map::from_iter([(key.clone(), value.clone())]);
                if let Some(nanos) = Self::within(at, one).nanos(key)? {
                    periods.insert(key.clone(), nanos);
                }
            }
        }
        Ok(periods)
    }

    /// An object, or the only one of a list as blocks of HCL are.
    pub fn object(&self, name: &str) -> Result<Option<Self>, Wrong> {
        let mut objects = self.objects(name)?;
        if objects.len() > 1 {
            return Err(format!(
                "{}{name} is there {} times",
                self.at,
                objects.len()
            ));
        }
        Ok(objects.pop())
    }

    /// A list of objects, or one alone.
    pub fn objects(&self, name: &str) -> Result<Vec<Self>, Wrong> {
        let Some(value) = self.value(name) else {
            return Ok(Vec::new());
        };
        let items = match value {
            Value::Array(items) => items.iter().collect(),
            other => vec![other],
        };
        let at = format!("{}{name}.", self.at);
        let mut objects = Vec::new();
        for item in items {
            let Value::Object(object) = item else {
                return Err(self.wrong(name, "an object", item));
            };
            objects.push(Self::within(at.clone(), object.clone()));
        }
        Ok(objects)
    }

    /// The values of an object's fields, their names as they are written.
    pub fn entries(&self, name: &str) -> Result<Vec<(String, Self)>, Wrong> {
        let Some(value) = self.value(name) else {
            return Ok(Vec::new());
        };
        let Value::Object(object) = value else {
            return Err(self.wrong(name, "an object", value));
        };
        let mut entries = Vec::new();
        for (key, value) in object {
            let Value::Object(inner) = value else {
                return Err(self.wrong(name, "an object of objects", value));
            };
            let at = format!("{}{name}.{key}.", self.at);
            entries.push((key.clone(), Self::within(at, inner.clone())));
        }
        Ok(entries)
    }

    /// Names and their lists of strings, such as HTTP headers.
    pub fn lists(&self, name: &str) -> Result<Vec<(String, Vec<String>)>, Wrong> {
        let Some(value) = self.value(name) else {
            return Ok(Vec::new());
        };
        let wrong = || self.wrong(name, "an object of lists of strings", value);
        let object = value.as_object().ok_or_else(wrong)?;
        let list = |value: &Value| match value {
            Value::String(text) => Some(vec![text.clone()]),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned))
                .collect(),
            _ => None,
        };
        let entries = object
            .iter()
            .map(|(key, value)| Some((key.clone(), list(value)?)));
        entries.collect::<Option<_>>().ok_or_else(wrong)
    }
}

/// Whether a value is what it would be if nobody had given it.
fn is_bare(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_bare),
    }
}

fn whole(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
    is_whole.then(|| format!("{number:.0}").parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &str) -> Fields {
        Fields::parse(text.as_bytes()).expect("an object")
    }

    #[test]
    fn a_field_is_found_however_it_is_spelt() {
        for text in [
            r#"{"LockDelay":"15s"}"#,
            r#"{"lock_delay":15}"#,
            r#"{"lockdelay":15000000000}"#,
        ] {
            assert_eq!(
                fields(text).nanos("LockDelay"),
                Ok(Some(15 * duration::SECOND))
            );
        }
        assert_eq!(fields("").nanos("LockDelay"), Ok(None));
        assert_eq!(fields(r#"{"Port":8000.0}"#).number("Port"), Ok(Some(8000)));
    }

    #[test]
    fn a_field_with_nothing_in_it_says_nothing() {
        let fields = fields(r#"{"Connect":{"Native":false,"X":[],"Y":{"Z":""}},"Proxy":{"A":1}}"#);
        assert!(!fields.says("Connect") && !fields.says("Kind"));
        assert!(fields.says("Proxy"));
    }

    #[test]
    fn mistakes_name_their_field() {
        let outer = fields(r#"{"Check":{"TTL":"soon","Header":{"a":1}},"Tags":"x","Port":-1}"#);
        let check = outer
            .object("Check")
            .expect("an object")
            .expect("it is there");
        assert_eq!(
            check.nanos("TTL"),
            Err("Check.TTL must be a duration such as \"10s\", and is \"soon\"".to_owned())
        );
        assert!(check.lists("Header").is_err());
        assert!(outer.texts("Tags").is_err() && outer.number("Port").is_err());
        assert!(Fields::parse(b"[]").is_err() && Fields::parse(b"{").is_err());
    }
}

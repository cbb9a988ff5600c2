//! Free-form configuration, such as a task's driver `config`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A JSON-like value; plain JSON in APIs, tagged on the wire.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Value {
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(flag) = self {
            Some(*flag)
        } else {
            None
        }
    }

    /// The number here, also if it was written as a whole float or in quotes (HCL 1 allows both).
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            #[expect(
                clippy::cast_possible_truncation,
                reason = "only whole numbers in range pass"
            )]
            Self::Float(number) if number.fract() == 0.0 && number.abs() < 9e15 => {
                Some(*number as i64)
            }
            Self::String(text) => text.parse().ok(),
            Self::Null | Self::Bool(_) | Self::Float(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    pub fn as_list(&self) -> Option<&[Value]> {
        if let Self::List(items) = self {
            Some(items)
        } else {
            None
        }
    }

    pub fn as_map(&self) -> Option<&BTreeMap<String, Value>> {
        if let Self::Map(entries) = self {
            Some(entries)
        } else {
            None
        }
    }

    /// Makes one map of a list of maps, here and in its entries: `[{a: 1}, {b: 2}]` is how HCL 1
    /// reads two blocks of the same name.
    pub fn merge_maps(&mut self) {
        if let Self::List(items) = self
            && items.iter().all(|item| item.as_map().is_some())
        {
            let maps = std::mem::take(items).into_iter().filter_map(Self::into_map);
            *self = Self::Map(maps.flatten().collect());
        }
        if let Self::Map(entries) = self {
            entries.values_mut().for_each(Self::merge_maps);
        }
    }

    fn into_map(self) -> Option<BTreeMap<String, Value>> {
        if let Self::Map(entries) = self {
            Some(entries)
        } else {
            None
        }
    }

    /// What kind of value this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a bool",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::String(_) => "a string",
            Self::List(_) => "a list",
            Self::Map(_) => "a block",
        }
    }
}

/// The same value as the wire sees it.
#[derive(Serialize, Deserialize)]
enum Tagged {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(String),
    List(Vec<Value>),
    Map(BTreeMap<String, Value>),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return match self {
                Self::Null => serializer.serialize_unit(),
                Self::Bool(flag) => serializer.serialize_bool(*flag),
                Self::Int(number) => serializer.serialize_i64(*number),
                Self::Float(number) => serializer.serialize_f64(*number),
                Self::String(text) => serializer.serialize_str(text),
                Self::List(items) => items.serialize(serializer),
                Self::Map(entries) => entries.serialize(serializer),
            };
        }
        match self.clone() {
            Self::Null => Tagged::Null,
            Self::Bool(flag) => Tagged::Bool(flag),
            Self::Int(number) => Tagged::Int(number),
            Self::Float(number) => Tagged::Float(number),
            Self::String(text) => Tagged::String(text),
            Self::List(items) => Tagged::List(items),
            Self::Map(entries) => Tagged::Map(entries),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(AnyVisitor);
        }
        Ok(match Tagged::deserialize(deserializer)? {
            Tagged::Null => Self::Null,
            Tagged::Bool(flag) => Self::Bool(flag),
            Tagged::Int(number) => Self::Int(number),
            Tagged::Float(number) => Self::Float(number),
            Tagged::String(text) => Self::String(text),
            Tagged::List(items) => Self::List(items),
            Tagged::Map(entries) => Self::Map(entries),
        })
    }
}

struct AnyVisitor;

impl<'de> Visitor<'de> for AnyVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "JSON numbers beyond i64 are floats anyway"
    )]
    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(i64::try_from(number).map_or(Value::Float(number as f64), Value::Int))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = BTreeMap::new();
        while let Some((key, value)) = map.next_entry()? {
            entries.insert(key, value);
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_in_a_list_become_one() {
        let read = |text| serde_json::from_str::<Value>(text).expect("valid JSON");
        for (list, merged) in [
            (
                r#"[{"http":8081},{"admin":1}]"#,
                r#"{"http":8081,"admin":1}"#,
            ),
            (
                r#"[{"type":"x","config":[{"a":1}]}]"#,
                r#"{"type":"x","config":{"a":1}}"#,
            ),
            ("[]", "{}"),
            (r#"["a"]"#, r#"["a"]"#),
        ] {
            let mut value = read(list);
            value.merge_maps();
            assert_eq!(value, read(merged), "{list}");
        }
    }

    #[test]
    fn values_are_plain_json() {
        let text = r#"{"image":"a:b","port_map":[{"http":8081}],"tty":true,"x":null,"y":1.5}"#;
        let value: Value = serde_json::from_str(text).expect("valid JSON");
        assert_eq!(
            serde_json::to_string(&value).expect("values serialize"),
            text
        );
    }
}

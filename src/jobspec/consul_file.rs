//! Consul's configuration files as JSON values, whether they are JSON or HCL 1, and where each key
//! is.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Map, Number, Value};

use crate::problem::{Errors, Findings, Source};
use crate::tree::{Body, Data, Kind, Name};
use crate::{is_json, json, scan};

/// Where each key is, by its path; those of one path in their order.
pub(crate) type Places = BTreeMap<String, VecDeque<usize>>;

pub(crate) struct File {
    pub(crate) said: Map<String, Value>,
    pub(crate) places: Places,
}

pub(crate) fn read(source: Source<'_>) -> Result<File, Errors> {
    let mut findings = Findings::new(source);
    let mut places = Places::new();
    let said = if is_json(source.text) {
        json::read(&mut findings).map(|data| {
            of_value("", &data, &mut places);
            value(&data)
        })
    } else {
        let body = scan::file(&mut findings);
        of_body("", &body, &mut places);
        Some(Value::Object(object(&body)))
    };
    // What isn't HCL 2 is no mistake here.
    findings.take()?;
    let Some(Value::Object(said)) = said else {
        let text = "an object of settings is expected".to_owned();
        return Err(Errors(vec![source.problem(0, text, None)]));
    };
    Ok(File { said, places })
}

fn value(data: &Data) -> Value {
    match &data.kind {
        Kind::Null | Kind::Bad => Value::Null,
        Kind::Bool(flag) => Value::Bool(*flag),
        Kind::Int(number) => Value::Number((*number).into()),
        Kind::Float(number) => Number::from_f64(*number).map_or(Value::Null, Value::Number),
        Kind::Text(text) => Value::String(text.clone()),
        Kind::List(items) => Value::Array(items.iter().map(value).collect()),
        Kind::Map(entries) => {
            let entries = entries.iter();
            let entries = entries.map(|(name, data)| (name.text.clone(), value(data)));
            Value::Object(entries.collect())
        }
    }
}

/// Blocks of one name are a list.
pub(crate) fn object(body: &Body) -> Map<String, Value> {
    let mut said = Map::new();
    for attribute in &body.attributes {
        said.insert(attribute.name.text.clone(), value(&attribute.value));
    }
    for block in &body.blocks {
        let inner = Value::Object(object(&block.body));
        let inner = block.labels.iter().rev().fold(inner, |inner, label| {
            Value::Object(Map::from_iter([(label.text.clone(), inner)]))
        });
        let name = &block.name.text;
        let all = match said.remove(name) {
            None => inner,
            Some(Value::Array(mut items)) => {
                items.push(inner);
                Value::Array(items)
            }
            Some(before) => Value::Array(vec![before, inner]),
        };
        said.insert(name.clone(), all);
    }
    said
}

fn note(at: &str, name: &Name, found: &mut Places) -> String {
    let path = format!("{at}{}", name.text);
    found.entry(path.clone()).or_default().push_back(name.at);
    format!("{path}.")
}

fn of_body(at: &str, body: &Body, found: &mut Places) {
    for attribute in &body.attributes {
        let inner = note(at, &attribute.name, found);
        of_value(&inner, &attribute.value, found);
    }
    for block in &body.blocks {
        let inner = note(at, &block.name, found);
        of_body(&inner, &block.body, found);
    }
}

fn of_value(at: &str, value: &Data, found: &mut Places) {
    match &value.kind {
        Kind::List(items) => {
            for item in items {
                of_value(at, item, found);
            }
        }
        Kind::Map(entries) => {
            for (name, value) in entries {
                let inner = note(at, name, found);
                of_value(&inner, value, found);
            }
        }
        _ => {}
    }
}

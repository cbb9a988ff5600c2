//! Reads a job's `config` block, which may come from HCL 1, HCL 2 or JSON.

use std::collections::BTreeMap;

use logic::model::Value;
use ports::errors::ContainersError;

pub(super) struct Options<'a> {
    values: &'a BTreeMap<String, Value>,
}

fn refused(name: &str, value: &Value, wanted: &str) -> ContainersError {
    ContainersError::Refused(format!(
        "docker: `{name}` is {}, not {wanted}",
        value.kind()
    ))
}

/// Scalars as text: job files write numbers where engines want strings.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => None,
    }
}

impl<'a> Options<'a> {
    pub(super) fn new(values: &'a BTreeMap<String, Value>) -> Self {
        Self { values }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.values.get(name).filter(|value| **value != Value::Null)
    }

    /// The first option that isn't one of `known`.
    pub(super) fn unknown(&self, known: &[&str]) -> Option<&'a str> {
        self.values
            .keys()
            .map(String::as_str)
            .find(|name| !known.contains(name))
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, ContainersError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match scalar(value) {
            Some(text) if text.is_empty() => Ok(None),
            Some(text) => Ok(Some(text)),
            None => Err(refused(name, value, "a string")),
        }
    }

    pub(super) fn required_text(&self, name: &str) -> Result<String, ContainersError> {
        self.text(name)?
            .ok_or_else(|| ContainersError::Refused(format!("docker: `{name}` is missing")))
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ContainersError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(text)) if text == "true" || text == "1" => Ok(Some(true)),
            Some(Value::String(text)) if text == "false" || text == "0" => Ok(Some(false)),
            Some(value) => Err(refused(name, value, "true or false")),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, ContainersError> {
        self.get(name)
            .map(|value| {
                value
                    .as_int()
                    .ok_or_else(|| refused(name, value, "a number"))
            })
            .transpose()
    }

    /// A list of strings; a single string is a list of one.
    pub(super) fn list(&self, name: &str) -> Result<Option<Vec<String>>, ContainersError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let items = match value {
            Value::List(items) => items.iter().map(scalar).collect(),
            other => scalar(other).map(|text| vec![text]),
        };
        items
            .map(|items: Vec<String>| Some(items).filter(|items| !items.is_empty()))
            .ok_or_else(|| refused(name, value, "a list of strings"))
    }

    /// All blocks of that name.
    pub(super) fn blocks(
        &self,
        name: &str,
    ) -> Result<Vec<BTreeMap<String, Value>>, ContainersError> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let blocks = match value {
            Value::List(items) => items.iter().map(|item| item.as_map().cloned()).collect(),
            other => other.as_map().map(|block| vec![block.clone()]),
        };
        blocks.ok_or_else(|| refused(name, value, "a block"))
    }

    /// A block that may be written several times: later ones add to earlier ones.
    pub(super) fn block(
        &self,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Value>>, ContainersError> {
        let merged: BTreeMap<String, Value> = self.blocks(name)?.into_iter().flatten().collect();
        Ok(Some(merged).filter(|block| !block.is_empty()))
    }

    /// A block of plain values, as text.
    pub(super) fn table(&self, name: &str) -> Result<BTreeMap<String, String>, ContainersError> {
        let block = self.block(name)?.unwrap_or_default();
        block
            .iter()
            .map(|(key, value)| {
                let text = scalar(value)
                    .ok_or_else(|| refused(&format!("{name}.{key}"), value, "a plain value"))?;
                Ok((key.clone(), text))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(entries: &[(&str, Value)]) -> BTreeMap<String, Value> {
        entries
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect()
    }

    #[test]
    fn blocks_may_be_maps_or_lists_of_maps() {
        let one = Value::Map(block(&[("http", Value::Int(8081))]));
        let two = Value::Map(block(&[("https", Value::String("8443".to_owned()))]));
        let values = block(&[("port_map", Value::List(vec![one.clone(), two]))]);
        let table = Options::new(&values).table("port_map").expect("a table");
        assert_eq!(table["http"], "8081");
        assert_eq!(table["https"], "8443");
        let values = block(&[("port_map", one)]);
        let table = Options::new(&values).table("port_map").expect("a table");
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn what_is_of_the_wrong_kind_is_named() {
        let values = block(&[("args", Value::Map(BTreeMap::new()))]);
        assert_eq!(
            Options::new(&values).list("args"),
            Err(ContainersError::Refused(
                "docker: `args` is a block, not a list of strings".to_owned()
            ))
        );
    }
}

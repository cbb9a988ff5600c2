//! A file as read, before its meaning: blocks, attributes and values, each with its place.

use logic::model::Value;

/// A word of the file and its byte offset.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) at: usize,
}

/// What is between two braces, or a whole file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Body {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) blocks: Vec<Block>,
}

/// `name = value`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attribute {
    pub(crate) name: Name,
    pub(crate) value: Data,
}

/// `name "label" { ... }`
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Block {
    pub(crate) name: Name,
    pub(crate) labels: Vec<Name>,
    pub(crate) body: Body,
}

/// A value and its byte offset.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Data {
    pub(crate) at: usize,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Data>),
    Map(Vec<(Name, Data)>),
    /// Something unreadable that was reported already.
    Bad,
}

impl Data {
    /// What kind of value this is, for messages.
    pub(crate) fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "null",
            Kind::Bool(_) => "a bool",
            Kind::Int(_) | Kind::Float(_) => "a number",
            Kind::Text(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
            Kind::Bad => "unreadable",
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Null | Kind::Bad => Value::Null,
            Kind::Bool(flag) => Value::Bool(*flag),
            Kind::Int(number) => Value::Int(*number),
            Kind::Float(number) => Value::Float(*number),
            Kind::Text(text) => Value::String(text.clone()),
            Kind::List(items) => Value::List(items.iter().map(Data::to_value).collect()),
            Kind::Map(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(name, data)| (name.text.clone(), data.to_value()))
                    .collect(),
            ),
        }
    }

    /// A string, or a number or bool written as one: what HCL 1 and environment variables take.
    pub(crate) fn to_text(&self) -> Option<String> {
        match &self.kind {
            Kind::Text(text) => Some(text.clone()),
            Kind::Int(number) => Some(number.to_string()),
            Kind::Float(number) => Some(number.to_string()),
            Kind::Bool(flag) => Some(flag.to_string()),
            Kind::Null | Kind::List(_) | Kind::Map(_) | Kind::Bad => None,
        }
    }

    /// `{ a = 1 }` or `[{ a = 1 }, { b = 2 }]` as the body of blocks that say the same.
    pub(crate) fn as_bodies(&self) -> Option<Vec<Body>> {
        match &self.kind {
            Kind::Map(entries) => Some(vec![Body::of(entries)]),
            Kind::List(items) => items
                .iter()
                .map(|item| match &item.kind {
                    Kind::Map(entries) => Some(Body::of(entries)),
                    _ => None,
                })
                .collect(),
            Kind::Null => Some(Vec::new()),
            Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Text(_) | Kind::Bad => None,
        }
    }
}

impl Body {
    fn of(entries: &[(Name, Data)]) -> Self {
        Self {
            attributes: entries
                .iter()
                .map(|(name, value)| Attribute {
                    name: name.clone(),
                    value: value.clone(),
                })
                .collect(),
            blocks: Vec::new(),
        }
    }

    pub(crate) fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.name.text == name)
    }

    pub(crate) fn blocks<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(move |b| b.name.text == name)
    }
}

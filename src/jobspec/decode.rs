//! From a file's tree to typed fields: what isn't there, isn't known or has the wrong type.
//!
//! Remembers where everything came from, so that what [`logic::validate`] finds later, by its
//! path in the job, can be reported with line and column.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use logic::duration;
use logic::model::Value;
use logic::validate::{Invalid, Path};

use crate::names::Names;
use crate::problem::{Findings, closest};
use crate::tree::{Body, Data, Kind, Name};

/// One block being read.
pub(crate) struct Fields<'b> {
    pub(crate) names: &'static Names,
    pub(crate) body: &'b Body,
    pub(crate) path: Path,
}

/// A block within it, or an attribute that says the same: `meta { a = 1 }`, `meta = { a = 1 }`.
pub(crate) struct Section<'b> {
    pub(crate) at: usize,
    pub(crate) labels: &'b [Name],
    pub(crate) body: Cow<'b, Body>,
}

pub(crate) struct Decoder<'f, 'a> {
    pub(crate) findings: &'f mut Findings<'a>,
    /// Byte offsets by printed path.
    places: BTreeMap<String, usize>,
    /// Paths of what is known to be wrong already.
    reported: BTreeSet<String>,
}

impl<'f, 'a> Decoder<'f, 'a> {
    pub(crate) fn new(findings: &'f mut Findings<'a>) -> Self {
        Self {
            findings,
            places: BTreeMap::new(),
            reported: BTreeSet::new(),
        }
    }

    pub(crate) fn place(&mut self, path: &Path, at: usize) {
        self.places.insert(path.to_string(), at);
    }

    /// What is wrong at `path` was said; whatever else is wrong there follows from it.
    pub(crate) fn silence(&mut self, path: &Path) {
        self.reported.insert(path.to_string());
    }

    /// Adds what validation found, where the file says it.
    pub(crate) fn report(&mut self, invalid: Vec<Invalid>) {
        for Invalid {
            path,
            message,
            hint,
        } in invalid
        {
            let mut ancestor = Some(path);
            let mut found = None;
            let mut is_reported = false;
            while let Some(path) = ancestor {
                let printed = path.to_string();
                is_reported |= self.reported.contains(&printed);
                found = found.or_else(|| self.places.get(&printed).copied());
                ancestor = path.parent();
            }
            if !is_reported {
                self.findings.error_with(found.unwrap_or(0), message, hint);
            }
        }
    }

    /// Begins to read a block: reports the names in it that aren't known or supported.
    pub(crate) fn fields<'b>(
        &mut self,
        names: &'static Names,
        body: &'b Body,
        path: &Path,
    ) -> Fields<'b> {
        let attributes = body.attributes.iter().map(|a| (&a.name, Some(&a.value)));
        let blocks = body.blocks.iter().map(|b| (&b.name, None));
        for (name, value) in attributes.chain(blocks) {
            self.known(names, path, name, value);
        }
        Fields {
            names,
            body,
            path: path.clone(),
        }
    }

    fn known(&mut self, names: &'static Names, path: &Path, name: &Name, value: Option<&Data>) {
        let text = name.text.as_str();
        if names.field(text).is_some() {
            return;
        }
        if names.later.contains(&text) {
            let value = value.and_then(Data::to_text);
            let is_harmless =
                value.is_some_and(|value| names.harmless.contains(&(text, value.as_str())));
            if !is_harmless {
                self.findings
                    .error(name.at, format!("`{text}` isn't supported yet"));
            }
            return;
        }
        if self.findings.is_full() {
            return;
        }
        let meant = closest(text, names.all());
        if let Some(field) = meant.and_then(|meant| names.field(meant)) {
            self.silence(&path.field(field));
        }
        self.unknown_name(name, names.here, names.all());
    }

    pub(crate) fn unknown_name<'k>(
        &mut self,
        name: &Name,
        here: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) {
        let meant = closest(&name.text, known);
        let shown: String = name.text.chars().take(64).collect();
        self.findings.error_with(
            name.at,
            format!("`{shown}` isn't known in {here}"),
            meant.map(|meant| format!("did you mean `{meant}`?")),
        );
    }

    /// The attribute `name`, unless it is absent, null or unreadable.
    pub(crate) fn get<'b>(&mut self, fields: &Fields<'b>, name: &str) -> Option<(&'b Data, Path)> {
        let path = self.path_of(fields, name);
        if let Some(block) = fields.body.blocks(name).next() {
            self.silence(&path);
            self.findings.error_with(
                block.name.at,
                format!("`{name}` is not a block"),
                Some(format!("write `{name} = ...`")),
            );
        }
        let attribute = fields.body.attribute(name)?;
        self.place(&path, attribute.value.at);
        match attribute.value.kind {
            Kind::Null => None,
            Kind::Bad => {
                self.silence(&path);
                None
            }
            _ => Some((&attribute.value, path)),
        }
    }

    #[expect(clippy::unused_self, reason = "reads as a question to the decoder")]
    fn path_of(&self, fields: &Fields<'_>, name: &str) -> Path {
        match fields.names.field(name) {
            Some(field) => fields.path.field(field),
            None => fields.path.key(name),
        }
    }

    fn wrong(&mut self, data: &Data, path: &Path, expected: &str) {
        self.silence(path);
        if matches!(data.kind, Kind::Bad) {
            return;
        }
        let name = match path.0.last() {
            Some(logic::validate::Step::Key(key)) => format!("`{key}` "),
            _ => self.word_before(data.at),
        };
        let found = match &data.kind {
            Kind::Text(text) if text.chars().count() <= 40 => {
                format!("the string \"{}\"", text.escape_debug())
            }
            _ => data.describe().to_owned(),
        };
        self.findings
            .error(data.at, format!("{name}must be {expected}, not {found}"));
    }

    /// The attribute name before a value, as the file writes it.
    fn word_before(&self, at: usize) -> String {
        let before = self.findings.source.text.get(..at).unwrap_or("");
        let line = before.rsplit('\n').next().unwrap_or("");
        let name = line
            .trim_end()
            .trim_end_matches(['=', ':'])
            .trim_end()
            .trim_end_matches('"');
        let start = name
            .rfind(|c: char| !crate::lexeme::is_name_char(c))
            .map_or(0, |place| place + 1);
        match name.get(start..) {
            Some(word) if !word.is_empty() => format!("`{word}` "),
            _ => "this ".to_owned(),
        }
    }

    pub(crate) fn string(&mut self, fields: &Fields<'_>, name: &str, into: &mut String) {
        if let Some((data, path)) = self.get(fields, name) {
            match data.to_text() {
                Some(text) => *into = text,
                None => self.wrong(data, &path, "a string"),
            }
        }
    }

    pub(crate) fn int(&mut self, fields: &Fields<'_>, name: &str) -> Option<i64> {
        let (data, path) = self.get(fields, name)?;
        let number = data.to_value().as_int();
        if number.is_none() {
            self.wrong(data, &path, "a whole number");
        }
        number
    }

    pub(crate) fn number(&mut self, fields: &Fields<'_>, name: &str, into: &mut i64) {
        if let Some(number) = self.int(fields, name) {
            *into = number;
        }
    }

    /// A number of a smaller type, such as a port's.
    pub(crate) fn small<T: TryFrom<i64>>(
        &mut self,
        fields: &Fields<'_>,
        name: &str,
        range: &str,
    ) -> Option<T> {
        let number = self.int(fields, name)?;
        let small = T::try_from(number).ok();
        if small.is_none()
            && let Some(attribute) = fields.body.attribute(name)
        {
            let path = self.path_of(fields, name);
            self.silence(&path);
            self.findings.error(
                attribute.value.at,
                format!("`{name}` is {number}, it must be {range}"),
            );
        }
        small
    }

    /// In API JSON 0 means the default, so that validation lets it pass; whoever writes it into
    /// a file means something else.
    pub(crate) fn not_zero(&mut self, fields: &Fields<'_>, name: &str, range: &str) {
        if let Some(attribute) = fields.body.attribute(name)
            && attribute.value.to_value().as_int() == Some(0)
        {
            let message = format!("{name} is 0, it must be {range}");
            self.findings.error(attribute.value.at, message);
        }
    }

    pub(crate) fn flag(&mut self, fields: &Fields<'_>, name: &str, into: &mut bool) {
        let Some((data, path)) = self.get(fields, name) else {
            return;
        };
        match &data.kind {
            Kind::Bool(flag) => *into = *flag,
            Kind::Text(text) if text == "true" || text == "false" => *into = text == "true",
            _ => self.wrong(data, &path, "true or false"),
        }
    }

    /// Nanoseconds of a duration such as `10s`.
    pub(crate) fn period(&mut self, fields: &Fields<'_>, name: &str) -> Option<i64> {
        let (data, path) = self.get(fields, name)?;
        let Some(text) = data.to_text() else {
            self.wrong(data, &path, "a duration such as \"10s\"");
            return None;
        };
        let problem = match duration::parse(&text) {
            Ok(nanos) if nanos >= 0 => return Some(nanos),
            Ok(_) => format!("`{name}` can't be negative"),
            Err(error) => format!("`{name}`: {error}"),
        };
        self.silence(&path);
        self.findings.error(data.at, problem);
        None
    }

    pub(crate) fn duration(&mut self, fields: &Fields<'_>, name: &str, into: &mut i64) {
        if let Some(nanos) = self.period(fields, name) {
            *into = nanos;
        }
    }

    pub(crate) fn strings(&mut self, fields: &Fields<'_>, name: &str, into: &mut Vec<String>) {
        if let Some((data, path)) = self.get(fields, name) {
            *into = self.texts(data, &path);
        }
    }

    pub(crate) fn texts(&mut self, data: &Data, path: &Path) -> Vec<String> {
        let Kind::List(items) = &data.kind else {
            self.wrong(data, path, "a list of strings such as [\"a\", \"b\"]");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            self.place(&path, item.at);
            match item.to_text() {
                Some(text) => texts.push(text),
                None => self.wrong(item, &path, "a string"),
            }
        }
        texts
    }

    /// All blocks `name`, also those written as an attribute.
    pub(crate) fn sections<'b>(&mut self, fields: &Fields<'b>, name: &'b str) -> Vec<Section<'b>> {
        let mut sections: Vec<_> = fields
            .body
            .blocks(name)
            .map(|block| Section {
                at: block.name.at,
                labels: &block.labels,
                body: Cow::Borrowed(&block.body),
            })
            .collect();
        if let Some(attribute) = fields.body.attribute(name) {
            let path = self.path_of(fields, name);
            match attribute.value.as_bodies() {
                Some(bodies) => sections.extend(bodies.into_iter().map(|body| Section {
                    at: attribute.name.at,
                    labels: &[],
                    body: Cow::Owned(body),
                })),
                None => self.wrong(&attribute.value, &path, "a block"),
            }
        }
        sections
    }

    /// The block `name`, which has no label and is there at most once.
    pub(crate) fn section<'b>(
        &mut self,
        fields: &Fields<'b>,
        name: &'b str,
    ) -> Option<Section<'b>> {
        let mut sections = self.sections(fields, name).into_iter();
        let first = sections.next()?;
        let path = self.path_of(fields, name);
        self.place(&path, first.at);
        self.no_labels(&first, name);
        for extra in sections {
            self.findings
                .error(extra.at, format!("`{name}` is there more than once"));
        }
        Some(first)
    }

    pub(crate) fn no_labels(&mut self, section: &Section<'_>, name: &str) {
        if let Some(label) = section.labels.first() {
            self.findings
                .error(label.at, format!("`{name}` takes no name"));
        }
    }

    /// The one label of a block such as `group "web"`.
    pub(crate) fn label<'b>(&mut self, section: &Section<'b>, name: &str) -> Option<&'b Name> {
        let example = || Some(format!("write `{name} \"NAME\" {{ ... }}`"));
        if let Some(extra) = section.labels.get(1) {
            self.findings
                .error_with(extra.at, format!("`{name}` takes one name only"), example());
        }
        let label = section.labels.first();
        if label.is_none() {
            self.findings
                .error_with(section.at, format!("this `{name}` has no name"), example());
        }
        label
    }

    /// `meta`, `env` and the like: names and texts.
    pub(crate) fn text_map(&mut self, fields: &Fields<'_>, name: &str) -> BTreeMap<String, String> {
        let path = self.path_of(fields, name);
        let mut map = BTreeMap::new();
        for section in self.sections(fields, name) {
            self.no_labels(&section, name);
            for block in &section.body.blocks {
                let message = format!("`{}` must be a string, not a block", block.name.text);
                self.findings.error(block.name.at, message);
            }
            for attribute in &section.body.attributes {
                let key = &attribute.name.text;
                match attribute.value.to_text() {
                    Some(text) => {
                        map.insert(key.clone(), text);
                    }
                    None => self.wrong(&attribute.value, &path.key(key), "a string"),
                }
            }
        }
        map
    }

    /// A task's `config`: anything goes, the driver knows.
    pub(crate) fn free_map(&mut self, fields: &Fields<'_>, name: &str) -> BTreeMap<String, Value> {
        let path = self.path_of(fields, name);
        let mut map = BTreeMap::new();
        for section in self.sections(fields, name) {
            self.no_labels(&section, name);
            self.place(&path, section.at);
            self.free_body(&section.body, &path, &mut map);
        }
        map
    }

    fn free_body(&mut self, body: &Body, path: &Path, into: &mut BTreeMap<String, Value>) {
        for attribute in &body.attributes {
            let path = path.key(&attribute.name.text);
            self.place_all(&attribute.value, &path);
            self.place(&path, attribute.name.at);
            into.insert(attribute.name.text.clone(), attribute.value.to_value());
        }
        for block in &body.blocks {
            let path = path.key(&block.name.text);
            self.place(&path, block.name.at);
            if let Some(label) = block.labels.first() {
                let message = format!("`{}` takes no name", block.name.text);
                self.findings.error(label.at, message);
            }
            // Blocks of one name are one map, as HCL 1 has it.
            let mut inner = match into.remove(&block.name.text) {
                Some(Value::Map(entries)) => entries,
                _ => BTreeMap::new(),
            };
            self.free_body(&block.body, &path, &mut inner);
            into.insert(block.name.text.clone(), Value::Map(inner));
        }
    }

    fn place_all(&mut self, data: &Data, path: &Path) {
        self.place(path, data.at);
        match &data.kind {
            Kind::Map(entries) => {
                self.place_entries(entries, path);
            }
            Kind::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.place_all(item, &path.index(index));
                    // A list of maps is read as one map: see `Job::canonicalize`.
                    if let Kind::Map(entries) = &item.kind {
                        self.place_entries(entries, path);
                    }
                }
            }
            Kind::Bad => self.silence(path),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Text(_) => {}
        }
    }
    fn place_entries(&mut self, entries: &[(Name, Data)], path: &Path) {
        for (name, data) in entries {
            let path = path.key(&name.text);
            self.place_all(data, &path);
            self.place(&path, name.at);
        }
    }
}

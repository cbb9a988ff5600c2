//! Two sides of anything: values by name, sets of texts, parts that may be missing, sets of parts.

use std::collections::{BTreeMap, BTreeSet};

use super::{FieldDiff, Kind, ObjectDiff};

/// Values by their names.
pub(super) type Flat = BTreeMap<String, String>;

/// How something differs that may be missing on either side.
pub(super) fn kind_of<T: PartialEq>(old: Option<T>, new: Option<T>) -> Kind {
    match (old, new) {
        (None, None) => Kind::Same,
        (None, Some(_)) => Kind::Added,
        (Some(_), None) => Kind::Deleted,
        (Some(old), Some(new)) if old == new => Kind::Same,
        (Some(_), Some(_)) => Kind::Edited,
    }
}

/// A list of what may be missing.
pub(super) fn side<'a, T, I>(whole: Option<&'a T>, of: impl Fn(&'a T) -> &'a Vec<I>) -> &'a [I] {
    whole.map_or(&[], |whole| of(whole))
}

/// The values of what may be missing.
pub(super) fn flat<T>(whole: Option<&T>, of: impl Fn(&T) -> Flat) -> Flat {
    whole.map(of).unwrap_or_default()
}

/// What has the same name on both sides side by side, in the order of the names.
pub(super) fn pairs<'a, T>(
    old: &'a [T],
    new: &'a [T],
    name: impl Fn(&T) -> &String,
) -> impl Iterator<Item = (Option<&'a T>, Option<&'a T>)> {
    let mut pairs: BTreeMap<String, (Option<&T>, Option<&T>)> = BTreeMap::new();
    for item in old {
        pairs.entry(name(item).clone()).or_default().0 = Some(item);
    }
    for item in new {
        pairs.entry(name(item).clone()).or_default().1 = Some(item);
    }
    pairs.into_values()
}

/// A value; nothing if it is the same on both sides, unless it is asked for as context.
fn field(name: &str, old: &str, new: &str, context: bool) -> Option<FieldDiff> {
    let kind = match (old, new) {
        (old, new) if old == new && !context => return None,
        (old, new) if old == new => Kind::Same,
        ("", _) => Kind::Added,
        (_, "") => Kind::Deleted,
        (_, _) => Kind::Edited,
    };
    Some(FieldDiff {
        r#type: kind,
        name: name.to_owned(),
        old: old.to_owned(),
        new: new.to_owned(),
        annotations: Vec::new(),
    })
}

pub(super) fn fields(old: &Flat, new: &Flat, context: bool) -> Vec<FieldDiff> {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let value = |side: &Flat, name: &str| side.get(name).cloned().unwrap_or_default();
    names
        .into_iter()
        .filter_map(|name| field(name, &value(old, name), &value(new, name), context))
        .collect()
}

/// What all of `kinds` together come to.
fn together(kinds: impl Iterator<Item = Kind>) -> Kind {
    kinds.fold(Kind::Same, |sum, kind| match (sum, kind) {
        (sum, Kind::Same) => sum,
        (Kind::Same, kind) => kind,
        (sum, kind) if sum == kind => sum,
        (_, _) => Kind::Edited,
    })
}

/// A set of texts; nothing if it is empty on both sides.
pub(super) fn strings(name: &str, old: &[String], new: &[String]) -> Option<ObjectDiff> {
    let old: BTreeSet<&String> = old.iter().collect();
    let new: BTreeSet<&String> = new.iter().collect();
    let side = |side: &BTreeSet<&String>, text: &String| {
        if side.contains(text) {
            text.clone()
        } else {
            String::new()
        }
    };
    let mut fields: Vec<_> = old
        .union(&new)
        .filter_map(|text| field(name, &side(&old, text), &side(&new, text), true))
        .collect();
    fields.sort_by(|a, b| (&a.old, &a.new).cmp(&(&b.old, &b.new)));
    if fields.is_empty() {
        return None;
    }
    Some(ObjectDiff {
        r#type: together(fields.iter().map(|field| field.r#type)),
        name: name.to_owned(),
        fields,
        objects: Vec::new(),
    })
}

/// A part that is nothing but values.
pub(super) fn plain(name: &str, old: Option<Flat>, new: Option<Flat>) -> Option<ObjectDiff> {
    let fields = fields(&old.unwrap_or_default(), &new.unwrap_or_default(), true);
    let kind = together(fields.iter().map(|field| field.r#type));
    (kind != Kind::Same).then(|| ObjectDiff {
        r#type: kind,
        name: name.to_owned(),
        fields,
        objects: Vec::new(),
    })
}

/// The part `of` what may be missing itself.
pub(super) fn part<T>(
    name: &str,
    old: Option<&T>,
    new: Option<&T>,
    of: impl Fn(&T) -> Option<Flat>,
) -> Option<ObjectDiff> {
    plain(name, old.and_then(&of), new.and_then(&of))
}

/// A set of parts that are nothing but values: only those are named that one side alone has.
pub(super) fn set<T>(
    name: &str,
    old: &[T],
    new: &[T],
    flat: impl Fn(&T) -> Flat,
) -> Vec<ObjectDiff> {
    let old: BTreeSet<Flat> = old.iter().map(&flat).collect();
    let new: BTreeSet<Flat> = new.iter().map(&flat).collect();
    let gone = old.difference(&new);
    let come = new.difference(&old);
    let gone = gone.filter_map(|part| plain(name, Some(part.clone()), None));
    let come = come.filter_map(|part| plain(name, None, Some(part.clone())));
    let mut objects: Vec<_> = gone.chain(come).collect();
    sort(&mut objects);
    objects
}

/// By name, then what is edited, added, deleted, then by what is in them.
pub(super) fn sort(objects: &mut [ObjectDiff]) {
    let rank = |kind| match kind {
        Kind::Edited => 0,
        Kind::Added => 1,
        Kind::Deleted => 2,
        Kind::Same => 3,
    };
    let values = |object: &ObjectDiff| -> Vec<(String, String, String)> {
        let fields = object.fields.iter();
        fields
            .map(|field| (field.name.clone(), field.old.clone(), field.new.clone()))
            .collect()
    };
    objects.sort_by_cached_key(|object| {
        let (name, kind) = (object.name.clone(), rank(object.r#type));
        (name, kind, object.fields.len(), values(object))
    });
}

//! Jobs as the HTTP API has them: `{"Job": {...}}`, or what is inside.

use logic::model::Job;
use logic::validate::{Path, Step};

use crate::decode::Decoder;
use crate::json;
use crate::problem::closest;
use crate::tree::{Data, Kind, Name};

/// What may stand beside `Job` in a request.
const REQUEST: [&str; 10] = [
    "Job",
    "EnforceIndex",
    "JobModifyIndex",
    "PolicyOverride",
    "PreserveCounts",
    "EvalPriority",
    "Submission",
    "Diff",
    "Region",
    "Namespace",
];

/// What later versions of the API have and we don't.
const LATER: [&str; 43] = [
    "Affinities",
    "Spreads",
    "Multiregion",
    "NodePool",
    "UI",
    "ConsulNamespace",
    "VaultNamespace",
    "ConsulToken",
    "NomadTokenID",
    "Reschedule",
    "Migrate",
    "Volumes",
    "Scaling",
    "Consul",
    "MaxRunDuration",
    "PreventRescheduleOnLost",
    "VolumeMounts",
    "CSIPluginConfig",
    "Lifecycle",
    "Identity",
    "Identities",
    "Actions",
    "Schedule",
    "Secrets",
    "ScalingPolicies",
    "Cores",
    "MemoryMaxMB",
    "Devices",
    "NUMA",
    "SecretsMB",
    "DNS",
    "Hostname",
    "CNI",
    "HostNetwork",
    "IgnoreCollision",
    "Connect",
    "EnableTagOverride",
    "TaggedAddresses",
    "CanaryMeta",
    "OnUpdate",
    "Weights",
    "TLSServerName",
    "CheckRestart",
];

/// Values of those that change nothing.
const HARMLESS: [(&str, &str); 7] = [
    ("NodePool", "default"),
    ("HostNetwork", "default"),
    ("OnUpdate", "require_healthy"),
    ("Provider", "consul"),
    ("Provider", "nomad"),
    ("Cluster", "default"),
    ("VersionTag", ""),
];

/// The job in a JSON file; mistakes are in the findings.
pub(crate) fn read(decoder: &mut Decoder<'_, '_>, file: &Data) -> Option<Job> {
    let data = job_in(decoder, file)?;
    places(decoder, &Path::default(), data);
    let value = data.to_json();
    match serde_json::from_value::<Job>(value) {
        Ok(job) => {
            let reference = serde_json::to_value(&job).ok()?;
            unknown(decoder, &Path::default(), data, &reference);
            Some(job)
        }
        Err(error) => {
            let (at, message) = misfit(decoder, data, &error);
            decoder.findings.error(at, message);
            None
        }
    }
}

fn job_in<'d>(decoder: &mut Decoder<'_, '_>, file: &'d Data) -> Option<&'d Data> {
    let Kind::Map(entries) = &file.kind else {
        let message = format!("expected a job in braces, this is {}", file.describe());
        decoder.findings.error(file.at, message);
        return None;
    };
    let Some((_, job)) = entries.iter().find(|(name, _)| name.text == "Job") else {
        if let Some((name, _)) = entries.iter().find(|(name, _)| name.text == "job") {
            decoder.findings.error_with(
                name.at,
                "job files in HCL's JSON form aren't supported",
                Some("write HCL, or the API's form: {\"Job\": {\"ID\": ...}}".to_owned()),
            );
            return None;
        }
        return Some(file);
    };
    for (name, _) in entries {
        if !REQUEST.contains(&name.text.as_str()) {
            decoder.unknown_name(name, "a job request", REQUEST);
        }
    }
    if matches!(job.kind, Kind::Map(_)) {
        return Some(job);
    }
    let message = format!("`Job` must be a job in braces, this is {}", job.describe());
    decoder.findings.error(job.at, message);
    None
}

fn places(decoder: &mut Decoder<'_, '_>, path: &Path, data: &Data) {
    decoder.place(path, data.at);
    match &data.kind {
        Kind::Map(entries) => {
            for (name, data) in entries {
                let path = path.key(&name.text);
                places(decoder, &path, data);
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                places(decoder, &path.index(index), item);
                // A list of maps may be read as one map: see `Job::canonicalize`.
                if let (Kind::Map(entries), true) = (&item.kind, is_free(path)) {
                    for (name, data) in entries {
                        places(decoder, &path.key(&name.text), data);
                    }
                }
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Text(_) | Kind::Bad => {}
    }
}

/// Whether this is within a task's `Config`, where any name may stand.
fn is_free(path: &Path) -> bool {
    path.0
        .iter()
        .any(|step| matches!(step, Step::Key(key) if key == "Config"))
}

/// Names that reading the job ignored: `reference` is the job written again.
fn unknown(decoder: &mut Decoder<'_, '_>, path: &Path, data: &Data, reference: &serde_json::Value) {
    match (&data.kind, reference) {
        (Kind::Map(entries), serde_json::Value::Object(known)) => {
            for (name, data) in entries {
                match known.get(&name.text) {
                    Some(reference) => {
                        unknown(decoder, &path.key(&name.text), data, reference);
                    }
                    None => unknown_entry(decoder, path, name, data, known),
                }
            }
        }
        (Kind::List(items), serde_json::Value::Array(known)) => {
            for (index, (item, reference)) in items.iter().zip(known).enumerate() {
                unknown(decoder, &path.index(index), item, reference);
            }
        }
        _ => {}
    }
}

fn unknown_entry(
    decoder: &mut Decoder<'_, '_>,
    path: &Path,
    name: &Name,
    data: &Data,
    known: &serde_json::Map<String, serde_json::Value>,
) {
    let text = name.text.as_str();
    let value = data.to_text().unwrap_or_default();
    if is_empty(data) || HARMLESS.contains(&(text, value.as_str())) {
        return;
    }
    if matches!(text, "Affinities" | "Spreads") {
        let message = format!("`{text}` is not acted on yet: allocations are placed without it");
        return decoder.findings.warn(name.at, message);
    }
    if LATER.contains(&text) {
        let message = format!("`{text}` isn't supported yet");
        return decoder.findings.error(name.at, message);
    }
    let names: Vec<_> = known.keys().map(String::as_str).chain(LATER).collect();
    if let Some(meant) = closest(text, names.iter().copied()) {
        decoder.silence(&path.key(meant));
    }
    let here = if path.0.is_empty() {
        "a job".to_owned()
    } else {
        path.to_string()
    };
    decoder.unknown_name(name, &here, names);
}

/// What Go clients send for a field that isn't set.
fn is_empty(data: &Data) -> bool {
    match &data.kind {
        Kind::Null | Kind::Bad | Kind::Bool(false) | Kind::Int(0) => true,
        Kind::Float(number) => *number == 0.0,
        Kind::Text(text) => text.is_empty(),
        Kind::List(items) => items.is_empty(),
        Kind::Map(entries) => entries.iter().all(|(_, data)| is_empty(data)),
        Kind::Bool(_) | Kind::Int(_) => false,
    }
}

/// Where a job's type and the file's disagree, and how.
fn misfit(decoder: &Decoder<'_, '_>, data: &Data, error: &serde_json::Error) -> (usize, String) {
    let mut message = json::plain(error);
    for (technical, plain) in [
        ("a sequence", "a list"),
        ("sequence", "a list"),
        ("i64", "a whole number"),
        ("u64", "a whole number of 0 or more"),
        ("u16", "a whole number from 0 to 65535"),
        ("struct ", "a "),
    ] {
        message = message.replace(technical, plain);
    }
    // Reading the text again tells the place, which reading the tree doesn't.
    let text = decoder.findings.source.text.get(data.at..).unwrap_or("");
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Job>();
    let at = match stream.next() {
        Some(Err(error)) => data.at + offset(text, error.line(), error.column()),
        Some(Ok(_)) | None => data.at,
    };
    (innermost(data, at).unwrap_or(at), message)
}

fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    before + column
}

/// Where the last value that begins before `end` begins.
fn innermost(data: &Data, end: usize) -> Option<usize> {
    if data.at >= end {
        return None;
    }
    let inner = match &data.kind {
        Kind::Map(entries) => entries.iter().rev().find_map(|(_, d)| innermost(d, end)),
        Kind::List(items) => items.iter().rev().find_map(|d| innermost(d, end)),
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float(_) | Kind::Text(_) | Kind::Bad => {
            None
        }
    };
    inner.or(Some(data.at))
}

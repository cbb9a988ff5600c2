//! Consul's `/v1/txn`: several keys at once.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jobspec::Fields;
use logic::model::{TxnDone, TxnOp, TxnVerb};
use logic::state::{Command, Reply};
use serde_json::{Map, Value, json};

use super::Api;
use super::consul_kv::{VALUE_MAX, shown};
use super::errors::Failure;
use super::query::Query;

/// As in Consul since 1.13; it was half before.
const STEPS_MAX: usize = 128;

fn verb(name: &str) -> Option<TxnVerb> {
    Some(match name {
        "set" => TxnVerb::Set,
        "cas" => TxnVerb::Cas,
        "lock" => TxnVerb::Lock,
        "unlock" => TxnVerb::Unlock,
        "get" => TxnVerb::Get,
        "get-or-empty" => TxnVerb::GetOrEmpty,
        "get-tree" => TxnVerb::GetTree,
        "check-index" => TxnVerb::CheckIndex,
        "check-session" => TxnVerb::CheckSession,
        "check-not-exists" => TxnVerb::CheckNotExists,
        "delete" => TxnVerb::Delete,
        "delete-cas" => TxnVerb::DeleteCas,
        "delete-tree" => TxnVerb::DeleteTree,
        _ => return None,
    })
}

fn step(number: usize, item: &Value) -> Result<TxnOp, String> {
    let item = item.as_object().cloned().unwrap_or_default();
    let kv = Fields::of(item.clone()).object("KV")?.ok_or_else(|| {
        let known = item.keys().next().map_or("nothing", String::as_str);
        format!("step {number} has {known:?}: only KV steps are supported")
    })?;
    let name = kv.text("Verb")?;
    let verb = verb(&name.to_lowercase())
        .ok_or_else(|| format!("step {number} has the unknown verb {name:?}"))?;
    let key = kv.text("Key")?;
    let is_tree = matches!(verb, TxnVerb::GetTree | TxnVerb::DeleteTree);
    if key.is_empty() && !is_tree {
        return Err(format!("step {number}: Missing key name"));
    }
    let session = kv.text("Session")?;
    let needs_session = matches!(
        verb,
        TxnVerb::Lock | TxnVerb::Unlock | TxnVerb::CheckSession
    );
    if needs_session && session.is_empty() {
        return Err(format!("step {number}: {name} needs a Session"));
    }
    let value = STANDARD
        .decode(kv.text("Value")?)
        .map_err(|error| format!("step {number}: Value isn't base64: {error}"))?;
    if value.len() > VALUE_MAX {
        return Err(format!(
            "Value for key \"{key}\" is too large ({} > {VALUE_MAX} bytes)",
            value.len()
        ));
    }
    Ok(TxnOp {
        verb,
        key,
        value: value.into(),
        flags: kv.number("Flags")?.unwrap_or(0),
        index: kv.number("Index")?.unwrap_or(0),
        session,
    })
}

fn steps(body: &[u8]) -> Result<Vec<TxnOp>, Failure> {
    let items: Vec<Value> = serde_json::from_slice(body).map_err(|error| {
        Failure::bad_request(format!("Failed to parse body: a list of steps: {error}"))
    })?;
    if items.len() > STEPS_MAX {
        let text = format!(
            "Transaction contains too many operations ({} > {STEPS_MAX})",
            items.len()
        );
        return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text));
    }
    let steps = items.iter().enumerate();
    let steps: Result<Vec<TxnOp>, String> =
        steps.map(|(number, item)| step(number, item)).collect();
    steps.map_err(Failure::bad_request)
}

pub(super) async fn run(
    State(api): State<Api>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    let ops = steps(&body)?;
    let done = if ops.iter().any(|op| op.verb.writes()) {
        match api.propose(Command::Txn { ops }).await? {
            (_, Reply::Txn(done)) => done,
            (_, other) => return Err(Failure::no_leader(&format!("it answers {other:?}"))),
        }
    } else {
        let server = api.server()?;
        query.current(server).await?;
        server.state.now().read_by_steps(&ops)
    };
    let failed = !done.errors.is_empty();
    let mut response = query.json(&told(done));
    if failed {
        *response.status_mut() = StatusCode::CONFLICT;
    }
    Ok(response)
}

fn told(done: TxnDone) -> Value {
    if done.errors.is_empty() {
        let rows = done.rows.iter().map(|row| json!({ "KV": shown(row) }));
        return json!({ "Results": rows.collect::<Vec<_>>(), "Errors": null });
    }
    let errors = done.errors.into_iter().map(|(number, what)| {
        let error = [("OpIndex", json!(number)), ("What", json!(what))];
        Value::Object(Map::from_iter(
            error.map(|(key, value)| (key.to_owned(), value)),
        ))
    });
    json!({ "Results": null, "Errors": errors.collect::<Vec<_>>() })
}

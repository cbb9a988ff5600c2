//! The state's rows as the Nomad API shows them: the model's own JSON, and the fields that clients
//! expect besides.

use std::collections::BTreeMap;

use logic::model::{
    AllocMetric, Allocation, Deployment, Evaluation, Job, Node, Resources, TaskState,
    UpdateStrategy,
};
use logic::state::Store;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// A model type as JSON.
fn plain(row: &impl Serialize) -> Value {
    // Only maps with keys that aren't strings could fail, and the model has none.
    serde_json::to_value(row).unwrap_or_default()
}

/// `value` with these fields added, or replaced.
fn with(mut value: Value, fields: Value) -> Value {
    if let (Some(object), Value::Object(fields)) = (value.as_object_mut(), fields) {
        object.extend(fields);
    }
    value
}

fn remove(value: &mut Value, field: &str) {
    if let Some(object) = value.as_object_mut() {
        object.remove(field);
    }
}

/// The fields of `value` by these names.
fn only(value: &Value, fields: &[&str]) -> Value {
    let field = |name: &&str| Some(((*name).to_owned(), value.get(*name)?.clone()));
    Value::Object(fields.iter().filter_map(field).collect::<Map<_, _>>())
}

pub(super) fn job(job: &Job) -> Value {
    let value = plain(job);
    if job.update.is_some() {
        value
    } else {
        with(value, json!({ "Update": plain(&no_update()) }))
    }
}

/// How a job without an `update` block looks in the API: everything zero.
pub(super) fn no_update() -> UpdateStrategy {
    UpdateStrategy {
        stagger: 0,
        max_parallel: 0,
        health_check: String::new(),
        min_healthy_time: 0,
        healthy_deadline: 0,
        progress_deadline: 0,
        auto_revert: false,
        auto_promote: false,
        canary: 0,
    }
}

pub(super) fn job_stub(store: &Store, job: &Job) -> Value {
    let fields = [
        "ID",
        "ParentID",
        "Name",
        "Type",
        "Priority",
        "Stop",
        "Status",
        "StatusDescription",
        "SubmitTime",
        "CreateIndex",
        "ModifyIndex",
        "JobModifyIndex",
    ];
    let more = json!({
        "Datacenters": job.datacenters,
        "JobSummary": job_summary(store, job),
        "ParameterizedJob": job.parameterized_job.is_some(),
        "Periodic": job.periodic.is_some(),
    });
    with(only(&plain(job), &fields), more)
}

pub(super) fn job_summary(store: &Store, job: &Job) -> Value {
    let changed = store
        .allocs_of_job(&job.id)
        .map(|alloc| alloc.modify_index)
        .max();
    with(
        plain(&store.job_summary(job)),
        json!({
            "Children": { "Pending": 0, "Running": 0, "Dead": 0 },
            "CreateIndex": job.create_index,
            "ModifyIndex": changed.unwrap_or(0).max(job.modify_index),
        }),
    )
}

/// Fields of a task's events that the anchor always shows; this build never sets them.
const EVENT_TEXTS: [&str; 11] = [
    "DownloadError",
    "DriverMessage",
    "FailedSibling",
    "GenericSource",
    "KillError",
    "KillReason",
    "SetupError",
    "TaskSignal",
    "TaskSignalReason",
    "ValidationError",
    "VaultError",
];

fn task_state(state: &TaskState) -> Value {
    let mut value = plain(state);
    if let Some(events) = value.get_mut("Events").and_then(Value::as_array_mut) {
        for event in events.iter_mut().filter_map(Value::as_object_mut) {
            event.insert("DiskLimit".to_owned(), json!(0));
            for text in EVENT_TEXTS {
                event.insert(text.to_owned(), json!(""));
            }
        }
    }
    value
}

fn task_states(alloc: &Allocation) -> Value {
    let states = alloc.task_states.iter();
    Value::Object(
        states
            .map(|(task, state)| (task.clone(), task_state(state)))
            .collect(),
    )
}

/// What an allocation and its stub show alike.
fn alloc_outcome(alloc: &Allocation) -> Value {
    json!({
        "DeploymentStatus": alloc.deployment_status.as_ref().map(plain),
        "DesiredTransition": {
            "ForceReschedule": null,
            "Migrate": alloc.migrate.then_some(true),
            "Reschedule": null,
        },
        "TaskStates": task_states(alloc),
    })
}

pub(super) fn alloc(alloc: &Allocation) -> Value {
    let shared = Resources {
        disk_mb: alloc
            .group()
            .map_or(0, |group| group.ephemeral_disk.size_mb),
        networks: alloc.shared_networks.clone(),
        ..Resources::default()
    };
    let mut value = with(plain(alloc), alloc_outcome(alloc));
    remove(&mut value, "SharedNetworks");
    remove(&mut value, "Migrate");
    with(
        value,
        json!({
            "Job": alloc.job.as_deref().map(job),
            "Metrics": metric(&alloc.metrics),
            "SharedResources": plain(&shared),
        }),
    )
}

fn metric(metric: &AllocMetric) -> Value {
    with(plain(metric), json!({ "QuotaExhausted": null }))
}

/// By group: why its allocations have no place.
pub(super) fn failed(by_group: &BTreeMap<String, AllocMetric>) -> Value {
    let shown = |(group, why): (&String, &AllocMetric)| (group.clone(), metric(why));
    Value::Object(by_group.iter().map(shown).collect())
}

pub(super) fn alloc_stub(alloc: &Allocation) -> Value {
    let fields = [
        "ID",
        "EvalID",
        "Name",
        "Namespace",
        "NodeID",
        "NodeName",
        "JobID",
        "TaskGroup",
        "DesiredStatus",
        "DesiredDescription",
        "ClientStatus",
        "ClientDescription",
        "RescheduleTracker",
        "FollowupEvalID",
        "CreateIndex",
        "ModifyIndex",
        "CreateTime",
        "ModifyTime",
    ];
    let kind = alloc.job.as_ref().map_or("", |job| job.r#type.as_str());
    let more = json!({ "JobVersion": alloc.job_version(), "JobType": kind });
    with(
        with(only(&plain(alloc), &fields), alloc_outcome(alloc)),
        more,
    )
}

pub(super) fn eval(eval: &Evaluation) -> Value {
    with(
        plain(eval),
        json!({
            "AnnotatePlan": false,
            "ClassEligibility": null,
            "EscapedComputedClass": false,
            "FailedTGAllocs": failed(&eval.failed_tg_allocs),
            "LeaderACL": "",
            "NodeModifyIndex": 0,
            "QuotaLimitReached": "",
            "Wait": 0,
        }),
    )
}

pub(super) fn deployment(deployment: &Deployment) -> Value {
    plain(deployment)
}

/// A node, without what only it and the servers may know.
pub(super) fn node(node: &Node) -> Value {
    let mut value = plain(node);
    remove(&mut value, "UsedPorts");
    with(
        value,
        json!({
            "SecretID": "",
            "ComputedClass": "",
            "Links": {},
            "TLSEnabled": false,
        }),
    )
}

pub(super) fn node_stub(node: &Node) -> Value {
    let fields = [
        "ID",
        "Address",
        "Datacenter",
        "Name",
        "NodeClass",
        "Drain",
        "SchedulingEligibility",
        "Status",
        "StatusDescription",
        "Drivers",
        "CreateIndex",
        "ModifyIndex",
    ];
    let version = node
        .attributes
        .get("nomad.version")
        .map_or("", String::as_str);
    with(only(&plain(node), &fields), json!({ "Version": version }))
}

//! What a job asks for that another version of it didn't, as people and the API see it.
//!
//! [`job`] compares two versions, [`annotate`] adds what the scheduler would do about it. Fields
//! of a job, a group and a task are named only where they differ; where anything of a part of
//! them differs, all of that part is, as its context. Everything is in the order of its names.

mod annotate;
mod compare;
mod fields;
mod parts;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

pub use annotate::annotate;

use crate::model::{Job, Task, TaskGroup};
use crate::serial::lenient;
use compare::{flat, kind_of, pairs, part, set, side, strings};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    #[default]
    #[serde(rename = "None")]
    Same,
    Added,
    Deleted,
    Edited,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JobDiff {
    pub r#type: Kind,
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub fields: Vec<FieldDiff>,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub objects: Vec<ObjectDiff>,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub task_groups: Vec<GroupDiff>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GroupDiff {
    pub r#type: Kind,
    pub name: String,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub fields: Vec<FieldDiff>,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub objects: Vec<ObjectDiff>,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub tasks: Vec<TaskDiff>,
    /// How many allocations the scheduler would touch, and how: `create`, `ignore`, ...
    #[serde(deserialize_with = "lenient")]
    pub updates: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskDiff {
    pub r#type: Kind,
    pub name: String,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub fields: Vec<FieldDiff>,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub objects: Vec<ObjectDiff>,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub annotations: Vec<String>,
}

/// A part of a job, such as a service, with the parts of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ObjectDiff {
    pub r#type: Kind,
    pub name: String,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub fields: Vec<FieldDiff>,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub objects: Vec<ObjectDiff>,
}

/// One value; a side that doesn't have it has an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FieldDiff {
    pub r#type: Kind,
    pub name: String,
    pub old: String,
    pub new: String,
    #[serde(deserialize_with = "lenient", serialize_with = "null_if_empty")]
    pub annotations: Vec<String>,
}

/// The API says `null` where there is nothing.
fn null_if_empty<T: Serialize, S: Serializer>(
    list: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    (!list.is_empty()).then_some(list).serialize(serializer)
}

/// What `new` asks for that `old` doesn't; none of it if there is neither.
pub fn job(old: Option<&Job>, new: Option<&Job>) -> JobDiff {
    let datacenters = strings(
        "Datacenters",
        side(old, |job| &job.datacenters),
        side(new, |job| &job.datacenters),
    );
    let mut objects = Vec::from_iter(datacenters.filter(|diff| diff.r#type != Kind::Same));
    objects.extend(set(
        "Constraint",
        side(old, |job| &job.constraints),
        side(new, |job| &job.constraints),
        fields::constraint,
    ));
    let periodic = |job: &Job| job.periodic.as_ref().map(fields::block);
    let parameterized = |job: &Job| job.parameterized_job.as_ref().map(fields::block);
    objects.extend(part("Periodic", old, new, periodic));
    objects.extend(part("ParameterizedJob", old, new, parameterized));
    let mut diff = JobDiff {
        r#type: Kind::Same,
        id: new.or(old).map(|job| job.id.clone()).unwrap_or_default(),
        fields: compare::fields(&flat(old, fields::job), &flat(new, fields::job), false),
        objects,
        task_groups: groups(
            side(old, |job| &job.task_groups),
            side(new, |job| &job.task_groups),
        ),
    };
    // What the servers note on a job is no difference.
    diff.r#type = match kind_of(old.map(|_| ()), new.map(|_| ())) {
        Kind::Same if diff.differs() => Kind::Edited,
        kind => kind,
    };
    diff
}

impl JobDiff {
    fn differs(&self) -> bool {
        let differ = |group: &GroupDiff| group.r#type != Kind::Same;
        !self.fields.is_empty() || !self.objects.is_empty() || self.task_groups.iter().any(differ)
    }
}

fn groups(old: &[TaskGroup], new: &[TaskGroup]) -> Vec<GroupDiff> {
    pairs(old, new, |group| &group.name)
        .map(|(old, new)| group(old, new))
        .collect()
}

fn group(old: Option<&TaskGroup>, new: Option<&TaskGroup>) -> GroupDiff {
    let mut objects = set(
        "Constraint",
        side(old, |group| &group.constraints),
        side(new, |group| &group.constraints),
        fields::constraint,
    );
    let restart = |group: &TaskGroup| group.restart_policy.as_ref().map(fields::restart);
    let reschedule = |group: &TaskGroup| group.reschedule_policy.as_ref().map(fields::reschedule);
    let disk = |group: &TaskGroup| Some(fields::ephemeral_disk(&group.ephemeral_disk));
    let update = |group: &TaskGroup| group.update.as_ref().map(fields::update);
    let migrate = |group: &TaskGroup| group.migrate.as_ref().map(fields::migrate);
    let disconnect = |group: &TaskGroup| group.disconnect.as_ref().map(fields::disconnect);
    objects.extend(part("RestartPolicy", old, new, restart));
    objects.extend(part("ReschedulePolicy", old, new, reschedule));
    objects.extend(part("EphemeralDisk", old, new, disk));
    objects.extend(part("Update", old, new, update));
    // The anchor compares no more than that: these are named only where they matter.
    if kind_of(old, new) == Kind::Edited {
        objects.extend(part("Migrate", old, new, migrate));
        objects.extend(part("Disconnect", old, new, disconnect));
    }
    objects.extend(parts::networks(
        side(old, |group| &group.networks),
        side(new, |group| &group.networks),
    ));
    objects.extend(parts::services(
        side(old, |group| &group.services),
        side(new, |group| &group.services),
    ));
    GroupDiff {
        r#type: kind_of(old, new),
        name: new
            .or(old)
            .map(|group| group.name.clone())
            .unwrap_or_default(),
        fields: compare::fields(&flat(old, fields::group), &flat(new, fields::group), false),
        objects,
        tasks: pairs(
            side(old, |group| &group.tasks),
            side(new, |group| &group.tasks),
            |task| &task.name,
        )
        .map(|(old, new)| task(old, new))
        .collect(),
        updates: BTreeMap::new(),
    }
}

fn task(old: Option<&Task>, new: Option<&Task>) -> TaskDiff {
    let mut objects = set(
        "Constraint",
        side(old, |task| &task.constraints),
        side(new, |task| &task.constraints),
        fields::constraint,
    );
    objects.extend(parts::config(
        old.map(|task| &task.config),
        new.map(|task| &task.config),
    ));
    objects.extend(parts::resources(
        old.map(|task| &task.resources),
        new.map(|task| &task.resources),
    ));
    let logs = |task: &Task| Some(fields::log_config(&task.log_config));
    let restart = |task: &Task| task.restart_policy.as_ref().map(fields::restart);
    let payload = |task: &Task| task.dispatch_payload.as_ref().map(fields::block);
    let vault = |task: &Task| task.vault.as_ref().map(fields::block);
    objects.extend(part("LogConfig", old, new, logs));
    objects.extend(part("RestartPolicy", old, new, restart));
    objects.extend(part("DispatchPayload", old, new, payload));
    objects.extend(set(
        "Artifact",
        side(old, |task| &task.artifacts),
        side(new, |task| &task.artifacts),
        fields::block,
    ));
    objects.extend(parts::services(
        side(old, |task| &task.services),
        side(new, |task| &task.services),
    ));
    objects.extend(part("Vault", old, new, vault));
    objects.extend(set(
        "Template",
        side(old, |task| &task.templates),
        side(new, |task| &task.templates),
        fields::block,
    ));
    TaskDiff {
        r#type: kind_of(old, new),
        name: new
            .or(old)
            .map(|task| task.name.clone())
            .unwrap_or_default(),
        fields: compare::fields(&flat(old, fields::task), &flat(new, fields::task), false),
        objects,
        annotations: Vec::new(),
    }
}

#[cfg(test)]
mod tests;

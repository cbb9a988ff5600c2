//! `job`, `group` and what both of them can have.

use std::borrow::Cow;

use logic::model::{
    Constraint, DisconnectStrategy, EphemeralDisk, Job, MigrateStrategy, ReschedulePolicy,
    RestartPolicy, TaskGroup, UpdateStrategy,
};
use logic::validate::Path;

use crate::decode::{Decoder, Fields, Section};
use crate::names;
use crate::tree::{Block, Body};

/// The job in a file, whatever else is wrong; mistakes are in the findings.
pub(crate) fn read(decoder: &mut Decoder<'_, '_>, file: &Body) -> Option<Job> {
    let fields = decoder.fields(&names::FILE, file, &Path::default());
    let sections = decoder.sections(&fields, "job");
    let mut sections = sections.into_iter();
    let Some(section) = sections.next() else {
        if decoder.findings.errors.is_empty() {
            decoder.findings.error_with(
                0,
                "the file has no `job` block",
                Some("a job file begins like this: job \"NAME\" {".to_owned()),
            );
        }
        return None;
    };
    for second in sections {
        decoder.findings.error_with(
            second.at,
            "a second `job`: a file has one job",
            Some("put each job into a file of its own".to_owned()),
        );
    }
    decoder.place(&Path::default(), section.at);
    job(decoder, &section)
}

fn job(decoder: &mut Decoder<'_, '_>, section: &Section<'_>) -> Option<Job> {
    let root = Path::default();
    let name = decoder.label(section, "job");
    let mut job = Job::default();
    if let Some(name) = name {
        job.id.clone_from(&name.text);
        decoder.place(&root.field("ID"), name.at);
    }
    let fields = decoder.fields(&names::JOB, &section.body, &root);
    decoder.string(&fields, "id", &mut job.id);
    decoder.string(&fields, "name", &mut job.name);
    decoder.string(&fields, "type", &mut job.r#type);
    decoder.string(&fields, "region", &mut job.region);
    decoder.string(&fields, "namespace", &mut job.namespace);
    decoder.number(&fields, "priority", &mut job.priority);
    decoder.not_zero(&fields, "priority", "from 1 to 100");
    decoder.flag(&fields, "all_at_once", &mut job.all_at_once);
    decoder.strings(&fields, "datacenters", &mut job.datacenters);
    job.constraints = constraints(decoder, &fields);
    preferences(decoder, &fields);
    job.update = update(decoder, &fields, None);
    job.meta = decoder.text_map(&fields, "meta");
    let (reschedule, migrate) = (
        reschedule(decoder, &fields, &job.r#type),
        migrate(decoder, &fields),
    );
    groups(decoder, &fields, &mut job);
    for group in &mut job.task_groups {
        group.reschedule_policy = group.reschedule_policy.take().or(reschedule.clone());
        group.migrate = group.migrate.take().or(migrate.clone());
    }
    name.map(|_| job)
}

/// `group "x" { ... }`, and `task "x" { ... }` right in the job: a group of its own.
fn groups(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>, job: &mut Job) {
    for section in decoder.sections(fields, "group") {
        let path = fields.path.field("TaskGroups").index(job.task_groups.len());
        decoder.place(&path, section.at);
        if let Some(group) = group(decoder, &section, &path, job) {
            job.task_groups.push(group);
        }
    }
    for section in decoder.sections(fields, "task") {
        let path = fields.path.field("TaskGroups").index(job.task_groups.len());
        decoder.place(&path, section.at);
        let wrapper = Body {
            attributes: Vec::new(),
            blocks: vec![Block {
                name: crate::tree::Name {
                    text: "task".to_owned(),
                    at: section.at,
                },
                labels: section.labels.to_vec(),
                body: section.body.as_ref().clone(),
            }],
        };
        let section = Section {
            at: section.at,
            labels: section.labels,
            body: Cow::Owned(wrapper),
        };
        if let Some(group) = group(decoder, &section, &path, job) {
            job.task_groups.push(group);
        }
    }
}

fn group(
    decoder: &mut Decoder<'_, '_>,
    section: &Section<'_>,
    path: &Path,
    job: &Job,
) -> Option<TaskGroup> {
    let kind = job.r#type.as_str();
    let name = decoder.label(section, "group");
    let fields = decoder.fields(&names::GROUP, &section.body, path);
    let mut group = TaskGroup::default();
    if let Some(name) = name {
        group.name.clone_from(&name.text);
        decoder.place(&path.field("Name"), name.at);
    }
    group.count = decoder.int(&fields, "count");
    group.constraints = constraints(decoder, &fields);
    preferences(decoder, &fields);
    group.restart_policy = restart(decoder, &fields, kind);
    group.reschedule_policy = reschedule(decoder, &fields, kind);
    group.ephemeral_disk = ephemeral_disk(decoder, &fields);
    group.update = update(decoder, &fields, job.update.as_ref());
    group.migrate = migrate(decoder, &fields);
    group.networks = crate::network::networks(decoder, &fields);
    group.services = crate::service::services(decoder, &fields);
    group.meta = decoder.text_map(&fields, "meta");
    decoder.duration(&fields, "shutdown_delay", &mut group.shutdown_delay);
    group.disconnect = disconnect(decoder, &fields);
    group.max_client_disconnect = decoder.period(&fields, "max_client_disconnect");
    group.stop_after_client_disconnect = decoder.period(&fields, "stop_after_client_disconnect");
    for section in decoder.sections(&fields, "task") {
        let path = path.field("Tasks").index(group.tasks.len());
        decoder.place(&path, section.at);
        if let Some(task) = crate::task::task(decoder, &section, &path, kind) {
            group.tasks.push(task);
        } else {
            decoder.silence(&fields.path.field("Tasks"));
        }
    }
    name.map(|_| group)
}

pub(crate) fn restart(
    decoder: &mut Decoder<'_, '_>,
    owner: &Fields<'_>,
    kind: &str,
) -> Option<RestartPolicy> {
    let section = decoder.section(owner, "restart")?;
    let path = owner.path.field("RestartPolicy");
    let fields = decoder.fields(&names::RESTART, &section.body, &path);
    let mut policy = RestartPolicy::default_for(kind);
    decoder.number(&fields, "attempts", &mut policy.attempts);
    decoder.duration(&fields, "interval", &mut policy.interval);
    decoder.duration(&fields, "delay", &mut policy.delay);
    decoder.string(&fields, "mode", &mut policy.mode);
    Some(policy)
}

fn reschedule(
    decoder: &mut Decoder<'_, '_>,
    owner: &Fields<'_>,
    kind: &str,
) -> Option<ReschedulePolicy> {
    let section = decoder.section(owner, "reschedule")?;
    let field = owner.names.field("reschedule").unwrap_or_default();
    let path = owner.path.field(field);
    let fields = decoder.fields(&names::RESCHEDULE, &section.body, &path);
    let mut policy = ReschedulePolicy::default_for(kind);
    decoder.number(&fields, "attempts", &mut policy.attempts);
    decoder.duration(&fields, "interval", &mut policy.interval);
    decoder.duration(&fields, "delay", &mut policy.delay);
    decoder.string(&fields, "delay_function", &mut policy.delay_function);
    decoder.duration(&fields, "max_delay", &mut policy.max_delay);
    decoder.flag(&fields, "unlimited", &mut policy.unlimited);
    Some(policy)
}

fn disconnect(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>) -> Option<DisconnectStrategy> {
    let section = decoder.section(owner, "disconnect")?;
    let path = owner.path.field("Disconnect");
    let fields = decoder.fields(&names::DISCONNECT, &section.body, &path);
    let mut strategy = DisconnectStrategy::default();
    decoder.duration(&fields, "lost_after", &mut strategy.lost_after);
    strategy.stop_on_client_after = decoder.period(&fields, "stop_on_client_after");
    if fields.body.attribute("replace").is_some() {
        let mut replace = true;
        decoder.flag(&fields, "replace", &mut replace);
        strategy.replace = Some(replace);
    }
    decoder.string(&fields, "reconcile", &mut strategy.reconcile);
    Some(strategy)
}

fn ephemeral_disk(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>) -> EphemeralDisk {
    let mut disk = EphemeralDisk::default();
    if let Some(section) = decoder.section(owner, "ephemeral_disk") {
        let path = owner.path.field("EphemeralDisk");
        let fields = decoder.fields(&names::EPHEMERAL_DISK, &section.body, &path);
        decoder.flag(&fields, "sticky", &mut disk.sticky);
        decoder.flag(&fields, "migrate", &mut disk.migrate);
        decoder.number(&fields, "size", &mut disk.size_mb);
    }
    disk
}

/// A group's block says only what is different from its job's.
fn update(
    decoder: &mut Decoder<'_, '_>,
    owner: &Fields<'_>,
    of_job: Option<&UpdateStrategy>,
) -> Option<UpdateStrategy> {
    let section = decoder.section(owner, "update")?;
    let path = owner.path.field("Update");
    let fields = decoder.fields(&names::UPDATE, &section.body, &path);
    let mut update = of_job.cloned().unwrap_or_default();
    decoder.duration(&fields, "stagger", &mut update.stagger);
    decoder.number(&fields, "max_parallel", &mut update.max_parallel);
    decoder.string(&fields, "health_check", &mut update.health_check);
    decoder.duration(&fields, "min_healthy_time", &mut update.min_healthy_time);
    decoder.duration(&fields, "healthy_deadline", &mut update.healthy_deadline);
    decoder.duration(&fields, "progress_deadline", &mut update.progress_deadline);
    decoder.number(&fields, "canary", &mut update.canary);
    decoder.flag(&fields, "auto_revert", &mut update.auto_revert);
    decoder.flag(&fields, "auto_promote", &mut update.auto_promote);
    Some(update)
}

fn migrate(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>) -> Option<MigrateStrategy> {
    let section = decoder.section(owner, "migrate")?;
    let path = owner.path.field("Migrate");
    let fields = decoder.fields(&names::MIGRATE, &section.body, &path);
    let mut migrate = MigrateStrategy::default();
    decoder.number(&fields, "max_parallel", &mut migrate.max_parallel);
    decoder.string(&fields, "health_check", &mut migrate.health_check);
    decoder.duration(&fields, "min_healthy_time", &mut migrate.min_healthy_time);
    decoder.duration(&fields, "healthy_deadline", &mut migrate.healthy_deadline);
    Some(migrate)
}

/// Operators that can be written as `OPERATOR = VALUE`.
const SUGAR: [&str; 6] = [
    "regexp",
    "set_contains",
    "set_contains_all",
    "set_contains_any",
    "version",
    "semver",
];

pub(crate) fn constraints(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>) -> Vec<Constraint> {
    let mut constraints = Vec::new();
    for section in decoder.sections(owner, "constraint") {
        let path = owner.path.field("Constraints").index(constraints.len());
        decoder.place(&path, section.at);
        decoder.no_labels(&section, "constraint");
        let fields = decoder.fields(&names::CONSTRAINT, &section.body, &path);
        if let Some(constraint) = constraint(decoder, &fields) {
            constraints.push(constraint);
        }
    }
    constraints
}

/// Nothing if it demands nothing, as `distinct_hosts = false`.
fn constraint(decoder: &mut Decoder<'_, '_>, fields: &Fields<'_>) -> Option<Constraint> {
    let mut constraint = Constraint {
        operand: "=".to_owned(),
        ..Constraint::default()
    };
    decoder.string(fields, "attribute", &mut constraint.left);
    decoder.string(fields, "value", &mut constraint.right);
    decoder.string(fields, "operator", &mut constraint.operand);
    for operator in SUGAR {
        if fields.body.attribute(operator).is_some() {
            decoder.string(fields, operator, &mut constraint.right);
            operator.clone_into(&mut constraint.operand);
        }
    }
    if fields.body.attribute("distinct_property").is_some() {
        decoder.string(fields, "distinct_property", &mut constraint.left);
        "distinct_property".clone_into(&mut constraint.operand);
    }
    if fields.body.attribute("distinct_hosts").is_some() {
        let mut wanted = false;
        decoder.flag(fields, "distinct_hosts", &mut wanted);
        if !wanted {
            return None;
        }
        "distinct_hosts".clone_into(&mut constraint.operand);
    }
    Some(constraint)
}

/// `affinity` and `spread`: only their names and types are checked.
pub(crate) fn preferences(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>) {
    for (name, names) in [("affinity", &names::AFFINITY), ("spread", &names::SPREAD)] {
        for section in decoder.sections(owner, name) {
            decoder.no_labels(&section, name);
            let fields = decoder.fields(names, &section.body, &owner.path.key(name));
            decoder.string(&fields, "attribute", &mut String::new());
            decoder.int(&fields, "weight");
            decoder.findings.warn(
                section.at,
                format!("`{name}` is not acted on yet: allocations are placed without it"),
            );
        }
    }
}

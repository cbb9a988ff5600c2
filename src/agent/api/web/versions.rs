//! A job's versions, and what each changed.

use logic::diff::{self, FieldDiff, JobDiff, Kind, ObjectDiff};
use logic::model::Job;
use logic::time::Time;
use maud::{Markup, html};

use super::elements::{Tone, ago, command, status};
use super::job::quoted;
use super::seen::Seen;

/// A change of one value, and where in the job it is.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    kind: Kind,
    path: String,
    old: String,
    new: String,
}

pub(super) fn list(seen: &Seen, job: &Job) -> Markup {
    let versions = seen.store.job_versions(&job.id);
    let pairs = versions.iter().enumerate();
    html! {
        section aria-labelledby="versions" {
            h2 #versions { "Versions" }
            ol.versions {
                @for (at, version) in pairs {
                    @let before = versions.get(at + 1).map(AsRef::as_ref);
                    li data-key={ "v-" (version.version) } {
                        p.title {
                            strong { "Version " (version.version) }
                            @if version.version == job.version { (status(Tone::Ok, "current")) }
                            @if version.stop { (status(Tone::Idle, "stopped")) }
                            @if version.stable { (status(Tone::Ok, "stable")) }
                            span.dim { (ago(Time(version.submit_time), seen.now)) }
                        }
                        (changes(before, version))
                    }
                }
            }
            @let seen_at_terminal = format!("drover job history -p {}", quoted(&job.id));
            ul.commands { li { (command(&seen_at_terminal)) } }
        }
    }
}

fn changes(before: Option<&Job>, version: &Job) -> Markup {
    let Some(before) = before else {
        let first = version.version == 0;
        let words = if first {
            "The first one."
        } else {
            "Earlier ones are forgotten."
        };
        return html! { p.dim { (words) } };
    };
    if version.stop && !before.stop {
        return html! { p { "The job was stopped." } };
    }
    let changes = flat(&diff::job(Some(before), Some(version)));
    html! {
        @if changes.is_empty() { p.dim { "Asks for the same." } }
        ul.changes {
            @for change in &changes {
                li {
                    code { (change.path) } " "
                    @match change.kind {
                        Kind::Added => { ins { (change.new) } }
                        Kind::Deleted => { del { (change.old) } }
                        Kind::Same | Kind::Edited => {
                            del { (change.old) } " → " ins { (change.new) }
                        }
                    }
                }
            }
        }
    }
}

/// Every value that differs, with its path.
fn flat(diff: &JobDiff) -> Vec<Change> {
    let mut found = Vec::new();
    fields(&mut found, "", &diff.fields);
    objects(&mut found, "", &diff.objects);
    for group in &diff.task_groups {
        let path = format!("group {} › ", group.name);
        fields(&mut found, &path, &group.fields);
        objects(&mut found, &path, &group.objects);
        for task in &group.tasks {
            let path = format!("{path}task {} › ", task.name);
            fields(&mut found, &path, &task.fields);
            objects(&mut found, &path, &task.objects);
        }
    }
    found
}

fn fields(found: &mut Vec<Change>, path: &str, fields: &[FieldDiff]) {
    for field in fields.iter().filter(|field| field.r#type != Kind::Same) {
        found.push(Change {
            kind: field.r#type,
            path: format!("{path}{}", field.name),
            old: readable(&field.name, &field.old),
            new: readable(&field.name, &field.new),
        });
    }
}

/// Fields that are durations, which the API has in nanoseconds.
const DURATIONS: [&str; 14] = [
    "Delay",
    "Grace",
    "HealthyDeadline",
    "Interval",
    "KillTimeout",
    "LostAfter",
    "MaxClientDisconnect",
    "MaxDelay",
    "MinHealthyTime",
    "ProgressDeadline",
    "ShutdownDelay",
    "StopAfterClientDisconnect",
    "StopOnClientAfter",
    "Timeout",
];

/// A value as people write it.
fn readable(name: &str, value: &str) -> String {
    let nanos = value.parse().ok().filter(|_| DURATIONS.contains(&name));
    nanos.map_or_else(|| value.to_owned(), logic::duration::format)
}

fn objects(found: &mut Vec<Change>, path: &str, parts: &[ObjectDiff]) {
    for part in parts.iter().filter(|part| part.r#type != Kind::Same) {
        let path = format!("{path}{} › ", part.name);
        fields(found, &path, &part.fields);
        objects(found, &path, &part.objects);
    }
}

#[cfg(test)]
mod tests {
    use logic::model::{Task, TaskGroup};

    use super::*;

    fn job(count: i64, image: &str) -> Job {
        let task = Task {
            name: "web".into(),
            driver: "docker".into(),
            config: [(
                "image".to_owned(),
                logic::model::Value::String(image.to_owned()),
            )]
            .into(),
            ..Task::default()
        };
        let group = TaskGroup {
            name: "front".into(),
            count: Some(count),
            tasks: vec![task],
            ..TaskGroup::default()
        };
        Job {
            id: "web".into(),
            task_groups: vec![group],
            ..Job::default()
        }
    }

    #[test]
    fn durations_are_told_as_people_write_them() {
        for (name, value, told) in [
            ("MinHealthyTime", "1000000000", "1s"),
            ("Grace", "5000000000", "5s"),
            ("StopAfterClientDisconnect", "60000000000", "1m0s"),
            ("ProgressDeadline", "", ""),
            ("Count", "1000000000", "1000000000"),
        ] {
            assert_eq!(readable(name, value), told, "{name}");
        }
    }

    #[test]
    fn a_version_tells_what_it_changed_and_where() {
        let (old, new) = (job(2, "a:1"), job(3, "a:<2>"));
        let changes = flat(&diff::job(Some(&old), Some(&new)));
        let told: Vec<_> = changes
            .iter()
            .map(|change| format!("{}: {} -> {}", change.path, change.old, change.new))
            .collect();
        assert_eq!(
            told,
            [
                "group front › Count: 2 -> 3",
                "group front › task web › Config › image: a:1 -> a:<2>"
            ]
        );
        let markup = super::changes(Some(&old), &new).into_string();
        assert!(markup.contains("<ins>a:&lt;2&gt;</ins>"), "{markup}");
    }
}

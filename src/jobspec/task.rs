//! `task`, `resources` and `logs`.

use logic::model::{LogConfig, Resources, Task};
use logic::validate::Path;

use crate::decode::{Decoder, Fields, Section};
use crate::{job, names, network, service};

pub(crate) fn task(
    decoder: &mut Decoder<'_, '_>,
    section: &Section<'_>,
    path: &Path,
    kind: &str,
) -> Option<Task> {
    let name = decoder.label(section, "task");
    let fields = decoder.fields(&names::TASK, &section.body, path);
    let mut task = Task::default();
    if let Some(name) = name {
        task.name.clone_from(&name.text);
        decoder.place(&path.field("Name"), name.at);
    }
    decoder.string(&fields, "driver", &mut task.driver);
    decoder.string(&fields, "user", &mut task.user);
    task.config = decoder.free_map(&fields, "config");
    task.env = decoder.text_map(&fields, "env");
    task.meta = decoder.text_map(&fields, "meta");
    task.constraints = job::constraints(decoder, &fields);
    job::preferences(decoder, &fields);
    task.services = service::services(decoder, &fields);
    resources(decoder, &fields, &mut task.resources);
    task.restart_policy = job::restart(decoder, &fields, kind);
    task.kill_timeout = decoder.period(&fields, "kill_timeout");
    decoder.string(&fields, "kill_signal", &mut task.kill_signal);
    logs(decoder, &fields, &mut task.log_config);
    decoder.flag(&fields, "leader", &mut task.leader);
    decoder.duration(&fields, "shutdown_delay", &mut task.shutdown_delay);
    name.map(|_| task)
}

fn resources(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>, into: &mut Resources) {
    let Some(section) = decoder.section(owner, "resources") else {
        return;
    };
    let path = owner.path.field("Resources");
    let fields = decoder.fields(&names::RESOURCES, &section.body, &path);
    decoder.number(&fields, "cpu", &mut into.cpu);
    decoder.number(&fields, "memory", &mut into.memory_mb);
    decoder.not_zero(&fields, "cpu", "1 or more");
    decoder.not_zero(&fields, "memory", "10 or more");
    decoder.number(&fields, "disk", &mut into.disk_mb);
    decoder.number(&fields, "iops", &mut into.iops);
    into.networks = network::networks(decoder, &fields);
}

fn logs(decoder: &mut Decoder<'_, '_>, owner: &Fields<'_>, into: &mut LogConfig) {
    if let Some(section) = decoder.section(owner, "logs") {
        let path = owner.path.field("LogConfig");
        let fields = decoder.fields(&names::LOGS, &section.body, &path);
        decoder.number(&fields, "max_files", &mut into.max_files);
        decoder.number(&fields, "max_file_size", &mut into.max_file_size_mb);
    }
}

//! A task as the engine's API wants it.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, DeviceMapping, HostConfig, HostConfigLogConfig, Mount, MountType,
    PortBinding, PortMap, ResourcesUlimits,
};
use ports::errors::ContainersError;
use ports::{PortMapping, TaskSpec};

use super::image::with_tag;
use super::options::Options;
use crate::containers::log_limits;
use crate::dirs::{AllocDirs, Seen};
use crate::machine::mhz_per_core;

pub(super) const ALLOC_LABEL: &str = "com.drover.alloc_id";
pub(super) const TASK_LABEL: &str = "com.drover.task";

/// Tells apart the agents that use the same engine.
pub(super) const DIR_LABEL: &str = "com.drover.alloc_dir";

const MIB: i64 = 1024 * 1024;

/// The fewest CPU shares the kernel knows.
const MIN_SHARES: i64 = 2;

const KNOWN: &[&str] = &[
    "args",
    "auth",
    "auth_soft_fail",
    "cap_add",
    "cap_drop",
    "command",
    "cpu_hard_limit",
    "devices",
    "dns_options",
    "dns_search_domains",
    "dns_servers",
    "entrypoint",
    "extra_hosts",
    "force_pull",
    "group_add",
    "hostname",
    "image",
    "image_pull_timeout",
    "init",
    "interactive",
    "ipc_mode",
    "labels",
    "logging",
    "mount",
    "mounts",
    "network_mode",
    "oom_score_adj",
    "pid_mode",
    "pids_limit",
    "port_map",
    "ports",
    "privileged",
    "readonly_rootfs",
    "runtime",
    "security_opt",
    "shm_size",
    "ssl",
    "sysctl",
    "tty",
    "ulimit",
    "userns_mode",
    "uts_mode",
    "volume_driver",
    "volumes",
    "work_dir",
];

pub(super) fn build(
    spec: &TaskSpec,
    dirs: &AllocDirs,
) -> Result<ContainerCreateBody, ContainersError> {
    let options = Options::new(&spec.config);
    if let Some(name) = options.unknown(KNOWN) {
        return Err(ContainersError::Refused(format!(
            "docker: the option `{name}` isn't supported"
        )));
    }
    let command = options.text("command")?;
    let args = options.list("args")?.unwrap_or_default();
    let cmd: Vec<String> = command.into_iter().chain(args).collect();
    let bindings = bindings(spec, &options)?;
    Ok(ContainerCreateBody {
        image: Some(with_tag(&options.required_text("image")?)),
        cmd: Some(cmd).filter(|cmd| !cmd.is_empty()),
        entrypoint: options.list("entrypoint")?,
        env: Some(env(spec)),
        user: Some(spec.user.clone()).filter(|user| !user.is_empty()),
        hostname: options.text("hostname")?,
        working_dir: options.text("work_dir")?,
        tty: options.flag("tty")?,
        open_stdin: options.flag("interactive")?,
        labels: Some(labels(spec, dirs, &options)?),
        exposed_ports: bindings.as_ref().map(|ports| {
            let mut ports: Vec<String> = ports.keys().cloned().collect();
            ports.sort();
            ports
        }),
        host_config: Some(host_config(spec, dirs, &options, bindings)?),
        ..ContainerCreateBody::default()
    })
}

fn env(spec: &TaskSpec) -> Vec<String> {
    let env = Seen::in_container().env(&spec.env);
    env.iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn labels(
    spec: &TaskSpec,
    dirs: &AllocDirs,
    options: &Options<'_>,
) -> Result<HashMap<String, String>, ContainersError> {
    let mut labels: HashMap<String, String> = options.table("labels")?.into_iter().collect();
    labels.extend(spec.labels.clone());
    labels.insert(ALLOC_LABEL.to_owned(), spec.key.alloc_id.clone());
    labels.insert(TASK_LABEL.to_owned(), spec.key.task.clone());
    labels.insert(DIR_LABEL.to_owned(), dirs.root().display().to_string());
    Ok(labels)
}

/// Which ports are published; None if the task has no network of its own to publish from.
fn bindings(spec: &TaskSpec, options: &Options<'_>) -> Result<Option<PortMap>, ContainersError> {
    let mapped = options.table("port_map")?;
    let wanted = options.list("ports")?;
    let named = mapped.keys().map(|label| ("port_map", label));
    let listed = wanted.iter().flatten().map(|label| ("ports", label));
    for (option, label) in named.chain(listed) {
        if !spec.ports.iter().any(|port| port.label == *label) {
            let labels: Vec<&str> = spec.ports.iter().map(|port| port.label.as_str()).collect();
            return Err(ContainersError::Refused(format!(
                "docker: `{option}` names the port `{label}`, but the task's ports are: {}",
                if labels.is_empty() {
                    "none".to_owned()
                } else {
                    labels.join(", ")
                }
            )));
        }
    }
    let mode = options.text("network_mode")?.unwrap_or_default();
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        return Ok(None);
    }
    let mut bindings = PortMap::new();
    for port in &spec.ports {
        if wanted
            .as_ref()
            .is_some_and(|wanted| !wanted.contains(&port.label))
        {
            continue;
        }
        let inside = match mapped.get(&port.label) {
            Some(number) => number.parse().map_err(|_| {
                ContainersError::Refused(format!(
                    "docker: `port_map` maps `{}` to `{number}`, which is not a port",
                    port.label
                ))
            })?,
            None => port.container_port,
        };
        for protocol in ["tcp", "udp"] {
            let published = bindings.entry(format!("{inside}/{protocol}")).or_default();
            published.get_or_insert_default().push(binding(port));
        }
    }
    Ok(Some(bindings))
}

fn binding(port: &PortMapping) -> PortBinding {
    PortBinding {
        host_ip: Some(port.host_ip.clone()),
        host_port: Some(port.host_port.to_string()),
    }
}

fn host_config(
    spec: &TaskSpec,
    dirs: &AllocDirs,
    options: &Options<'_>,
    bindings: Option<PortMap>,
) -> Result<HostConfig, ContainersError> {
    let memory = (spec.memory_mb > 0).then_some(spec.memory_mb.saturating_mul(MIB));
    let hard_limit = options.flag("cpu_hard_limit")? == Some(true);
    let sysctls: HashMap<String, String> = options.table("sysctl")?.into_iter().collect();
    Ok(HostConfig {
        memory,
        // The limit is on memory and swap together: no swap.
        memory_swap: memory,
        cpu_shares: Some(spec.cpu.max(MIN_SHARES)),
        nano_cpus: hard_limit.then(|| spec.cpu.saturating_mul(1_000_000_000) / mhz_per_core()),
        binds: Some(binds(spec, dirs, options)?),
        mounts: Some(mounts(options)?).filter(|mounts| !mounts.is_empty()),
        devices: Some(devices(options)?).filter(|devices| !devices.is_empty()),
        port_bindings: bindings,
        log_config: Some(logging(spec, options)?),
        network_mode: options.text("network_mode")?,
        ipc_mode: options.text("ipc_mode")?,
        pid_mode: options.text("pid_mode")?,
        uts_mode: options.text("uts_mode")?,
        userns_mode: options.text("userns_mode")?,
        runtime: options.text("runtime")?,
        volume_driver: options.text("volume_driver")?,
        privileged: options.flag("privileged")?,
        readonly_rootfs: options.flag("readonly_rootfs")?,
        init: options.flag("init")?,
        cap_add: options.list("cap_add")?,
        cap_drop: options.list("cap_drop")?,
        dns: options.list("dns_servers")?,
        dns_search: options.list("dns_search_domains")?,
        dns_options: options.list("dns_options")?,
        extra_hosts: options.list("extra_hosts")?,
        group_add: options.list("group_add")?,
        security_opt: options.list("security_opt")?,
        pids_limit: options.number("pids_limit")?,
        oom_score_adj: options.number("oom_score_adj")?,
        shm_size: options.number("shm_size")?,
        sysctls: Some(sysctls).filter(|sysctls| !sysctls.is_empty()),
        ulimits: Some(ulimits(options)?).filter(|limits| !limits.is_empty()),
        ..HostConfig::default()
    })
}

/// The allocation's directories, and what the job mounts: `/host/path:/inside`,
/// `relative/to/the/task:/inside` or `volume:/inside`.
fn binds(
    spec: &TaskSpec,
    dirs: &AllocDirs,
    options: &Options<'_>,
) -> Result<Vec<String>, ContainersError> {
    let (outside, inside) = (dirs.on_host(&spec.key)?, Seen::in_container());
    let mut binds = vec![
        format!("{}:{}", outside.alloc, inside.alloc),
        format!("{}:{}", outside.local, inside.local),
        format!("{}:{}", outside.secrets, inside.secrets),
    ];
    let task_dir = dirs.task(&spec.key)?;
    for volume in options.list("volumes")?.unwrap_or_default() {
        let Some((source, target)) = volume.split_once(':') else {
            return Err(ContainersError::Refused(format!(
                "docker: the volume `{volume}` says not where to mount it: write SOURCE:/PATH"
            )));
        };
        let is_path = source.contains('/') || source.starts_with('.');
        if is_path && !source.starts_with('/') {
            let source = inside_task(&task_dir, source)?;
            binds.push(format!("{source}:{target}"));
        } else {
            binds.push(volume);
        }
    }
    Ok(binds)
}

fn inside_task(task_dir: &Path, source: &str) -> Result<String, ContainersError> {
    let leaves = Path::new(source)
        .components()
        .any(|part| part == std::path::Component::ParentDir);
    if leaves {
        return Err(ContainersError::Refused(format!(
            "docker: the volume `{source}` leads out of the task's directory: write the whole path"
        )));
    }
    let clean: std::path::PathBuf = Path::new(source)
        .components()
        .filter(|part| *part != std::path::Component::CurDir)
        .collect();
    Ok(task_dir.join(clean).to_string_lossy().into_owned())
}

fn mounts(options: &Options<'_>) -> Result<Vec<Mount>, ContainersError> {
    let mut mounts = Vec::new();
    for name in ["mount", "mounts"] {
        for block in options.blocks(name)? {
            let mount = Options::new(&block);
            let typ = match mount.text("type")?.as_deref() {
                None | Some("volume") => MountType::VOLUME,
                Some("bind") => MountType::BIND,
                Some("tmpfs") => MountType::TMPFS,
                Some(other) => {
                    return Err(ContainersError::Refused(format!(
                        "docker: `{name}`: the type `{other}` is none of volume, bind, tmpfs"
                    )));
                }
            };
            mounts.push(Mount {
                typ: Some(typ),
                source: mount.text("source")?,
                target: Some(mount.required_text("target")?),
                read_only: mount.flag("readonly")?,
                ..Mount::default()
            });
        }
    }
    Ok(mounts)
}

fn devices(options: &Options<'_>) -> Result<Vec<DeviceMapping>, ContainersError> {
    let mut devices = Vec::new();
    for block in options.blocks("devices")? {
        let device = Options::new(&block);
        let on_host = device.required_text("host_path")?;
        let inside = device.text("container_path")?;
        let permissions = device.text("cgroup_permissions")?;
        devices.push(DeviceMapping {
            path_in_container: Some(inside.unwrap_or_else(|| on_host.clone())),
            path_on_host: Some(on_host),
            cgroup_permissions: Some(permissions.unwrap_or_else(|| "rwm".to_owned())),
        });
    }
    Ok(devices)
}

/// Limits are written `nofile = "2048:4096"` (soft and hard) or `nproc = "4242"`.
fn ulimits(options: &Options<'_>) -> Result<Vec<ResourcesUlimits>, ContainersError> {
    let table = options.table("ulimit")?;
    table
        .iter()
        .map(|(name, text)| {
            let (soft, hard) = text.split_once(':').unwrap_or((text, text));
            let parse = |number: &str| {
                number.trim().parse::<i64>().map_err(|_| {
                    ContainersError::Refused(format!(
                        "docker: `ulimit`: {name} is `{text}`: write SOFT:HARD, two numbers"
                    ))
                })
            };
            Ok(ResourcesUlimits {
                name: Some(name.clone()),
                soft: Some(parse(soft)?),
                hard: Some(parse(hard)?),
            })
        })
        .collect()
}

/// Without a `logging` block, the engine keeps as much as we need to copy it.
fn logging(spec: &TaskSpec, options: &Options<'_>) -> Result<HostConfigLogConfig, ContainersError> {
    if let Some(block) = options.block("logging")? {
        let logging = Options::new(&block);
        let mut config = logging.table("config")?;
        config.extend(logging.table("options")?);
        let typ = logging.text("type")?.or(logging.text("driver")?);
        return Ok(HostConfigLogConfig {
            typ: Some(typ.unwrap_or_else(|| "json-file".to_owned())),
            config: Some(config.into_iter().collect()),
        });
    }
    let (_, max_len) = log_limits(&spec.logs);
    Ok(HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(HashMap::from([
            ("max-size".to_owned(), max_len.to_string()),
            ("max-file".to_owned(), "2".to_owned()),
        ])),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use logic::model::{LogConfig, Value};
    use ports::TaskKey;

    use super::*;
    use crate::disk::DataDir;

    fn text(value: &str) -> Value {
        Value::String(value.to_owned())
    }

    fn list(items: &[&str]) -> Value {
        Value::List(items.iter().map(|item| text(item)).collect())
    }

    fn map(entries: &[(&str, Value)]) -> Value {
        Value::Map(
            entries
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        )
    }

    fn spec(config: &[(&str, Value)]) -> TaskSpec {
        let Value::Map(config) = map(config) else {
            unreachable!("a map was made")
        };
        TaskSpec {
            key: TaskKey {
                alloc_id: "a1".to_owned(),
                task: "web".to_owned(),
            },
            driver: "docker".to_owned(),
            config,
            env: BTreeMap::from([("GREETING".to_owned(), "hi".to_owned())]),
            user: String::new(),
            cpu: 500,
            memory_mb: 64,
            ports: vec![PortMapping {
                label: "http".to_owned(),
                host_ip: "192.0.2.7".to_owned(),
                host_port: 20_001,
                container_port: 20_001,
            }],
            logs: LogConfig::default(),
            labels: BTreeMap::from([("com.drover.job".to_owned(), "site".to_owned())]),
            kill_signal: String::new(),
        }
    }

    fn built(config: &[(&str, Value)]) -> Result<ContainerCreateBody, ContainersError> {
        let data = DataDir::kept("/data");
        build(&spec(config), &AllocDirs::new("/data/alloc".into(), data))
    }

    fn host(config: &[(&str, Value)]) -> HostConfig {
        built(config)
            .expect("a valid configuration")
            .host_config
            .expect("there is always one")
    }

    #[test]
    fn a_task_becomes_a_container_with_limits_labels_and_directories() {
        let body = built(&[
            ("image", text("app")),
            ("command", text("serve")),
            ("args", list(&["-v", "x y"])),
        ])
        .expect("a valid configuration");
        assert_eq!(body.image.as_deref(), Some("app:latest"));
        assert_eq!(
            body.cmd,
            Some(vec!["serve".to_owned(), "-v".to_owned(), "x y".to_owned()])
        );
        let env = body.env.expect("an environment");
        assert!(env.contains(&"GREETING=hi".to_owned()));
        assert!(env.contains(&"NOMAD_TASK_DIR=/local".to_owned()));
        let labels = body.labels.expect("labels");
        assert_eq!(labels[ALLOC_LABEL], "a1");
        assert_eq!(labels[TASK_LABEL], "web");
        assert_eq!(labels["com.drover.job"], "site");
        let host = body.host_config.expect("there is always one");
        assert_eq!(host.memory, Some(64 * MIB));
        assert_eq!(host.cpu_shares, Some(500));
        assert_eq!(
            host.binds.expect("binds"),
            [
                "/data/alloc/a1/alloc:/alloc",
                "/data/alloc/a1/web/local:/local",
                "/data/alloc/a1/web/secrets:/secrets",
            ]
        );
    }

    #[test]
    fn ports_are_published_where_port_map_says() {
        let table = [
            (
                vec![("port_map", map(&[("http", Value::Int(8081))]))],
                "8081",
            ),
            (vec![("ports", list(&["http"]))], "20001"),
            (vec![], "20001"),
        ];
        for (mut config, inside) in table {
            config.push(("image", text("app")));
            let bindings = host(&config).port_bindings.expect("published");
            for protocol in ["tcp", "udp"] {
                let published = bindings[&format!("{inside}/{protocol}")].clone();
                assert_eq!(
                    published,
                    Some(vec![PortBinding {
                        host_ip: Some("192.0.2.7".to_owned()),
                        host_port: Some("20001".to_owned()),
                    }])
                );
            }
            assert_eq!(bindings.len(), 2);
        }
        let config = [("image", text("app")), ("network_mode", text("host"))];
        assert_eq!(host(&config).port_bindings, None);
    }

    #[test]
    fn a_mistyped_port_label_is_refused_by_name() {
        let error = built(&[
            ("image", text("app")),
            ("port_map", map(&[("htp", Value::Int(8081))])),
        ]);
        assert_eq!(
            error.err(),
            Some(ContainersError::Refused(
                "docker: `port_map` names the port `htp`, but the task's ports are: http"
                    .to_owned()
            ))
        );
    }

    #[test]
    fn volumes_are_paths_or_names() {
        let volumes = list(&["/etc/ssl:/ssl:ro", "./conf/a:/conf", "data:/var/data"]);
        let binds = host(&[("image", text("app")), ("volumes", volumes)]).binds;
        assert_eq!(
            binds.expect("binds")[3..],
            [
                "/etc/ssl:/ssl:ro",
                "/data/alloc/a1/web/conf/a:/conf",
                "data:/var/data",
            ]
        );
        let volumes = list(&["../../other:/x"]);
        assert!(built(&[("image", text("app")), ("volumes", volumes)]).is_err());
    }

    #[test]
    fn logging_is_passed_on() {
        let block = map(&[
            ("type", text("syslog")),
            ("config", map(&[("tag", text("web"))])),
        ]);
        let config = host(&[
            ("image", text("app")),
            ("logging", Value::List(vec![block])),
        ]);
        let logging = config.log_config.expect("logging");
        assert_eq!(logging.typ.as_deref(), Some("syslog"));
        assert_eq!(logging.config.expect("options")["tag"], "web");
    }

    #[test]
    fn limits_mounts_and_devices_are_passed_on() {
        let mount = map(&[
            ("type", text("tmpfs")),
            ("target", text("/scratch")),
            ("readonly", Value::Bool(false)),
        ]);
        let config = host(&[
            ("image", text("app")),
            (
                "ulimit",
                map(&[("nofile", text("10:20")), ("nproc", Value::Int(7))]),
            ),
            ("mounts", Value::List(vec![mount])),
            ("devices", map(&[("host_path", text("/dev/fuse"))])),
            ("sysctl", map(&[("net.core.somaxconn", text("16384"))])),
        ]);
        let limits = config.ulimits.expect("limits");
        assert_eq!((limits[0].soft, limits[0].hard), (Some(10), Some(20)));
        assert_eq!((limits[1].soft, limits[1].hard), (Some(7), Some(7)));
        assert_eq!(
            config.mounts.expect("mounts")[0].typ,
            Some(MountType::TMPFS)
        );
        let device = config.devices.expect("devices")[0].clone();
        assert_eq!(device.path_in_container.as_deref(), Some("/dev/fuse"));
        assert_eq!(
            config.sysctls.expect("sysctls")["net.core.somaxconn"],
            "16384"
        );
    }

    #[test]
    fn what_the_driver_cannot_do_is_refused() {
        let table: [(&str, Value); 4] = [
            ("load", text("image.tar")),
            ("tty", text("perhaps")),
            ("volumes", list(&["/only"])),
            ("ulimit", map(&[("nofile", text("many"))])),
        ];
        for (name, value) in table {
            let error = built(&[("image", text("app")), (name, value)]);
            assert!(
                matches!(error, Err(ContainersError::Refused(_))),
                "{name}: {error:?}"
            );
        }
        assert!(built(&[]).is_err(), "an image is needed");
    }
}

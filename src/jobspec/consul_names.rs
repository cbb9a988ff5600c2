//! Which keys of Consul's configuration files there are, block by block, and what is said to
//! those that change nothing: their name and their place in the file.

use std::collections::VecDeque;

use serde_json::{Map, Value};

use crate::consul_file::{File, Places};
use crate::fields::plain;
use crate::problem::{Findings, Problem, Source, closest};

/// One block's keys.
struct Names {
    /// Acted on.
    used: &'static [&'static str],
    /// Known, and without a meaning here.
    accepted: &'static [&'static str],
    /// Known, and not acted on yet.
    later: &'static [&'static str],
    /// Blocks within it whose keys are known as well.
    inner: &'static [(&'static str, Names)],
}

const FILE: Names = Names {
    used: &[
        "advertise_addr",
        "bind_addr",
        "bootstrap",
        "bootstrap_expect",
        "check",
        "checks",
        "client_addr",
        "data_dir",
        "datacenter",
        "dns_config",
        "domain",
        "encrypt",
        "leave_on_terminate",
        "log_json",
        "log_level",
        "node_name",
        "ports",
        "recursors",
        "retry_join",
        "server",
        "service",
        "services",
        "start_join",
    ],
    accepted: &[
        "autoreload_config",
        "disable_update_check",
        "enable_syslog",
        "log_file",
        "performance",
        "protocol",
        "raft_protocol",
        "rejoin_after_leave",
        "retry_interval",
        "retry_max",
        "server_name",
        "skip_leave_on_interrupt",
        "ui",
        "ui_config",
    ],
    later: &[
        "acl",
        "addresses",
        "advertise_addr_wan",
        "autopilot",
        "auto_encrypt",
        "ca_file",
        "ca_path",
        "cert_file",
        "connect",
        "enable_local_script_checks",
        "enable_script_checks",
        "encrypt_verify_incoming",
        "encrypt_verify_outgoing",
        "gossip_lan",
        "gossip_wan",
        "http_config",
        "key_file",
        "limits",
        "log_rotate_bytes",
        "log_rotate_duration",
        "log_rotate_max_files",
        "node_id",
        "node_meta",
        "primary_datacenter",
        "retry_join_wan",
        "serf_lan",
        "serf_wan",
        "start_join_wan",
        "telemetry",
        "tls",
        "verify_incoming",
        "verify_outgoing",
        "verify_server_hostname",
        "watches",
    ],
    inner: &[
        ("ports", PORTS),
        ("dns_config", DNS),
        ("service", SERVICE),
        ("services", SERVICE),
        ("check", CHECK),
        ("checks", CHECK),
    ],
};

const PORTS: Names = Names {
    used: &["dns", "http", "serf_lan", "server"],
    accepted: &[],
    later: &[
        "expose_max_port",
        "expose_min_port",
        "grpc",
        "grpc_tls",
        "https",
        "serf_wan",
        "sidecar_max_port",
        "sidecar_min_port",
    ],
    inner: &[],
};

const DNS: Names = Names {
    used: &[
        "a_record_limit",
        "disable_compression",
        "enable_truncate",
        "node_meta_txt",
        "node_ttl",
        "only_passing",
        "recursor_timeout",
        "service_ttl",
        "soa",
        "udp_answer_limit",
    ],
    // Every agent answers from its own replica: there is nothing to cache, and nobody to ask.
    accepted: &["allow_stale", "cache_max_age", "max_stale", "use_cache"],
    later: &["prefer_namespace", "recursor_strategy"],
    inner: &[("soa", SOA)],
};

const SOA: Names = Names {
    used: &["expire", "min_ttl", "refresh", "retry"],
    accepted: &[],
    later: &[],
    inner: &[],
};

const SERVICE: Names = Names {
    used: &[
        "address",
        "check",
        "checks",
        "connect",
        "enable_tag_override",
        "id",
        "kind",
        "meta",
        "name",
        "port",
        "proxy",
        "service",
        "tagged_addresses",
        "tags",
        "weights",
    ],
    accepted: &["token"],
    later: &["locality", "namespace", "partition", "socket_path"],
    inner: &[("check", CHECK), ("checks", CHECK)],
};

const CHECK: Names = Names {
    used: &[
        "alias_node",
        "alias_service",
        "args",
        "body",
        "check_id",
        "deregister_critical_service_after",
        "docker_container_id",
        "failures_before_critical",
        "grpc",
        "h2ping",
        "header",
        "http",
        "id",
        "interval",
        "method",
        "name",
        "notes",
        "os_service",
        "script",
        "service_id",
        "status",
        "success_before_passing",
        "tcp",
        "timeout",
        "tls_server_name",
        "tls_skip_verify",
        "ttl",
        "udp",
    ],
    accepted: &["token"],
    later: &[
        "disable_redirects",
        "failures_before_warning",
        "grpc_use_tls",
        "namespace",
        "output_max_size",
        "shell",
    ],
    inner: &[],
};

fn is_among(names: &[&str], name: &str) -> bool {
    names.iter().any(|known| plain(known) == plain(name))
}

/// The keys of `dns_config`, or of `soa` in it.
pub(crate) fn of_dns(block: &str) -> Vec<&'static str> {
    let names = if block == "soa" { &SOA } else { &DNS };
    names.used.iter().chain(names.accepted).copied().collect()
}

/// What a file says that changes nothing.
pub(crate) fn warnings(source: Source<'_>, file: &File) -> Vec<Problem> {
    let mut telling = Telling {
        findings: Findings::new(source),
        places: file.places.clone(),
    };
    telling.block(&FILE, "", &file.said);
    telling.findings.take().unwrap_or_default()
}

struct Telling<'a> {
    findings: Findings<'a>,
    places: Places,
}

impl Telling<'_> {
    fn block(&mut self, names: &Names, at: &str, said: &Map<String, Value>) {
        for (name, value) in said {
            let path = format!("{at}{name}");
            let place = self.places.get_mut(&path).and_then(VecDeque::pop_front);
            let inner = names
                .inner
                .iter()
                .find(|(block, _)| plain(block) == plain(name));
            if let Some((_, inner)) = inner {
                let items = match value {
                    Value::Array(items) => items.as_slice(),
                    one => std::slice::from_ref(one),
                };
                for item in items.iter().filter_map(Value::as_object) {
                    self.block(inner, &format!("{path}."), item);
                }
            } else if !is_among(names.used, name) && !is_among(names.accepted, name) {
                self.tell(names, name, &path, value, place.unwrap_or(0));
            }
        }
    }

    fn tell(&mut self, names: &Names, name: &str, path: &str, value: &Value, place: usize) {
        if is_among(names.later, name) {
            // Whoever asks for nothing gets it; a port below 1 is none.
            let is_off = value == &Value::Bool(false);
            if is_off || value.as_i64().is_some_and(|number| number < 1) {
                return;
            }
            let text = format!("`{path}` isn't supported yet, and has no effect");
            return self.findings.warn(place, text);
        }
        let known = [names.used, names.accepted, names.later];
        let known = known.into_iter().flatten().copied();
        let meant = closest(name, known).map(|meant| format!("; did you mean `{meant}`?"));
        let meant = meant.unwrap_or_default();
        self.findings.warn(
            place,
            format!("`{path}` isn't known, and has no effect{meant}"),
        );
    }
}

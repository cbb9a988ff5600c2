//! Every name an agent's configuration may use, whether we act on it or not.

use crate::names::Names;

pub(crate) const AGENT: Names = Names::new(
    "the agent's configuration",
    &[
        ("region", "region"),
        ("datacenter", "datacenter"),
        ("name", "name"),
        ("data_dir", "data_dir"),
        ("bind_addr", "bind_addr"),
        ("log_level", "log_level"),
        ("log_json", "log_json"),
        ("leave_on_interrupt", "leave_on_interrupt"),
        ("leave_on_terminate", "leave_on_terminate"),
        ("addresses", "addresses"),
        ("advertise", "advertise"),
        ("ports", "ports"),
        ("encrypt", "encrypt"),
        ("server", "server"),
        ("client", "client"),
        ("consul", "consul"),
        ("plugin", "plugin"),
        ("catalog", "catalog"),
        ("edge", "edge"),
    ],
    &[
        "acl",
        "audit",
        "autopilot",
        "disable_anonymous_signature",
        "disable_update_check",
        "enable_debug",
        "enable_syslog",
        "eventlog",
        "http_api_response_headers",
        "keyring",
        "limits",
        "log_file",
        "log_include_location",
        "log_rotate_bytes",
        "log_rotate_duration",
        "log_rotate_max_files",
        "plugin_dir",
        "reporting",
        "rpc",
        "sentinel",
        "syslog_facility",
        "telemetry",
        "tls",
        "ui",
        "users",
        "vault",
    ],
)
.harmless(&[
    // There is no such thing to turn on.
    ("enable_syslog", "false"),
    ("enable_debug", "false"),
    ("log_include_location", "false"),
    ("disable_update_check", "true"),
    ("disable_update_check", "false"),
    ("disable_anonymous_signature", "true"),
    ("disable_anonymous_signature", "false"),
]);

pub(crate) const ADDRESSES: Names = Names::new(
    "addresses",
    &[("http", "http"), ("rpc", "rpc"), ("serf", "serf")],
    &[],
);

pub(crate) const ADVERTISE: Names = Names::new(
    "advertise",
    &[("http", "http"), ("rpc", "rpc"), ("serf", "serf")],
    &[],
);

pub(crate) const PORTS: Names = Names::new(
    "ports",
    &[("http", "http"), ("rpc", "rpc"), ("serf", "serf")],
    &[],
);

pub(crate) const SERVER: Names = Names::new(
    "server",
    &[
        ("enabled", "enabled"),
        ("bootstrap_expect", "bootstrap_expect"),
        ("heartbeat_grace", "heartbeat_grace"),
        ("start_join", "start_join"),
        ("retry_join", "retry_join"),
        ("retry_interval", "retry_interval"),
        ("retry_max", "retry_max"),
        ("rejoin_after_leave", "rejoin_after_leave"),
        ("server_join", "server_join"),
        ("encrypt", "encrypt"),
        ("raft_protocol", "raft_protocol"),
        ("raft_snapshot_threshold", "raft_snapshot_threshold"),
        ("protocol_version", "protocol_version"),
    ],
    &[
        "acl_token_gc_threshold",
        "authoritative_region",
        "batch_eval_gc_threshold",
        "csi_plugin_gc_threshold",
        "csi_volume_claim_gc_threshold",
        "data_dir",
        "default_scheduler_config",
        "deployment_gc_threshold",
        "deployment_query_rate_limit",
        "enable_event_broker",
        "enabled_schedulers",
        "eval_gc_threshold",
        "event_buffer_size",
        "failover_heartbeat_ttl",
        "job_default_priority",
        "job_gc_interval",
        "job_gc_threshold",
        "job_max_priority",
        "job_max_source_size",
        "job_tracked_versions",
        "license_path",
        "max_heartbeats_per_second",
        "min_heartbeat_ttl",
        "node_gc_threshold",
        "non_voting_server",
        "num_schedulers",
        "oidc_issuer",
        "plan_rejection_tracker",
        "raft_bolt",
        "raft_boltdb",
        "raft_logstore",
        "raft_multiplier",
        "raft_snapshot_interval",
        "raft_trailing_logs",
        "redundancy_zone",
        "root_key_gc_interval",
        "root_key_gc_threshold",
        "root_key_rotation_threshold",
        "search",
        "start_timeout",
        "upgrade_version",
    ],
);

pub(crate) const SERVER_JOIN: Names = Names::new(
    "server_join",
    &[
        ("start_join", "start_join"),
        ("retry_join", "retry_join"),
        ("retry_interval", "retry_interval"),
        ("retry_max", "retry_max"),
    ],
    &[],
);

pub(crate) const CONSUL: Names = Names::new(
    "consul",
    &[
        ("address", "address"),
        ("ssl", "ssl"),
        ("server_auto_join", "server_auto_join"),
        ("client_auto_join", "client_auto_join"),
        ("allow_unauthenticated", "allow_unauthenticated"),
        ("auth", "auth"),
        ("auto_advertise", "auto_advertise"),
        ("ca_file", "ca_file"),
        ("cert_file", "cert_file"),
        ("checks_use_advertise", "checks_use_advertise"),
        (
            "client_failures_before_critical",
            "client_failures_before_critical",
        ),
        (
            "client_failures_before_warning",
            "client_failures_before_warning",
        ),
        ("client_http_check_name", "client_http_check_name"),
        ("client_service_name", "client_service_name"),
        ("grpc_address", "grpc_address"),
        ("grpc_ca_file", "grpc_ca_file"),
        ("key_file", "key_file"),
        ("namespace", "namespace"),
        (
            "server_failures_before_critical",
            "server_failures_before_critical",
        ),
        (
            "server_failures_before_warning",
            "server_failures_before_warning",
        ),
        ("server_http_check_name", "server_http_check_name"),
        ("server_rpc_check_name", "server_rpc_check_name"),
        ("server_serf_check_name", "server_serf_check_name"),
        ("server_service_name", "server_service_name"),
        ("share_ssl", "share_ssl"),
        ("tags", "tags"),
        ("timeout", "timeout"),
        ("token", "token"),
        ("verify_ssl", "verify_ssl"),
    ],
    &[
        "name",
        "service_auth_method",
        "service_identity",
        "task_auth_method",
        "task_identity",
    ],
);

/// Of those, the ones that are acted on; the others get a warning.
pub(crate) const CONSUL_HEEDED: [&str; 4] =
    ["address", "ssl", "server_auto_join", "client_auto_join"];

pub(crate) const CLIENT: Names = Names::new(
    "client",
    &[
        ("enabled", "enabled"),
        ("servers", "servers"),
        ("server_join", "server_join"),
        ("node_class", "node_class"),
        ("meta", "meta"),
        ("options", "options"),
        ("alloc_dir", "alloc_dir"),
        ("state_dir", "state_dir"),
        ("network_interface", "network_interface"),
        ("cpu_total_compute", "cpu_total_compute"),
        ("memory_total_mb", "memory_total_mb"),
        ("reserved", "reserved"),
    ],
    &[
        "alloc_mounts_dir",
        "artifact",
        "bridge_network_hairpin_mode",
        "bridge_network_name",
        "bridge_network_subnet",
        "cgroup_parent",
        "chroot_env",
        "client_max_port",
        "client_min_port",
        "cni_config_dir",
        "cni_path",
        "cpu_disable_dmidecode",
        "disable_remote_exec",
        "disk_free_mb",
        "disk_total_mb",
        "drain_on_shutdown",
        "fingerprint",
        "gc_disk_usage_threshold",
        "gc_inode_usage_threshold",
        "gc_interval",
        "gc_max_allocs",
        "gc_parallel_destroys",
        "gc_volumes_on_node_gc",
        "host_network",
        "host_volume",
        "host_volume_plugin_dir",
        "host_volumes_dir",
        "max_dynamic_port",
        "max_kill_timeout",
        "min_dynamic_port",
        "network_speed",
        "no_host_uuid",
        "node_max_allocs",
        "node_pool",
        "nomad_service_discovery",
        "preferred_address_family",
        "publish_allocation_metrics",
        "publish_node_metrics",
        "reserve",
        "reservable_cores",
        "stats",
        "template",
        "users",
    ],
)
.harmless(&[("node_pool", "default")]);

pub(crate) const RESERVED: Names = Names::new(
    "reserved",
    &[
        ("cpu", "cpu"),
        ("memory", "memory"),
        ("disk", "disk"),
        ("reserved_ports", "reserved_ports"),
    ],
    &["cores", "iops"],
);

pub(crate) const CATALOG: Names = Names::new(
    "catalog",
    &[
        ("enabled", "enabled"),
        ("http_port", "http_port"),
        ("dns_port", "dns_port"),
        ("domain", "domain"),
        ("service_ttl", "service_ttl"),
    ],
    &[],
);

pub(crate) const EDGE: Names = Names::new(
    "edge",
    &[
        ("enabled", "enabled"),
        ("ports", "ports"),
        ("proxy_addr", "proxy_addr"),
        ("access_log", "access_log"),
        ("ui_port", "ui_port"),
        ("tag_prefix", "tag_prefix"),
        ("no_route_status", "no_route_status"),
    ],
    &[],
);

pub(crate) const PLUGIN: Names = Names::new("plugin", &[("config", "config")], &["args"]);

pub(crate) const RAW_EXEC: Names = Names::new(
    "config",
    &[("enabled", "enabled")],
    &[
        "no_cgroups",
        "denied_envvars",
        "denied_host_uids",
        "denied_host_gids",
    ],
)
.harmless(&[("no_cgroups", "true"), ("no_cgroups", "false")]);

pub(crate) const DOCKER: Names = Names::new(
    "config",
    &[("endpoint", "endpoint")],
    &[
        "allow_caps",
        "allow_privileged",
        "allow_runtimes",
        "auth",
        "container_exists_attempts",
        "cpuset_cpus",
        "disable_log_collection",
        "extra_labels",
        "gc",
        "image_pull_timeout",
        "infra_image",
        "infra_image_pull_timeout",
        "logging",
        "nvidia_runtime",
        "oom_score_adj",
        "pids_limit",
        "pull_activity_timeout",
        "volumes",
        "windows_allow_insecure_container_admin",
        "tls",
    ],
);

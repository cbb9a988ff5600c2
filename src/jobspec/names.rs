//! Every name a job file may use, block by block, whether we act on it or not.

/// The names of one kind of block.
pub(crate) struct Names {
    /// What the block is called.
    pub(crate) here: &'static str,
    /// What we take, with its field in API JSON.
    pub(crate) taken: &'static [(&'static str, &'static str)],
    /// What the anchors take, and we don't yet.
    pub(crate) later: &'static [&'static str],
    /// Of those: values that change nothing.
    pub(crate) harmless: &'static [(&'static str, &'static str)],
}

impl Names {
    pub(crate) const fn new(
        here: &'static str,
        taken: &'static [(&'static str, &'static str)],
        later: &'static [&'static str],
    ) -> Self {
        Self {
            here,
            taken,
            later,
            harmless: &[],
        }
    }

    pub(crate) const fn harmless(
        mut self,
        harmless: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.harmless = harmless;
        self
    }

    pub(crate) fn field(&self, name: &str) -> Option<&'static str> {
        let found = self.taken.iter().find(|(taken, _)| *taken == name);
        found.map(|(_, field)| *field)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &'static str> {
        self.taken
            .iter()
            .map(|(name, _)| *name)
            .chain(self.later.iter().copied())
    }
}

pub(crate) const FILE: Names = Names::new(
    "a job file",
    &[("job", "Job")],
    &["variable", "variables", "locals", "vault"],
);

pub(crate) const JOB: Names = Names::new(
    "job",
    &[
        ("region", "Region"),
        ("namespace", "Namespace"),
        ("id", "ID"),
        ("name", "Name"),
        ("type", "Type"),
        ("priority", "Priority"),
        ("all_at_once", "AllAtOnce"),
        ("datacenters", "Datacenters"),
        ("constraint", "Constraints"),
        ("affinity", "Affinities"),
        ("spread", "Spreads"),
        ("group", "TaskGroups"),
        ("task", "TaskGroups"),
        ("update", "Update"),
        ("reschedule", "Reschedule"),
        ("migrate", "Migrate"),
        ("meta", "Meta"),
    ],
    &[
        "node_pool",
        "multiregion",
        "periodic",
        "parameterized",
        "ui",
        "vault",
        "vault_token",
        "consul_token",
        "dynamic",
    ],
)
.harmless(&[("node_pool", "default")]);

pub(crate) const GROUP: Names = Names::new(
    "group",
    &[
        ("count", "Count"),
        ("constraint", "Constraints"),
        ("affinity", "Affinities"),
        ("spread", "Spreads"),
        ("task", "Tasks"),
        ("restart", "RestartPolicy"),
        ("reschedule", "ReschedulePolicy"),
        ("ephemeral_disk", "EphemeralDisk"),
        ("update", "Update"),
        ("migrate", "Migrate"),
        ("network", "Networks"),
        ("meta", "Meta"),
        ("service", "Services"),
        ("shutdown_delay", "ShutdownDelay"),
        ("disconnect", "Disconnect"),
        ("max_client_disconnect", "MaxClientDisconnect"),
        ("stop_after_client_disconnect", "StopAfterClientDisconnect"),
    ],
    &[
        "volume",
        "max_run_duration",
        "scaling",
        "consul",
        "vault",
        "prevent_reschedule_on_lost",
        "dynamic",
    ],
)
.harmless(&[("prevent_reschedule_on_lost", "false")]);

pub(crate) const TASK: Names = Names::new(
    "task",
    &[
        ("driver", "Driver"),
        ("user", "User"),
        ("config", "Config"),
        ("constraint", "Constraints"),
        ("affinity", "Affinities"),
        ("env", "Env"),
        ("service", "Services"),
        ("resources", "Resources"),
        ("restart", "RestartPolicy"),
        ("meta", "Meta"),
        ("kill_timeout", "KillTimeout"),
        ("kill_signal", "KillSignal"),
        ("logs", "LogConfig"),
        ("leader", "Leader"),
        ("shutdown_delay", "ShutdownDelay"),
    ],
    &[
        "lifecycle",
        "artifact",
        "vault",
        "consul",
        "template",
        "dispatch_payload",
        "volume_mount",
        "csi_plugin",
        "kind",
        "scaling",
        "secret",
        "identity",
        "action",
        "schedule",
        "dynamic",
    ],
);

pub(crate) const RESOURCES: Names = Names::new(
    "resources",
    &[
        ("cpu", "CPU"),
        ("memory", "MemoryMB"),
        ("disk", "DiskMB"),
        ("iops", "IOPS"),
        ("network", "Networks"),
    ],
    &[
        "cores",
        "memory_max",
        "device",
        "numa",
        "secrets",
        "dynamic",
    ],
)
.harmless(&[("cores", "0"), ("memory_max", "0"), ("secrets", "0")]);

pub(crate) const NETWORK: Names = Names::new(
    "network",
    &[("mode", "Mode"), ("mbits", "MBits"), ("port", "Ports")],
    &[
        "device",
        "cidr",
        "ip",
        "dns",
        "reserved_ports",
        "hostname",
        "cni",
        "dynamic",
    ],
);

pub(crate) const PORT: Names = Names::new(
    "port",
    &[("static", "Value"), ("to", "To")],
    &["host_network", "ignore_collision"],
)
.harmless(&[("host_network", "default"), ("ignore_collision", "false")]);

pub(crate) const SERVICE: Names = Names::new(
    "service",
    &[
        ("name", "Name"),
        ("tags", "Tags"),
        ("canary_tags", "CanaryTags"),
        ("port", "PortLabel"),
        ("address_mode", "AddressMode"),
        ("check", "Checks"),
        ("check_restart", "CheckRestart"),
        ("meta", "Meta"),
    ],
    &[
        "id",
        "provider",
        "on_update",
        "enable_tag_override",
        "address",
        "connect",
        "canary_meta",
        "tagged_addresses",
        "task",
        "identity",
        "weights",
        "cluster",
        "kind",
        "dynamic",
    ],
)
.harmless(&[
    // There is one catalog, whatever a job calls it.
    ("provider", "consul"),
    ("provider", "nomad"),
    ("on_update", "require_healthy"),
    ("enable_tag_override", "false"),
    ("cluster", "default"),
]);

pub(crate) const CHECK: Names = Names::new(
    "check",
    &[
        ("name", "Name"),
        ("type", "Type"),
        ("command", "Command"),
        ("args", "Args"),
        ("path", "Path"),
        ("protocol", "Protocol"),
        ("port", "PortLabel"),
        ("address_mode", "AddressMode"),
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("initial_status", "InitialStatus"),
        ("tls_skip_verify", "TLSSkipVerify"),
        ("header", "Header"),
        ("method", "Method"),
        ("check_restart", "CheckRestart"),
        ("grpc_service", "GRPCService"),
        ("grpc_use_tls", "GRPCUseTLS"),
        ("success_before_passing", "SuccessBeforePassing"),
        ("failures_before_critical", "FailuresBeforeCritical"),
        ("body", "Body"),
    ],
    &[
        "id",
        "expose",
        "advertise",
        "notes",
        "tls_server_name",
        "task",
        "failures_before_warning",
        "on_update",
        "dynamic",
    ],
)
.harmless(&[
    ("expose", "false"),
    ("on_update", "require_healthy"),
    ("failures_before_warning", "0"),
]);

pub(crate) const CHECK_RESTART: Names = Names::new(
    "check_restart",
    &[
        ("limit", "Limit"),
        ("grace", "Grace"),
        ("ignore_warnings", "IgnoreWarnings"),
    ],
    &[],
);

pub(crate) const LOGS: Names = Names::new(
    "logs",
    &[
        ("max_files", "MaxFiles"),
        ("max_file_size", "MaxFileSizeMB"),
    ],
    &["enabled", "disabled"],
)
.harmless(&[("enabled", "true"), ("disabled", "false")]);

pub(crate) const RESTART: Names = Names::new(
    "restart",
    &[
        ("interval", "Interval"),
        ("attempts", "Attempts"),
        ("delay", "Delay"),
        ("mode", "Mode"),
    ],
    &["render_templates"],
)
.harmless(&[("render_templates", "false")]);

pub(crate) const RESCHEDULE: Names = Names::new(
    "reschedule",
    &[
        ("attempts", "Attempts"),
        ("interval", "Interval"),
        ("delay", "Delay"),
        ("delay_function", "DelayFunction"),
        ("max_delay", "MaxDelay"),
        ("unlimited", "Unlimited"),
    ],
    &[],
);

pub(crate) const DISCONNECT: Names = Names::new(
    "disconnect",
    &[
        ("lost_after", "LostAfter"),
        ("stop_on_client_after", "StopOnClientAfter"),
        ("replace", "Replace"),
        ("reconcile", "Reconcile"),
    ],
    &[],
);

pub(crate) const EPHEMERAL_DISK: Names = Names::new(
    "ephemeral_disk",
    &[
        ("sticky", "Sticky"),
        ("migrate", "Migrate"),
        ("size", "SizeMB"),
    ],
    &[],
);

pub(crate) const UPDATE: Names = Names::new(
    "update",
    &[
        ("stagger", "Stagger"),
        ("max_parallel", "MaxParallel"),
        ("health_check", "HealthCheck"),
        ("min_healthy_time", "MinHealthyTime"),
        ("healthy_deadline", "HealthyDeadline"),
        ("progress_deadline", "ProgressDeadline"),
        ("canary", "Canary"),
        ("auto_revert", "AutoRevert"),
        ("auto_promote", "AutoPromote"),
    ],
    &[],
);

pub(crate) const MIGRATE: Names = Names::new(
    "migrate",
    &[
        ("max_parallel", "MaxParallel"),
        ("health_check", "HealthCheck"),
        ("min_healthy_time", "MinHealthyTime"),
        ("healthy_deadline", "HealthyDeadline"),
    ],
    &[],
);

pub(crate) const CONSTRAINT: Names = Names::new(
    "constraint",
    &[
        ("attribute", "LTarget"),
        ("value", "RTarget"),
        ("operator", "Operand"),
        ("distinct_hosts", "Operand"),
        ("distinct_property", "LTarget"),
        ("regexp", "RTarget"),
        ("set_contains", "RTarget"),
        ("set_contains_all", "RTarget"),
        ("set_contains_any", "RTarget"),
        ("version", "RTarget"),
        ("semver", "RTarget"),
    ],
    &[],
);

pub(crate) const AFFINITY: Names = Names::new(
    "affinity",
    &[
        ("attribute", "LTarget"),
        ("value", "RTarget"),
        ("operator", "Operand"),
        ("weight", "Weight"),
        ("regexp", "RTarget"),
        ("set_contains", "RTarget"),
        ("set_contains_all", "RTarget"),
        ("set_contains_any", "RTarget"),
        ("version", "RTarget"),
        ("semver", "RTarget"),
    ],
    &[],
);

pub(crate) const SPREAD: Names = Names::new(
    "spread",
    &[
        ("attribute", "Attribute"),
        ("weight", "Weight"),
        ("target", "SpreadTarget"),
    ],
    &[],
);

//! Every option that fabio 1.5.15 has, its default, and what becomes of it here.

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// `-name` alone means true.
    Switch,
    Number,
    Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    Used,
    /// Set to something else than its default, it gets a warning that says why nothing changes.
    Harmless(&'static str),
    /// Set to something else than its default, it is an error that says why.
    Refused(&'static str),
}

#[derive(Debug)]
pub struct Known {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub handling: Handling,
}

const fn known(name: &'static str, kind: Kind, default: &'static str, handling: Handling) -> Known {
    Known {
        name,
        kind,
        default,
        handling,
    }
}

pub fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

use crate::routes::TAG_PREFIX;
use Handling::{Harmless, Refused, Used};
use Kind::{Number, Switch, Text, Time};

const FLUSHED: Handling = Harmless("answers are always passed on at once");
const METRICS: Handling = Harmless("metrics are at /metrics of the UI's port, for Prometheus");
const ROUTES_LOGGED: &str = "each route that comes or goes is logged in a line";
const TRACING: Handling = Harmless("spans aren't collected");
const PROFILE: Handling = Harmless("there is no profiler inside");
const NO_GO: Handling = Harmless("there is no Go runtime inside");
const CUSTOM: Handling = Harmless("only registry.backend=custom would use it");

pub const KNOWN: &[Known] = &[
    known(
        "insecure",
        Switch,
        "false",
        Harmless("root may run it anyway"),
    ),
    known("proxy.addr", Text, ":9999", Used),
    known("proxy.cs", Text, "", Used),
    known(
        "proxy.auth",
        Text,
        "",
        Refused("routes can't ask for passwords, and would be open without them"),
    ),
    known(
        "proxy.maxconn",
        Number,
        "10000",
        Harmless("up to 256 idle connections are kept for each instance and core"),
    ),
    known("proxy.strategy", Text, "rnd", Used),
    known("proxy.matcher", Text, "prefix", Used),
    known("proxy.noroutestatus", Number, "404", Used),
    known("proxy.shutdownwait", Time, "0s", Used),
    known("proxy.dialtimeout", Time, "30s", Used),
    known("proxy.responseheadertimeout", Time, "0s", Used),
    known(
        "proxy.keepalivetimeout",
        Time,
        "0s",
        Harmless("silent connections are probed after a minute"),
    ),
    known("proxy.localip", Text, "", Used),
    known("proxy.header.clientip", Text, "", Used),
    known("proxy.header.tls", Text, "", Used),
    known("proxy.header.tls.value", Text, "", Used),
    known("proxy.header.requestid", Text, "", Used),
    known("proxy.header.sts.maxage", Number, "0", Used),
    known("proxy.header.sts.subdomains", Switch, "false", Used),
    known("proxy.header.sts.preload", Switch, "false", Used),
    known(
        "proxy.gzip.contenttype",
        Text,
        "",
        Harmless("answers are passed on as the upstream sends them"),
    ),
    known("proxy.readtimeout", Time, "0s", Used),
    known("proxy.writetimeout", Time, "0s", Used),
    known("proxy.flushinterval", Time, "1s", FLUSHED),
    known("proxy.globalflushinterval", Time, "0s", FLUSHED),
    known("proxy.log.routes", Text, "", Harmless(ROUTES_LOGGED)),
    known("log.access.format", Text, "common", Used),
    known("log.access.target", Text, "", Used),
    known("log.routes.format", Text, "delta", Harmless(ROUTES_LOGGED)),
    known("log.level", Text, "INFO", Used),
    known("metrics.target", Text, "", METRICS),
    known(
        "metrics.prefix",
        Text,
        "{{clean .Hostname}}.{{clean .Exec}}",
        METRICS,
    ),
    known(
        "metrics.names",
        Text,
        "{{clean .Service}}.{{clean .Host}}.{{clean .Path}}.{{clean .TargetURL.Host}}",
        METRICS,
    ),
    known("metrics.interval", Time, "30s", METRICS),
    known("metrics.timeout", Time, "10s", METRICS),
    known("metrics.retry", Time, "500ms", METRICS),
    known("metrics.graphite.addr", Text, "", METRICS),
    known("metrics.statsd.addr", Text, "", METRICS),
    known("metrics.circonus.apikey", Text, "", METRICS),
    known("metrics.circonus.apiapp", Text, "fabio", METRICS),
    known("metrics.circonus.apiurl", Text, "", METRICS),
    known("metrics.circonus.brokerid", Text, "", METRICS),
    known("metrics.circonus.checkid", Text, "", METRICS),
    known("metrics.circonus.submissionurl", Text, "", METRICS),
    known("registry.backend", Text, "consul", Used),
    known(
        "registry.timeout",
        Time,
        "10s",
        Harmless("it serves from the start, and asks for the catalog until it is there"),
    ),
    known("registry.retry", Time, "500ms", Used),
    known("registry.file.path", Text, "", Used),
    known("registry.file.noroutehtmlpath", Text, "", Used),
    known("registry.static.routes", Text, "", Used),
    known("registry.static.noroutehtml", Text, "", Used),
    known("registry.consul.addr", Text, "localhost:8500", Used),
    known("registry.consul.token", Text, "", Used),
    known("registry.consul.kvpath", Text, "/fabio/config", Used),
    known(
        "registry.consul.noroutehtmlpath",
        Text,
        "/fabio/noroute.html",
        Used,
    ),
    known("registry.consul.tagprefix", Text, TAG_PREFIX, Used),
    known(
        "registry.consul.tls.keyfile",
        Text,
        "",
        Refused("a Consul that asks for a client's certificate can't be used"),
    ),
    known(
        "registry.consul.tls.certfile",
        Text,
        "",
        Refused("a Consul that asks for a client's certificate can't be used"),
    ),
    known("registry.consul.tls.cafile", Text, "", Used),
    known("registry.consul.tls.capath", Text, "", Used),
    known(
        "registry.consul.tls.insecureskipverify",
        Switch,
        "false",
        Used,
    ),
    known("registry.consul.register.enabled", Switch, "true", Used),
    known("registry.consul.register.addr", Text, "", Used),
    known("registry.consul.register.name", Text, "fabio", Used),
    known("registry.consul.register.tags", Text, "", Used),
    known("registry.consul.register.checkInterval", Time, "1s", Used),
    known("registry.consul.register.checkTimeout", Time, "3s", Used),
    known(
        "registry.consul.register.checkTLSSkipVerify",
        Switch,
        "false",
        Harmless("it is checked over http"),
    ),
    known(
        "registry.consul.register.checkDeregisterCriticalServiceAfter",
        Text,
        "",
        Harmless("it has no effect in fabio either"),
    ),
    known("registry.consul.service.status", Text, "passing", Used),
    known("registry.consul.checksRequired", Text, "one", Used),
    known(
        "registry.consul.serviceMonitors",
        Number,
        "1",
        Harmless("one answer tells of all checks"),
    ),
    known(
        "registry.consul.pollinterval",
        Time,
        "0s",
        Harmless("changes are told at once, without polling"),
    ),
    known("registry.custom.host", Text, "", CUSTOM),
    known("registry.custom.scheme", Text, "https", CUSTOM),
    known("registry.custom.noroutehtml", Text, "", CUSTOM),
    known(
        "registry.custom.checkTLSSkipVerify",
        Switch,
        "false",
        CUSTOM,
    ),
    known("registry.custom.timeout", Time, "10s", CUSTOM),
    known("registry.custom.pollinterval", Time, "5s", CUSTOM),
    known("registry.custom.path", Text, "", CUSTOM),
    known("registry.custom.queryparams", Text, "", CUSTOM),
    known("runtime.gogc", Number, "100", NO_GO),
    known(
        "runtime.gomaxprocs",
        Number,
        "-1",
        Harmless("every core serves"),
    ),
    known("ui.access", Text, "rw", Used),
    known("ui.addr", Text, ":9998", Used),
    known(
        "ui.color",
        Text,
        "light-green",
        Harmless("the page has one look"),
    ),
    known("ui.title", Text, "", Used),
    known("profile.mode", Text, "", PROFILE),
    known("profile.path", Text, "/tmp", PROFILE),
    known("tracing.TracingEnabled", Switch, "false", TRACING),
    known("tracing.CollectorType", Text, "http", TRACING),
    known(
        "tracing.ConnectString",
        Text,
        "http://localhost:9411/api/v1/spans",
        TRACING,
    ),
    known("tracing.ServiceName", Text, "Fabiolb", TRACING),
    known("tracing.SpanName", Text, "", TRACING),
    known("tracing.Topic", Text, "Fabiolb-Kafka-Topic", TRACING),
    known("tracing.SamplerRate", Text, "-1", TRACING),
    known("tracing.SpanHost", Text, "localhost:9998", TRACING),
    known("tracing.TraceID128Bit", Switch, "true", TRACING),
    known("glob.matching.disabled", Switch, "false", Used),
    known(
        "glob.cache.size",
        Number,
        "1000",
        Harmless("patterns are read once, with the table"),
    ),
    known(
        "aws.apigw.cert.cn",
        Text,
        "",
        Refused("write the certificates as an authority's instead"),
    ),
];

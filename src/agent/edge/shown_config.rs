//! `/api/config`, with fabio's names: what is acted on, at its values, and the rest at fabio's
//! defaults.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use logic::config::{AccessFormat, CertKind, EdgeConfig, EdgeListener, ListenerTls, Strategy};
use logic::fabio::{ConsulRegistry, Fabio, Registry};
use logic::routes::Health;
use serde_json::{Value, json};

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn optional(time: Option<Duration>) -> u64 {
    time.map_or(0, nanos)
}

/// The whole configuration; `registry` is what [`catalog`] or [`registry`] made.
pub(super) fn whole(config: &EdgeConfig, by: Option<IpAddr>, registry: &Value) -> Value {
    let proxy = &config.proxy;
    let ui = EdgeListener {
        address: config.ui.address,
        ..EdgeListener::http(config.ui_port)
    };
    json!({
        "Proxy": {
            "Strategy": match proxy.strategy {
                Strategy::Random => "rnd",
                Strategy::RoundRobin => "rr",
            },
            "Matcher": proxy.matcher.name(),
            "NoRouteStatus": config.no_route_status,
            "MaxConn": 10000,
            "ShutdownWait": 0,
            "DialTimeout": nanos(proxy.connect_within),
            "ResponseHeaderTimeout": nanos(proxy.answer_within),
            "KeepAliveTimeout": 0,
            "FlushInterval": 1_000_000_000,
            "GlobalFlushInterval": 0,
            "LocalIP": by.map(|by| by.to_string()).unwrap_or_default(),
            "ClientIPHeader": proxy.client_ip_header,
            "TLSHeader": proxy.tls_header,
            "TLSHeaderValue": proxy.tls_header_value,
            "GZIPContentTypes": null,
            "RequestID": proxy.request_id_header,
            "STSHeader": sts(&proxy.strict_transport),
            "AuthSchemes": {},
        },
        "Registry": registry,
        "Listen": config.listeners.iter().map(listener).collect::<Vec<_>>(),
        "Log": {
            "AccessFormat": config.access_log.map_or("common", AccessFormat::name),
            "AccessTarget": if config.access_log.is_some() { "stdout" } else { "" },
            "RoutesFormat": "delta",
        },
        "UI": {
            "Listen": listener(&ui),
            "Title": config.ui.title,
            "Access": if config.ui.writable { "rw" } else { "ro" },
        },
        "GlobMatchingDisabled": !proxy.host_patterns,
        "GlobCacheSize": 1000,
    })
}

fn sts(header: &str) -> Value {
    let age = header.strip_prefix("max-age=").unwrap_or("0");
    let age = age.split(';').next().and_then(|age| age.parse().ok());
    json!({
        "MaxAge": age.unwrap_or(0_u64),
        "Subdomains": header.contains("includeSubdomains"),
        "Preload": header.contains("preload"),
    })
}

fn listener(listener: &EdgeListener) -> Value {
    let EdgeListener {
        address,
        port,
        protocol,
        options,
    } = listener;
    let address = address.map(|address| SocketAddr::new(address, *port).to_string());
    json!({
        "Addr": address.unwrap_or_else(|| format!(":{port}")),
        "Proto": protocol.name(),
        "ReadTimeout": optional(options.read_timeout),
        "WriteTimeout": optional(options.write_timeout),
        "IdleTimeout": optional(options.idle_timeout),
        "CertSource": certificates(options.tls.as_ref()),
        "StrictMatch": options.tls.as_ref().is_some_and(|tls| tls.strict),
        "TLSMinVersion": options.tls.as_ref().map_or(0, |tls| if tls.tls12 { 0 } else { 0x304 }),
        "TLSMaxVersion": options.tls.as_ref().map_or(0, |tls| if tls.tls13 { 0 } else { 0x303 }),
        "TLSCiphers": null,
        "ProxyProto": options.proxy_header.is_some(),
        "ProxyHeaderTimeout": optional(options.proxy_header),
        "Refresh": 0,
    })
}

fn certificates(tls: Option<&ListenerTls>) -> Value {
    let Some(ListenerTls { source, .. }) = tls else {
        return json!({
            "Name": "", "Type": "", "CertPath": "", "KeyPath": "", "ClientCAPath": "",
            "CAUpgradeCN": "", "Refresh": 0, "Header": null, "VaultFetchToken": "",
        });
    };
    let (kind, cert, key) = match &source.kind {
        CertKind::File { cert, key } => ("file", cert.clone(), key.as_str()),
        CertKind::Path { folder } => ("path", folder.clone(), ""),
        CertKind::Consul { address, prefix } => {
            ("consul", format!("http://{address}/v1/kv/{prefix}"), "")
        }
    };
    json!({
        "Name": source.name, "Type": kind, "CertPath": cert, "KeyPath": key,
        "ClientCAPath": source.client_ca, "CAUpgradeCN": "", "Refresh": nanos(source.refresh),
        "Header": null, "VaultFetchToken": "",
    })
}

/// Of an edge inside an agent.
pub(super) fn catalog(tag_prefix: &str) -> Value {
    json!({ "Backend": "agent", "Consul": { "TagPrefix": tag_prefix } })
}

/// Of an edge that is a program of its own.
pub(super) fn registry(fabio: &Fabio) -> Value {
    match &fabio.registry {
        Registry::Consul(registry) => json!({
            "Backend": "consul",
            "Consul": consul(registry, &fabio.edge.tag_prefix),
            "Retry": nanos(registry.retry),
        }),
        Registry::Static {
            routes,
            no_route_page,
        } => json!({
            "Backend": "static",
            "Static": { "NoRouteHTML": no_route_page, "Routes": routes },
        }),
        Registry::File {
            path,
            no_route_path,
        } => json!({
            "Backend": "file",
            "File": { "NoRouteHTMLPath": no_route_path, "RoutesPath": path },
        }),
    }
}

fn consul(registry: &ConsulRegistry, tag_prefix: &str) -> Value {
    let (statuses, all) = match &registry.health {
        Health::Whole => (Vec::new(), true),
        Health::Checks { statuses, all } => (statuses.clone(), *all),
    };
    let registration = registry.registration.as_ref();
    let address = registration.map(|registration| {
        let ip = registration
            .address
            .map(|ip| SocketAddr::new(ip, registration.port));
        ip.map_or_else(|| format!(":{}", registration.port), |at| at.to_string())
    });
    json!({
        "Addr": registry.address,
        "Scheme": if registry.tls.is_some() { "https" } else { "http" },
        // Who may look at the page needn't know it.
        "Token": if registry.token.is_empty() { "" } else { "(set)" },
        "KVPath": format!("/{}", registry.kv_path),
        "NoRouteHTMLPath": format!("/{}", registry.no_route_path),
        "TagPrefix": tag_prefix,
        "Register": registration.is_some(),
        "ServiceAddr": address.unwrap_or_default(),
        "ServiceName": registration.map_or("", |registration| &registration.name),
        "ServiceTags": registration.map(|registration| &registration.tags),
        "ServiceStatus": statuses,
        "CheckInterval": registration.map_or(0, |it| nanos(it.check_interval)),
        "CheckTimeout": registration.map_or(0, |it| nanos(it.check_timeout)),
        "CheckScheme": "http",
        "ChecksRequired": if all { "all" } else { "one" },
        "ServiceMonitors": 1,
        "PollInterval": 0,
    })
}

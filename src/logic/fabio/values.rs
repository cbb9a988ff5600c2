//! The options that were given, and what they mean together.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::options::{self, Handling, Kind, Known};
use super::{ConsulRegistry, Fabio, Registration, Registry, RegistryTls};
use crate::config::{
    AccessFormat, CertSource, EdgeConfig, EdgeListener, EdgeProtocol, ProxyOptions, Strategy,
    UiOptions,
};
use crate::duration;
use crate::routes::{Health, Matcher};

/// The options that were given.
#[derive(Default)]
pub(super) struct Values(BTreeMap<&'static str, String>);

impl Values {
    pub(super) fn set(
        &mut self,
        known: &'static Known,
        value: &str,
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        let name = known.name;
        match known.kind {
            Kind::Text => {}
            Kind::Switch => drop(switch(name, value)?),
            Kind::Number => drop(number(name, value)?),
            Kind::Time => drop(time(name, value)?),
        }
        let changed = match known.kind {
            Kind::Time => time(name, value)? != time(name, known.default)?,
            Kind::Switch => switch(name, value)? != switch(name, known.default)?,
            Kind::Text | Kind::Number => value != known.default,
        };
        match known.handling {
            Handling::Harmless(why) if changed => {
                warnings.push(format!("-{name} changes nothing: {why}"));
            }
            Handling::Refused(why) if changed => {
                return Err(format!("-{name} isn't supported: {why}"));
            }
            Handling::Used | Handling::Harmless(_) | Handling::Refused(_) => {}
        }
        self.0.insert(name, value.to_owned());
        Ok(())
    }

    fn is_set(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    fn text(&self, name: &str) -> &str {
        let default = options::find(name).map_or("", |known| known.default);
        self.0.get(name).map_or(default, String::as_str)
    }

    fn switch(&self, name: &str) -> bool {
        switch(name, self.text(name)).unwrap_or_default()
    }

    fn number(&self, name: &str) -> i64 {
        number(name, self.text(name)).unwrap_or_default()
    }

    fn time(&self, name: &str) -> Duration {
        time(name, self.text(name)).unwrap_or_default()
    }

    fn list(&self, name: &str) -> Vec<String> {
        let items = self.text(name).split(',').map(str::trim);
        let items = items.filter(|item| !item.is_empty());
        items.map(str::to_owned).collect()
    }

    fn one_of<'k>(&self, name: &str, known: &[&'k str]) -> Result<&'k str, String> {
        let value = self.text(name);
        let found = known.iter().find(|known| **known == value);
        found.copied().ok_or_else(|| {
            format!(
                "-{name}: \"{value}\" is unknown; write {}",
                known.join(" or ")
            )
        })
    }

    pub(super) fn fabio(&self, warnings: &mut Vec<String>) -> Result<Fabio, String> {
        self.one_of("log.routes.format", &["delta", "detail", "all"])?;
        let edge = self.edge(warnings)?;
        Ok(Fabio {
            registry: self.registry(&edge)?,
            log_level: self.log_level()?,
            shutdown_wait: self.time("proxy.shutdownwait"),
            edge,
        })
    }

    fn log_level(&self) -> Result<String, String> {
        let level = self.text("log.level").to_lowercase();
        match level.as_str() {
            "trace" | "debug" | "info" | "warn" | "error" => Ok(level),
            "fatal" => Ok("error".to_owned()),
            _ => Err(format!(
                "-log.level: \"{level}\" is unknown; write TRACE, DEBUG, INFO, WARN or ERROR"
            )),
        }
    }

    fn edge(&self, warnings: &mut Vec<String>) -> Result<EdgeConfig, String> {
        let sources = CertSource::parse_list(self.text("proxy.cs"));
        let sources = sources.map_err(|why| format!("-proxy.cs: {why}"))?;
        let read = |name: &str, warnings: &mut Vec<String>| {
            let text = self.text(name);
            if text.contains("{{") {
                return Err(format!(
                    "-{name}: write an address; templates aren't filled in"
                ));
            }
            let listeners = EdgeListener::parse_list_with(text, &sources, warnings);
            listeners.map_err(|why| format!("-{name}: {why}"))
        };
        let mut listeners = read("proxy.addr", warnings)?;
        for listener in &mut listeners {
            let options = &mut listener.options;
            let usual = |name: &str| Some(self.time(name)).filter(|time| !time.is_zero());
            options.read_timeout = options.read_timeout.or(usual("proxy.readtimeout"));
            options.write_timeout = options.write_timeout.or(usual("proxy.writetimeout"));
        }
        let ui = read("ui.addr", warnings)?;
        let [ui] = ui.as_slice() else {
            return Err("-ui.addr: write one address".to_owned());
        };
        if ui.protocol != EdgeProtocol::Http {
            return Err(format!(
                "-ui.addr: proto={} isn't supported: the page is served over http",
                ui.protocol.name()
            ));
        }
        let status = self.number("proxy.noroutestatus");
        let status = u16::try_from(status)
            .ok()
            .filter(|s| (100..=999).contains(s));
        Ok(EdgeConfig {
            enabled: true,
            listeners,
            sources,
            ui_port: ui.port,
            tag_prefix: self.text("registry.consul.tagprefix").to_owned(),
            no_route_status: status.ok_or("-proxy.noroutestatus: write 100 to 999")?,
            access_log: self.access_log()?,
            proxy: self.proxy()?,
            ui: UiOptions {
                address: ui.address,
                title: self.text("ui.title").to_owned(),
                writable: self.one_of("ui.access", &["rw", "ro"])? == "rw",
            },
        })
    }

    fn access_log(&self) -> Result<Option<AccessFormat>, String> {
        let format = AccessFormat::parse(self.text("log.access.format"));
        let format = format.map_err(|why| format!("-log.access.format: {why}"))?;
        match self.text("log.access.target") {
            "" => Ok(None),
            "stdout" => Ok(Some(format)),
            other => Err(format!(
                "-log.access.target: \"{other}\" is unknown; write stdout"
            )),
        }
    }

    fn proxy(&self) -> Result<ProxyOptions, String> {
        let local_ip = match self.text("proxy.localip") {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| format!("-proxy.localip: \"{text}\" is not an address"))?,
            ),
        };
        let usual = ProxyOptions::default();
        let connect_within = if self.is_set("proxy.dialtimeout") {
            Some(self.time("proxy.dialtimeout"))
        } else {
            None
        };
        let some = |time: Duration, usual| if time.is_zero() { usual } else { time };
        let answer_within = self.time("proxy.responseheadertimeout");
        Ok(ProxyOptions {
            strategy: match self.one_of("proxy.strategy", &["rnd", "rr"])? {
                "rr" => Strategy::RoundRobin,
                _ => Strategy::Random,
            },
            matcher: Matcher::parse(self.one_of("proxy.matcher", &["prefix", "glob", "iprefix"])?)
                .unwrap_or_default(),
            host_patterns: !self.switch("glob.matching.disabled"),
            local_ip,
            client_ip_header: self.header("proxy.header.clientip")?,
            tls_header: self.header("proxy.header.tls")?,
            tls_header_value: self.text("proxy.header.tls.value").to_owned(),
            request_id_header: self.header("proxy.header.requestid")?,
            strict_transport: self.strict_transport(),
            connect_within: some(connect_within.unwrap_or_default(), usual.connect_within),
            answer_within: some(answer_within, usual.answer_within),
        })
    }

    fn header(&self, name: &str) -> Result<String, String> {
        let header = self.text(name);
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if header.bytes().all(fine) {
            Ok(header.to_lowercase())
        } else {
            Err(format!("-{name}: \"{header}\" is no name of a header"))
        }
    }

    fn strict_transport(&self) -> String {
        let age = self.number("proxy.header.sts.maxage");
        if age <= 0 {
            return String::new();
        }
        let mut value = format!("max-age={age}");
        if self.switch("proxy.header.sts.subdomains") {
            value.push_str("; includeSubdomains");
        }
        if self.switch("proxy.header.sts.preload") {
            value.push_str("; preload");
        }
        value
    }

    fn registry(&self, edge: &EdgeConfig) -> Result<Registry, String> {
        let text = |name: &str| self.text(name).to_owned();
        match self.text("registry.backend") {
            "consul" => Ok(Registry::Consul(Box::new(self.consul(edge)?))),
            "static" => Ok(Registry::Static {
                routes: text("registry.static.routes"),
                no_route_page: text("registry.static.noroutehtml"),
            }),
            "file" => match text("registry.file.path") {
                path if path.is_empty() => {
                    Err("-registry.backend=file wants a file: -registry.file.path=PATH".to_owned())
                }
                path => Ok(Registry::File {
                    path,
                    no_route_path: text("registry.file.noroutehtmlpath"),
                }),
            },
            "custom" => Err(
                "-registry.backend=custom isn't supported: write the routes to a file, and use \
                 -registry.backend=file"
                    .to_owned(),
            ),
            other => Err(format!(
                "-registry.backend: \"{other}\" is unknown; write consul, static or file"
            )),
        }
    }

    fn consul(&self, edge: &EdgeConfig) -> Result<ConsulRegistry, String> {
        let given = self.text("registry.consul.addr").to_lowercase();
        let (secure, address) = match given.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some((scheme, _)) => {
                return Err(format!(
                    "-registry.consul.addr: \"{scheme}\" is no http or https"
                ));
            }
            None => (false, given.as_str()),
        };
        let address = address.split('/').next().unwrap_or_default();
        if !address.contains(':') || address.starts_with(':') {
            return Err(format!(
                "-registry.consul.addr: \"{given}\": write HOST:PORT"
            ));
        }
        let authorities = ["registry.consul.tls.cafile", "registry.consul.tls.capath"];
        let authorities = authorities.map(|name| self.text(name).to_owned());
        let statuses: BTreeSet<String> = self
            .list("registry.consul.service.status")
            .into_iter()
            .collect();
        let known = ["passing", "warning", "critical"];
        if let Some(odd) = statuses.iter().find(|s| !known.contains(&s.as_str())) {
            return Err(format!(
                "-registry.consul.service.status: \"{odd}\" is unknown; write passing, warning \
                 or critical"
            ));
        }
        let key = |name: &str| self.text(name).trim_start_matches('/').to_owned();
        Ok(ConsulRegistry {
            address: address.to_owned(),
            tls: secure.then(|| RegistryTls {
                verified: !self.switch("registry.consul.tls.insecureskipverify"),
                authorities: authorities.into_iter().filter(|a| !a.is_empty()).collect(),
            }),
            token: self.text("registry.consul.token").to_owned(),
            kv_path: key("registry.consul.kvpath"),
            no_route_path: key("registry.consul.noroutehtmlpath"),
            health: Health::Checks {
                statuses: statuses.into_iter().collect(),
                all: self.one_of("registry.consul.checksRequired", &["one", "all"])? == "all",
            },
            retry: self.time("registry.retry").max(Duration::from_millis(100)),
            registration: self.registration(edge)?,
        })
    }

    fn registration(&self, edge: &EdgeConfig) -> Result<Option<Registration>, String> {
        if !self.switch("registry.consul.register.enabled") {
            return Ok(None);
        }
        let (address, port) = match self.text("registry.consul.register.addr") {
            "" | "<ui.addr>" => (edge.ui.address, edge.ui_port),
            text => {
                let at = EdgeListener::parse_list(text);
                let at = at.map_err(|why| format!("-registry.consul.register.addr: {why}"))?;
                (at[0].address, at[0].port)
            }
        };
        let name = self.text("registry.consul.register.name");
        Ok(Some(Registration {
            name: name.to_owned(),
            address: address.filter(|address| !address.is_unspecified()),
            port,
            tags: self.list("registry.consul.register.tags"),
            check_interval: self.time("registry.consul.register.checkInterval"),
            check_timeout: self.time("registry.consul.register.checkTimeout"),
        }))
    }
}

fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("-{name}: \"{value}\" is neither true nor false")),
    }
}

fn number(name: &str, value: &str) -> Result<i64, String> {
    let number = value.trim().parse();
    number.map_err(|_| format!("-{name}: \"{value}\" is not a number"))
}

fn time(name: &str, value: &str) -> Result<Duration, String> {
    let nanos = duration::parse(value).map_err(|why| format!("-{name}: {why}"))?;
    let nanos = u64::try_from(nanos).map_err(|_| format!("-{name}: time runs forwards"))?;
    Ok(Duration::from_nanos(nanos))
}

//! Where the edge listens and for what, as fabio's `-proxy.addr` writes it:
//! `:9999;proto=http,:9997;proto=tcp,:9996;proto=tcp+sni`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::CertSource;
use crate::duration;
use crate::validate::closest;

/// What the clients of a listener speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeProtocol {
    #[default]
    Http,
    Https,
    /// Anything: routed by the listener's port.
    Tcp,
    /// TLS, passed on unread: routed by the server name that the client asks for.
    TcpSni,
    /// TLS: passed on unread if a TCP route has the server name, taken off otherwise.
    HttpsTcpSni,
    Grpc,
    Grpcs,
}

impl EdgeProtocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::TcpSni => "tcp+sni",
            Self::HttpsTcpSni => "https+tcp+sni",
            Self::Grpc => "grpc",
            Self::Grpcs => "grpcs",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            "tcp" => Ok(Self::Tcp),
            "tcp+sni" => Ok(Self::TcpSni),
            "https+tcp+sni" => Ok(Self::HttpsTcpSni),
            "grpc" => Ok(Self::Grpc),
            "grpcs" => Ok(Self::Grpcs),
            "tcp-dynamic" => Err(
                "proto=tcp-dynamic isn't supported: ports would open by themselves; list them, \
                 each with proto=tcp"
                    .to_owned(),
            ),
            "prometheus" => Err(
                "proto=prometheus isn't supported: /metrics of the UI's port tells the same"
                    .to_owned(),
            ),
            _ => Err(format!(
                "proto={text} is unknown; write http, https, tcp, tcp+sni, https+tcp+sni, grpc \
                 or grpcs"
            )),
        }
    }

    fn needs_certificates(self) -> bool {
        matches!(self, Self::Https | Self::HttpsTcpSni | Self::Grpcs)
    }

    fn may_have_certificates(self) -> bool {
        self.needs_certificates() || self == Self::Tcp
    }
}

/// One listener of the edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EdgeListener {
    /// Unset: where the agent's other listeners are.
    pub address: Option<IpAddr>,
    pub port: u16,
    pub protocol: EdgeProtocol,
    pub options: ListenerOptions,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerOptions {
    /// How long a client may take to send a request's head.
    pub read_timeout: Option<Duration>,
    /// How long an answer may take from its first byte to its last.
    pub write_timeout: Option<Duration>,
    /// How long a connection may wait for the next request.
    pub idle_timeout: Option<Duration>,
    /// Connections begin with a PROXY header, within this time.
    pub proxy_header: Option<Duration>,
    pub tls: Option<ListenerTls>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    pub source: CertSource,
    /// Clients that ask for a name without a certificate get none, rather than the first.
    pub strict: bool,
    /// Whether TLS 1.2 is spoken.
    pub tls12: bool,
    /// Whether TLS 1.3 is spoken.
    pub tls13: bool,
}

impl EdgeListener {
    pub fn http(port: u16) -> Self {
        Self {
            port,
            ..Self::default()
        }
    }

    /// Reads a list of listeners without certificates.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        Self::parse_list_with(text, &[], &mut Vec::new())
    }

    /// Reads a list. An error is a sentence that names the listener it is about; a warning tells
    /// what an option doesn't do.
    pub fn parse_list_with(
        text: &str,
        sources: &[CertSource],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Self>, String> {
        let mut listeners = Vec::new();
        for (at, item) in text.split(',').enumerate() {
            let item = item.trim();
            let place = format!("listener {} of \"{text}\", \"{item}\"", at + 1);
            let mut told = Vec::new();
            let listener = Self::parse(item, sources, &mut told);
            listeners.push(listener.map_err(|why| format!("{place}: {why}"))?);
            warnings.extend(told.into_iter().map(|what| format!("{place}: {what}")));
        }
        check_distinct(&listeners)?;
        Ok(listeners)
    }

    fn parse(
        item: &str,
        sources: &[CertSource],
        warnings: &mut Vec<String>,
    ) -> Result<Self, String> {
        let mut parts = item.split(';').map(str::trim).peekable();
        // The address comes first, or as `addr=`.
        let first = parts.next_if(|part| !part.starts_with("addr="));
        let mut address = first.unwrap_or_default();
        let mut read = Options::default();
        for option in parts.filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("addr", value)) => address = value,
                _ => read.read(option, sources, warnings)?,
            }
        }
        let (address, port) = read_address(address)?;
        let (protocol, options) = read.finish()?;
        Ok(Self {
            address,
            port,
            protocol,
            options,
        })
    }
}

/// A listener's options on their way in.
#[derive(Default)]
struct Options {
    protocol: Option<EdgeProtocol>,
    times: ListenerOptions,
    source: Option<CertSource>,
    strict: bool,
    tls_min: Option<u16>,
    tls_max: Option<u16>,
    proxy_header: bool,
    proxy_header_within: Option<Duration>,
}

const TLS_12: u16 = 0x0303;
const TLS_13: u16 = 0x0304;
const PROXY_HEADER_WITHIN: Duration = Duration::from_millis(250);
const OPTIONS: [&str; 13] = [
    "proto",
    "cs",
    "rt",
    "wt",
    "it",
    "strictmatch",
    "tlsmin",
    "tlsmax",
    "tlsciphers",
    "pxyproto",
    "pxytimeout",
    "refresh",
    "addr",
];

impl Options {
    fn read(
        &mut self,
        option: &str,
        sources: &[CertSource],
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "proto" => self.protocol = Some(EdgeProtocol::parse(value)?),
            "rt" => self.times.read_timeout = time(option, value)?,
            "wt" => self.times.write_timeout = time(option, value)?,
            "it" => self.times.idle_timeout = time(option, value)?,
            "pxytimeout" => self.proxy_header_within = time(option, value)?,
            "cs" => {
                let found = sources.iter().find(|source| source.name == value);
                self.source = Some(found.cloned().ok_or_else(|| {
                    format!("the certificate source \"{value}\" isn't defined in proxy.cs")
                })?);
            }
            "strictmatch" => self.strict = switch(option, value)?,
            "pxyproto" => self.proxy_header = switch(option, value)?,
            "tlsmin" => {
                let version = tls_version(option, value)?;
                if version < TLS_12 {
                    warnings.push(format!("{option}: nothing older than TLS 1.2 is spoken"));
                }
                self.tls_min = Some(version);
            }
            "tlsmax" => self.tls_max = Some(tls_version(option, value)?),
            "tlsciphers" => warnings.push(
                "tlsciphers changes nothing: all that are spoken encrypt with authentication"
                    .to_owned(),
            ),
            "refresh" => {
                warnings.push("refresh changes nothing: routes change at once".to_owned());
            }
            _ => {
                let hint = closest(name, OPTIONS);
                let hint = hint.map_or_else(|| OPTIONS.join(", "), str::to_owned);
                return Err(format!("the option {name} is unknown; write {hint}"));
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<(EdgeProtocol, ListenerOptions), String> {
        let usual = if self.source.is_some() {
            EdgeProtocol::Https
        } else {
            EdgeProtocol::Http
        };
        let protocol = self.protocol.unwrap_or(usual);
        let name = protocol.name();
        if self.source.is_none() && protocol.needs_certificates() {
            return Err(format!("proto={name} needs certificates: add cs=NAME"));
        }
        if self.source.is_some() && !protocol.may_have_certificates() {
            return Err(format!(
                "proto={name} has no use for certificates: leave out cs"
            ));
        }
        let mut options = self.times;
        if self.proxy_header {
            options.proxy_header = Some(self.proxy_header_within.unwrap_or(PROXY_HEADER_WITHIN));
        }
        let tls12 = self.tls_min.is_none_or(|version| version <= TLS_12)
            && self.tls_max.is_none_or(|version| version >= TLS_12);
        let tls13 = self.tls_max.is_none_or(|version| version >= TLS_13);
        if !tls12 && !tls13 {
            return Err("tlsmin and tlsmax leave neither TLS 1.2 nor TLS 1.3".to_owned());
        }
        options.tls = self.source.map(|source| ListenerTls {
            source,
            strict: self.strict,
            tls12,
            tls13,
        });
        Ok((protocol, options))
    }
}

fn time(option: &str, value: &str) -> Result<Option<Duration>, String> {
    let nanos = duration::parse(value).map_err(|why| format!("{option}: {why}"))?;
    let nanos = u64::try_from(nanos).map_err(|_| format!("{option}: time runs forwards"))?;
    Ok((nanos > 0).then(|| Duration::from_nanos(nanos)))
}

fn switch(option: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!("{option}: write true or false")),
    }
}

fn tls_version(option: &str, value: &str) -> Result<u16, String> {
    let known = match value.to_ascii_lowercase().as_str() {
        "ssl30" => Some(0x0300),
        "tls10" => Some(0x0301),
        "tls11" => Some(0x0302),
        "tls12" => Some(TLS_12),
        "tls13" => Some(TLS_13),
        number => match number.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16).ok(),
            None => number.parse().ok(),
        },
    };
    known.ok_or_else(|| format!("{option}: write tls12 or tls13"))
}

impl fmt::Display for EdgeListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).fmt(f)?,
            None => write!(f, ":{}", self.port)?,
        }
        write!(f, ";proto={}", self.protocol.name())
    }
}

/// Two listeners can't have one port, unless each has an address of its own.
fn check_distinct(listeners: &[EdgeListener]) -> Result<(), String> {
    let mut taken = BTreeSet::new();
    let mut everywhere = BTreeSet::new();
    for listener in listeners.iter().filter(|listener| listener.port != 0) {
        let EdgeListener { address, port, .. } = listener;
        let (address, port) = (*address, *port);
        let open = address.filter(|address| !address.is_unspecified());
        let port_taken = taken.iter().any(|(_, other)| *other == port);
        if everywhere.contains(&port) || (open.is_none() && port_taken) {
            return Err(format!("port {port} is listened on twice"));
        }
        if !taken.insert((open, port)) {
            return Err(format!("port {port} is listened on twice"));
        }
        if open.is_none() {
            everywhere.insert(port);
        }
    }
    Ok(())
}

fn read_address(text: &str) -> Result<(Option<IpAddr>, u16), String> {
    let wrong = || "write :PORT or IP:PORT, such as :9999".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let number = port.parse::<u16>().ok();
    let port = number.ok_or_else(|| format!("\"{port}\" is not a port"))?;
    if host.is_empty() {
        return Ok((None, port));
    }
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = match bare {
        Some(bare) => bare.parse().ok().filter(IpAddr::is_ipv6),
        None if host == "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        None => host.parse().ok().filter(IpAddr::is_ipv4),
    };
    let address = address.ok_or_else(|| format!("\"{host}\" is not an IP address"))?;
    Ok((Some(address), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_where_to_listen_for_what() {
        let text = ":9999;proto=http, :9997;proto=tcp,:9996;proto=tcp+sni,10.0.0.1:80,[::1]:81;";
        let listeners = EdgeListener::parse_list(text).expect("a list");
        let shown: Vec<_> = listeners.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                ":9999;proto=http",
                ":9997;proto=tcp",
                ":9996;proto=tcp+sni",
                "10.0.0.1:80;proto=http",
                "[::1]:81;proto=http",
            ]
        );
    }

    #[test]
    fn one_port_can_have_a_listener_for_each_address() {
        EdgeListener::parse_list("127.0.0.1:80,127.0.0.2:80").expect("two addresses");
        EdgeListener::parse_list(":0,:0").expect("any free ports");
        for twice in [
            ":80,:80",
            ":80,10.0.0.1:80",
            "10.0.0.1:80,:80",
            "10.0.0.1:80,0.0.0.0:80",
            "10.0.0.1:80,10.0.0.1:80;proto=tcp",
        ] {
            let refused = EdgeListener::parse_list(twice);
            assert_eq!(refused, Err("port 80 is listened on twice".to_owned()));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (item, why) in [
            ("", "write :PORT or IP:PORT, such as :9999"),
            ("9997", "write :PORT or IP:PORT, such as :9999"),
            (":http", "\"http\" is not a port"),
            (":70000", "\"70000\" is not a port"),
            ("a.example:80", "\"a.example\" is not an IP address"),
            ("::1:80", "\"::1\" is not an IP address"),
            (
                ":1;proto=udp",
                "proto=udp is unknown; write http, https, tcp, tcp+sni, https+tcp+sni, grpc or \
                 grpcs",
            ),
            (
                ":1;proto=https;cs=web",
                "the certificate source \"web\" isn't defined in proxy.cs",
            ),
            (
                ":1;proto=https",
                "proto=https needs certificates: add cs=NAME",
            ),
            (":1;rt=5", "rt=5: `5` has no unit: write `5s` for seconds"),
            (":1;prot=tcp", "the option prot is unknown; write proto"),
            (
                ":1;tlsmin=tls13;tlsmax=tls12",
                "tlsmin and tlsmax leave neither TLS 1.2 nor TLS 1.3",
            ),
        ] {
            let list = format!(":9999,{item}");
            let told = format!("listener 2 of \"{list}\", \"{item}\": {why}");
            assert_eq!(EdgeListener::parse_list(&list), Err(told));
        }
    }

    #[test]
    fn options_are_read_and_what_they_dont_do_is_told() {
        let sources = CertSource::parse_list("cs=web;type=file;cert=/c;key=/k").expect("a source");
        let mut warnings = Vec::new();
        let list = "addr=:443;cs=web;rt=5s;wt=1m;it=0;tlsmin=tls10;pxyproto=true,:1;refresh=5s";
        let read = EdgeListener::parse_list_with(list, &sources, &mut warnings);
        let read = read.expect("listeners");
        assert_eq!(read[0].protocol, EdgeProtocol::Https);
        assert_eq!(
            read[0].options,
            ListenerOptions {
                read_timeout: Some(Duration::from_secs(5)),
                write_timeout: Some(Duration::from_secs(60)),
                idle_timeout: None,
                proxy_header: Some(PROXY_HEADER_WITHIN),
                tls: Some(ListenerTls {
                    source: sources[0].clone(),
                    strict: false,
                    tls12: true,
                    tls13: true,
                }),
            }
        );
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
}

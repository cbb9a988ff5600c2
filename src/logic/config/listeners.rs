//! Where the edge listens and for what, as fabio's `-proxy.addr` writes it:
//! `:9999;proto=http,:9997;proto=tcp,:9996;proto=tcp+sni`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// What the clients of a listener speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EdgeProtocol {
    #[default]
    Http,
    /// Anything: routed by the listener's port.
    Tcp,
    /// TLS, passed on unread: routed by the server name that the client asks for.
    TcpSni,
}

impl EdgeProtocol {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tcp => "tcp",
            Self::TcpSni => "tcp+sni",
        }
    }
}

/// One listener of the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeListener {
    /// Unset: where the agent's other listeners are.
    pub address: Option<IpAddr>,
    pub port: u16,
    pub protocol: EdgeProtocol,
}

/// Options of fabio's listeners that change nothing unless they are obeyed.
const LATER: [&str; 11] = [
    "cs",
    "it",
    "pxyproto",
    "pxytimeout",
    "refresh",
    "rt",
    "strictmatch",
    "tlsciphers",
    "tlsmax",
    "tlsmin",
    "wt",
];

impl EdgeListener {
    pub fn http(port: u16) -> Self {
        Self {
            address: None,
            port,
            protocol: EdgeProtocol::Http,
        }
    }

    /// Reads a list. An error is a sentence that names the listener it is about.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, String> {
        let mut listeners = Vec::new();
        for (at, item) in text.split(',').enumerate() {
            let item = item.trim();
            let listener = Self::parse(item)
                .map_err(|why| format!("listener {} of \"{text}\", \"{item}\": {why}", at + 1))?;
            listeners.push(listener);
        }
        check_distinct(&listeners)?;
        Ok(listeners)
    }

    fn parse(item: &str) -> Result<Self, String> {
        let mut parts = item.split(';').map(str::trim);
        let address = parts.next().unwrap_or_default();
        let (address, port) = read_address(address)?;
        let mut protocol = EdgeProtocol::default();
        for option in parts.filter(|option| !option.is_empty()) {
            protocol = read_option(option)?;
        }
        Ok(Self {
            address,
            port,
            protocol,
        })
    }
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
        let EdgeListener { address, port, .. } = *listener;
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
        None => host.parse().ok().filter(IpAddr::is_ipv4),
    };
    let address = address.ok_or_else(|| format!("\"{host}\" is not an IP address"))?;
    Ok((Some(address), port))
}

fn read_option(option: &str) -> Result<EdgeProtocol, String> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    match (name, value) {
        ("proto", "http") => Ok(EdgeProtocol::Http),
        ("proto", "tcp") => Ok(EdgeProtocol::Tcp),
        ("proto", "tcp+sni") => Ok(EdgeProtocol::TcpSni),
        ("proto", "https" | "grpc" | "grpcs" | "tcp-dynamic" | "https+tcp+sni" | "prometheus") => {
            Err(format!(
                "proto={value} isn't supported yet; write http, tcp or tcp+sni"
            ))
        }
        ("proto", _) => Err(format!(
            "proto={value} is unknown; write http, tcp or tcp+sni"
        )),
        _ if LATER.contains(&name) => Err(format!("the option {name} isn't supported yet")),
        _ => Err(format!(
            "the option {name} is unknown; write proto=http, proto=tcp or proto=tcp+sni"
        )),
    }
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
            ("localhost:80", "\"localhost\" is not an IP address"),
            ("::1:80", "\"::1\" is not an IP address"),
            (
                ":1;proto=udp",
                "proto=udp is unknown; write http, tcp or tcp+sni",
            ),
            (
                ":1;proto=https;cs=web",
                "proto=https isn't supported yet; write http, tcp or tcp+sni",
            ),
            (":1;rt=5s", "the option rt isn't supported yet"),
            (
                ":1;prot=tcp",
                "the option prot is unknown; write proto=http, proto=tcp or proto=tcp+sni",
            ),
        ] {
            let list = format!(":9999,{item}");
            let told = format!("listener 2 of \"{list}\", \"{item}\": {why}");
            assert_eq!(EdgeListener::parse_list(&list), Err(told));
        }
    }
}

//! One upstream of a route, and what is done to a request on its way there.

use std::borrow::Cow;
use std::net::IpAddr;

use super::access::Access;

/// What is spoken to an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    #[default]
    Http,
    Https,
    Tcp,
    TcpSni,
    Grpc,
    Grpcs,
}

impl Protocol {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            "tcp" => Ok(Self::Tcp),
            "tcp+sni" => Ok(Self::TcpSni),
            "grpc" => Ok(Self::Grpc),
            "grpcs" => Ok(Self::Grpcs),
            _ => Err(format!(
                "proto={text} is unknown; write http, https, tcp, tcp+sni, grpc or grpcs"
            )),
        }
    }

    /// The destination as `/api/routes` writes it. SNI routes say `http` there, as in fabio.
    pub(super) fn destination(self, address: &str) -> String {
        match self {
            Self::Http | Self::TcpSni => format!("http://{address}/"),
            Self::Https => format!("https://{address}"),
            Self::Tcp => format!("tcp://{address}"),
            Self::Grpc => format!("grpc://{address}"),
            Self::Grpcs => format!("grpcs://{address}"),
        }
    }

    /// Whether an HTTP request may be meant for such an upstream.
    pub(super) fn takes_requests(self) -> bool {
        match self {
            Self::Http | Self::Https | Self::Grpc | Self::Grpcs => true,
            Self::Tcp | Self::TcpSni => false,
        }
    }

    /// Whether such an upstream answers gRPC calls.
    pub fn takes_calls(self) -> bool {
        matches!(self, Self::Grpc | Self::Grpcs)
    }

    /// Whether connections to such an upstream are passed on as they are.
    pub(super) fn takes_connections(self) -> bool {
        matches!(self, Self::Tcp | Self::TcpSni)
    }
}

/// How an upstream that speaks TLS is known to be the right one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tls {
    /// A name or an address that its certificate must be for.
    pub name: String,
    /// Otherwise any certificate will do.
    pub verified: bool,
}

/// One upstream of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    pub service: String,
    /// `ADDRESS:PORT`.
    pub address: String,
    pub protocol: Protocol,
    /// Unset: requests go there in the clear.
    pub tls: Option<Tls>,
    /// The share of the route's requests it gets; those of a route sum up to 1.
    pub weight: f64,
    /// Status and URL; a target that redirects has no upstream.
    pub redirect: Option<(u16, String)>,
    /// Removed from the path's start; empty: nothing.
    pub strip: String,
    /// Put before the path, after `strip`.
    pub prepend: String,
    /// What the upstream's `Host` header is; empty: what the client sent.
    pub host_header: String,
    /// Unset: open to everyone.
    pub access: Option<Access>,
    /// Whether a connection begins with a PROXY header that tells who connects.
    pub proxy_protocol: bool,
    /// A service that the edge registers itself as while the route is there; empty: none.
    pub registers: String,
    pub(super) fixed_weight: Option<f64>,
    /// The service's tags that aren't routes.
    pub(super) tags: Vec<String>,
    pub(super) shown_options: String,
    pub(super) destination: String,
}

impl Target {
    /// Whether an HTTP request can be answered through this target today.
    pub fn servable(&self) -> bool {
        self.redirect.is_some() || matches!(self.protocol, Protocol::Http | Protocol::Https)
    }

    /// Whether requests are passed on there as they are, but for a path without odd characters.
    pub(super) fn is_plain(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let is_plain = |path: &str| path.is_empty() || path.starts_with('/');
        let is_plain = |path: &str| is_plain(path) && path.bytes().all(plain);
        matches!(self.protocol, Protocol::Http | Protocol::Https)
            && self.redirect.is_none()
            && self.access.is_none()
            && self.host_header.is_empty()
            && is_plain(&self.strip)
            && is_plain(&self.prepend)
    }

    /// Whether who asks may do so: the one who connects, and all for whom it says it does.
    pub fn admits(&self, from: IpAddr, forwarded_for: impl Iterator<Item = IpAddr>) -> bool {
        let Some(access) = &self.access else {
            return true;
        };
        let mut others = forwarded_for;
        access.admits(from) && others.all(|address| access.admits(address))
    }

    /// The destination as `/api/routes` shows it.
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// Its options as `/api/routes` shows them.
    pub fn shown_options(&self) -> &str {
        &self.shown_options
    }

    /// The path the upstream is asked for.
    pub fn rewrite<'a>(&self, path: &'a str) -> Cow<'a, str> {
        let stripped = if self.strip.is_empty() {
            path
        } else {
            path.strip_prefix(self.strip.as_str()).unwrap_or(path)
        };
        if self.prepend.is_empty() && stripped.starts_with('/') {
            return Cow::Borrowed(stripped);
        }
        let slash = if stripped.starts_with('/') { "" } else { "/" };
        Cow::Owned(format!(
            "{}{slash}{stripped}",
            self.prepend.trim_end_matches('/')
        ))
    }

    /// Where a request is sent instead: status and URL. None if that is where it came from.
    pub fn redirect_for(
        &self,
        scheme: &str,
        host: &str,
        path: &str,
        query: Option<&str>,
    ) -> Option<(u16, String)> {
        let (status, pattern) = self.redirect.as_ref()?;
        let mut url = pattern.replace("$host", host);
        if pattern.contains("$path") {
            // A `$path` after the host stands for its own slash: `https://b/$path`.
            let path = self.rewrite(path);
            url = url.replace("/$path", &path).replace("$path", &path);
            if let Some(query) = query
                && !url.contains('?')
            {
                url = format!("{url}?{query}");
            }
        }
        let (start, end) = url.split_once('?').unwrap_or((&url, ""));
        if let Some((_, rest)) = start.split_once("://")
            && !rest.contains('/')
        {
            let query = if end.is_empty() { "" } else { "?" };
            url = format!("{start}/{query}{end}");
        }
        let here = format!("{scheme}://{host}{path}");
        let there = url.split('?').next().unwrap_or(&url);
        (here != there).then_some((*status, url))
    }
}

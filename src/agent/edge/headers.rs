//! What a proxy does to headers: takes off those for one hop, says who asked.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, HeaderValue,
    STRICT_TRANSPORT_SECURITY, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Version};
use logic::config::ProxyOptions;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// How many headers a request may get on its way, beside its host.
pub(super) const ADDED: usize = 9;

const FOR_ONE_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Whether a header concerns only the connection that its message came over.
pub(super) fn is_for_one_hop(name: &str) -> bool {
    FOR_ONE_HOP
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// What a client may not have removed by naming it in `Connection`: what we or the upstream
/// decide by.
pub(super) const PROTECTED: [HeaderName; 9] = [
    HOST,
    CONTENT_LENGTH,
    FORWARDED,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PORT,
    X_FORWARDED_PREFIX,
    X_FORWARDED_PROTO,
    X_REAL_IP,
];

/// The headers that a message says are for one hop too.
fn listed(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(CONNECTION).into_iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
    names.filter(|name| !PROTECTED.contains(name)).collect()
}

/// Removes what concerns only the connection a message came over, also what it calls so itself.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| is_for_one_hop(name.as_str())) {
        return;
    }
    let listed = listed(headers).into_iter();
    let known = headers
        .keys()
        .filter(|name| is_for_one_hop(name.as_str()))
        .cloned();
    for name in listed.chain(known.collect::<Vec<_>>()) {
        headers.remove(name);
    }
}

/// Copies all but the host and what concerns only the connection a message came over.
pub(super) fn copy_end_to_end(from: &HeaderMap, to: &mut HeaderMap) {
    let listed = listed(from);
    for (name, value) in from {
        if *name != HOST && !is_for_one_hop(name.as_str()) && !listed.contains(name) {
            to.append(name.clone(), value.clone());
        }
    }
}

/// The protocol that a request or a 101 answer asks to switch to. Not HTTP/2, which would have
/// to be understood here.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asked = headers.get_all(CONNECTION).iter().any(|value| {
        let mut names = value.as_bytes().split(|byte| *byte == b',');
        names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let http2 = protocol.as_bytes().to_ascii_lowercase().starts_with(b"h2");
    (asked && !http2).then(|| protocol.clone())
}

pub(super) fn ask_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Everyone that earlier proxies say a request is for.
pub(super) fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = IpAddr> + '_ {
    let values = headers.get_all(X_FORWARDED_FOR).into_iter();
    // Byte by byte: what a client writes before it doesn't hide what a proxy has added.
    let items = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    items.filter_map(|item| std::str::from_utf8(item).ok()?.trim().parse().ok())
}

/// How a client came over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TlsFacts {
    pub(super) version: &'static str,
    pub(super) cipher: u16,
}

/// What upstreams are told about one client connection, made once for all its requests.
pub(super) struct Sender {
    address: HeaderValue,
    forwarded_11: HeaderValue,
    forwarded_10: HeaderValue,
    /// What `Forwarded` says of this hop: ourselves, and TLS.
    hop: Hop,
    tls: bool,
    /// The configured headers, if they are names of headers.
    client_ip: Option<HeaderName>,
    tls_header: Option<(HeaderName, HeaderValue)>,
    request_id: Option<HeaderName>,
    strict_transport: Option<HeaderValue>,
}

struct Hop {
    by: Option<IpAddr>,
    tls: Option<TlsFacts>,
}

impl Sender {
    /// `by` is our own address, if it is known.
    pub(super) fn new(
        client: SocketAddr,
        by: Option<IpAddr>,
        tls: Option<TlsFacts>,
        options: &ProxyOptions,
    ) -> Self {
        let ip = client.ip().to_canonical();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let hop = Hop { by, tls };
        let start = format!("for={}; proto={scheme}", node(ip));
        let named = |name: &str| HeaderName::try_from(name).ok().filter(|_| !name.is_empty());
        let client_ip = named(&options.client_ip_header);
        let strict = options.strict_transport.as_str();
        Self {
            address: text(ip.to_string()),
            forwarded_11: text(hop.told(&start, Version::HTTP_11)),
            forwarded_10: text(hop.told(&start, Version::HTTP_10)),
            client_ip: client_ip.filter(|n| *n != X_FORWARDED_FOR && *n != X_REAL_IP),
            tls_header: named(&options.tls_header)
                .zip(HeaderValue::from_str(&options.tls_header_value).ok()),
            request_id: named(&options.request_id_header),
            strict_transport: HeaderValue::from_str(strict)
                .ok()
                .filter(|_| tls.is_some() && !strict.is_empty()),
            tls: tls.is_some(),
            hop,
        }
    }

    /// Whether each request gets an id of its own.
    pub(super) fn numbers(&self) -> bool {
        self.request_id.is_some()
    }

    /// Whether this is one of the headers that the configuration names.
    pub(super) fn sets(&self, name: &str) -> bool {
        let tls = self.tls_header.as_ref().map(|(name, _)| name);
        let mut set = self.client_ip.iter().chain(tls);
        set.any(|set| set.as_str().eq_ignore_ascii_case(name))
    }

    /// What answers over TLS are to carry.
    pub(super) fn strict_transport(&self) -> Option<&HeaderValue> {
        self.strict_transport.as_ref()
    }

    pub(super) fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Adds what answers over TLS are to carry.
    pub(super) fn seal(&self, headers: &mut HeaderMap) {
        if let Some(strict) = self.strict_transport() {
            headers.insert(STRICT_TRANSPORT_SECURITY, strict.clone());
        }
    }

    /// Gives the request an id of its own, if it is to have one.
    pub(super) fn number(&self, headers: &mut HeaderMap, mut draw: impl FnMut() -> u64) {
        let Some(name) = &self.request_id else { return };
        let (high, low) = (draw(), draw());
        // A random UUID, version 4.
        let id = format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff,
        );
        headers.insert(name.clone(), text(id));
    }

    /// Adds the `X-Forwarded-*` headers and their relatives; what a proxy before us said stays.
    pub(super) fn introduce(&self, head: &Parts, host: &HeaderValue, headers: &mut HeaderMap) {
        let (version, known) = (head.version, &head.headers);
        let chain = match known.get(X_FORWARDED_FOR) {
            Some(_) => chain(known, &self.address),
            None => self.address.clone(),
        };
        headers.insert(X_FORWARDED_FOR, chain);
        let address = || self.address.clone();
        headers.entry(X_REAL_IP).or_insert_with(address);
        let forwarded = known.get(FORWARDED).and_then(|value| value.to_str().ok());
        let proto = known.get(X_FORWARDED_PROTO);
        if proto.is_none() {
            let told = forwarded.and_then(proto_of);
            let told = told.map(|proto| text(proto.to_owned()));
            let told = told.unwrap_or(HeaderValue::from_static(self.scheme()));
            headers.insert(X_FORWARDED_PROTO, told);
        }
        if !host.is_empty() {
            let port = || port(host, self.tls);
            headers.entry(X_FORWARDED_PORT).or_insert_with(port);
            let host = || host.clone();
            headers.entry(X_FORWARDED_HOST).or_insert_with(host);
        }
        // What a proxy before us said of the one, it meant for the other too.
        let proto = proto.and_then(|proto| proto.to_str().ok());
        let proto = proto.unwrap_or(self.scheme());
        let told = match forwarded {
            Some(forwarded) => text(self.hop.told(forwarded, version)),
            None if proto == self.scheme() && version == Version::HTTP_11 => {
                self.forwarded_11.clone()
            }
            None if proto == self.scheme() && version == Version::HTTP_10 => {
                self.forwarded_10.clone()
            }
            None => {
                let address = self.address.to_str().unwrap_or("unknown");
                let start = address.parse().map_or_else(|_| address.to_owned(), node);
                let start = format!("for={start}; proto={proto}");
                text(self.hop.told(&start, version))
            }
        };
        headers.insert(FORWARDED, told);
        if let Some(name) = &self.client_ip {
            headers.insert(name.clone(), self.address.clone());
        }
        if let Some((name, value)) = &self.tls_header {
            if self.tls {
                headers.insert(name.clone(), value.clone());
            } else {
                headers.remove(name);
            }
        }
    }
}

impl Hop {
    fn told(&self, start: &str, version: Version) -> String {
        let mut told = start.to_owned();
        if let Some(by) = self.by {
            told = format!("{told}; by={}", node(by));
        }
        let version = match version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2.0",
            _ => "1.1",
        };
        told = format!("{told}; httpproto=http/{version}");
        if let Some(TlsFacts { version, cipher }) = self.tls {
            told = format!("{told}; tlsver={version}; tlscipher=0x{cipher:04x}");
        }
        told
    }
}

/// The `proto` that a `Forwarded` header tells first.
fn proto_of(forwarded: &str) -> Option<&str> {
    let (_, rest) = forwarded.split_once("proto=")?;
    let end = rest.find([';', ',', ' ']).unwrap_or(rest.len());
    let proto = &rest[..end];
    matches!(proto, "http" | "https").then_some(proto)
}

/// Everything earlier proxies said, and the address they spoke from.
fn chain(headers: &HeaderMap, address: &HeaderValue) -> HeaderValue {
    let mut chain = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(address.as_bytes());
    HeaderValue::from_bytes(&chain).unwrap_or_else(|_| address.clone())
}

/// The port in a `Host` header; the default one if there is none.
fn port(host: &HeaderValue, tls: bool) -> HeaderValue {
    let bytes = host.as_bytes();
    let colon = bytes.iter().rposition(|byte| *byte == b':');
    let port = colon.map(|at| &bytes[at + 1..]);
    port.filter(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit))
        .and_then(|port| HeaderValue::from_bytes(port).ok())
        .unwrap_or(HeaderValue::from_static(if tls { "443" } else { "80" }))
}

/// An address as RFC 7239 wants it.
fn node(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("\"[{ip}]\""),
    }
}

fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn introduced(lines: &[(&str, &str)]) -> HeaderMap {
        introduced_by(lines, None, &ProxyOptions::default())
    }

    fn introduced_by(
        lines: &[(&str, &str)],
        tls: Option<TlsFacts>,
        options: &ProxyOptions,
    ) -> HeaderMap {
        let mut request = hyper::Request::new(());
        *request.headers_mut() = headers(lines);
        let (head, ()) = request.into_parts();
        let client = "10.1.2.3:4567".parse().expect("an address");
        let by = "10.0.0.1".parse().ok();
        let mut headers = HeaderMap::new();
        copy_end_to_end(&head.headers, &mut headers);
        let host = head.headers[HOST].clone();
        Sender::new(client, by, tls, options).introduce(&head, &host, &mut headers);
        headers
    }

    #[test]
    fn headers_for_one_hop_are_removed_also_those_named_by_connection() {
        let mut headers = headers(&[
            ("connection", "close, X-Mine"),
            ("connection", "host ,Keep-Alive"),
            ("x-mine", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-connection", "keep-alive"),
            ("host", "a"),
            ("x-other", "2"),
        ]);
        let mut copied = HeaderMap::new();
        copy_end_to_end(&headers, &mut copied);
        strip_hop_by_hop(&mut headers);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "x-other"]);
        let names: Vec<_> = copied.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["x-other"]);
    }

    #[test]
    fn upstreams_learn_who_asked_for_what() {
        let headers = introduced(&[("host", "mysite.com:9999")]);
        for (name, value) in [
            ("x-forwarded-for", "10.1.2.3"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-port", "9999"),
            ("x-forwarded-host", "mysite.com:9999"),
            ("x-real-ip", "10.1.2.3"),
            (
                "forwarded",
                "for=10.1.2.3; proto=http; by=10.0.0.1; httpproto=http/1.1",
            ),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
    }

    #[test]
    fn over_tls_they_learn_that_too_and_the_configured_headers() {
        let tls = TlsFacts {
            version: "tls13",
            cipher: 0x1301,
        };
        let options = ProxyOptions {
            client_ip_header: "x-client".into(),
            tls_header: "x-tls".into(),
            tls_header_value: "yes".into(),
            ..ProxyOptions::default()
        };
        let host = ("host", "mysite.com");
        let headers = introduced_by(&[host, ("x-tls", "forged")], Some(tls), &options);
        for (name, value) in [
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-client", "10.1.2.3"),
            ("x-tls", "yes"),
            (
                "forwarded",
                "for=10.1.2.3; proto=https; by=10.0.0.1; httpproto=http/1.1; tlsver=tls13; \
                 tlscipher=0x1301",
            ),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        let plain = introduced_by(&[host, ("x-tls", "forged")], None, &options);
        assert!(!plain.contains_key("x-tls"));
    }

    #[test]
    fn the_two_ways_to_tell_the_scheme_agree() {
        let headers = introduced(&[("host", "a"), ("x-forwarded-proto", "https")]);
        let told = "for=10.1.2.3; proto=https; by=10.0.0.1; httpproto=http/1.1";
        assert_eq!(headers["forwarded"], told);
        let headers = introduced(&[("host", "a"), ("forwarded", "for=1.1.1.1;proto=https")]);
        assert_eq!(headers["x-forwarded-proto"], "https");
    }

    #[test]
    fn what_an_earlier_proxy_said_is_kept() {
        let headers = introduced(&[
            ("host", "mysite.com"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1"),
        ]);
        for (name, value) in [
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.1.2.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-real-ip", "1.1.1.1"),
            ("forwarded", "for=1.1.1.1; by=10.0.0.1; httpproto=http/1.1"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
    }

    #[test]
    fn only_a_connection_that_asks_for_it_is_upgraded_and_never_to_http2() {
        for (lines, upgraded) in [
            (
                &[
                    ("connection", "keep-alive, Upgrade"),
                    ("upgrade", "websocket"),
                ][..],
                true,
            ),
            (&[("upgrade", "websocket")], false),
            (&[("connection", "upgrade")], false),
            (
                &[
                    ("connection", "Upgrade, HTTP2-Settings"),
                    ("upgrade", "h2c"),
                ],
                false,
            ),
        ] {
            assert_eq!(upgrade(&headers(lines)).is_some(), upgraded, "{lines:?}");
        }
    }
}

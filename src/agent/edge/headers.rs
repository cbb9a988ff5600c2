//! What a proxy does to headers: takes off those for one hop, says who asked.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request;
use hyper::{HeaderMap, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub(super) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What a client may not have removed by naming it in `Connection`: what we or the upstream
/// decide by.
const PROTECTED: [HeaderName; 9] = [
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

/// Removes what concerns only the connection a message came over, also what it calls so itself.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let mut listed = Vec::new();
    for value in headers.get_all(CONNECTION) {
        let names = value.as_bytes().split(|byte| *byte == b',');
        listed.extend(names.filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok()));
    }
    for name in listed {
        if !PROTECTED.contains(&name) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
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

/// What upstreams are told about one client connection, made once for all its requests.
pub(super) struct Sender {
    address: HeaderValue,
    forwarded_11: HeaderValue,
    forwarded_10: HeaderValue,
    by: Option<IpAddr>,
}

impl Sender {
    /// `by` is our own address, if it is known.
    pub(super) fn new(client: SocketAddr, by: Option<IpAddr>) -> Self {
        let ip = client.ip().to_canonical();
        let forwarded = |version| {
            text(forwarded(
                &format!("for={}; proto=http", node(ip)),
                by,
                version,
            ))
        };
        Self {
            address: text(ip.to_string()),
            forwarded_11: forwarded(Version::HTTP_11),
            forwarded_10: forwarded(Version::HTTP_10),
            by,
        }
    }

    /// Adds the `X-Forwarded-*` headers and their relatives; what a proxy before us said stays.
    pub(super) fn introduce(&self, head: &mut request::Parts) {
        let version = head.version;
        let headers = &mut head.headers;
        let chain = match headers.get(X_FORWARDED_FOR) {
            Some(_) => chain(headers, &self.address),
            None => self.address.clone(),
        };
        headers.insert(X_FORWARDED_FOR, chain);
        headers
            .entry(X_REAL_IP)
            .or_insert_with(|| self.address.clone());
        headers
            .entry(X_FORWARDED_PROTO)
            .or_insert(HeaderValue::from_static("http"));
        if let Some(host) = headers.get(HOST).cloned() {
            if !headers.contains_key(X_FORWARDED_PORT) {
                headers.insert(X_FORWARDED_PORT, port(&host));
            }
            headers.entry(X_FORWARDED_HOST).or_insert(host);
        }
        let known = headers.get(FORWARDED).and_then(|value| value.to_str().ok());
        let told = match known {
            Some(known) => text(forwarded(known, self.by, version)),
            None if version == Version::HTTP_10 => self.forwarded_10.clone(),
            None => self.forwarded_11.clone(),
        };
        headers.insert(FORWARDED, told);
    }
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
fn port(host: &HeaderValue) -> HeaderValue {
    let bytes = host.as_bytes();
    let colon = bytes.iter().rposition(|byte| *byte == b':');
    let port = colon.map(|at| &bytes[at + 1..]);
    port.filter(|port| !port.is_empty() && port.iter().all(u8::is_ascii_digit))
        .and_then(|port| HeaderValue::from_bytes(port).ok())
        .unwrap_or(HeaderValue::from_static("80"))
}

fn forwarded(start: &str, by: Option<IpAddr>, version: Version) -> String {
    let by = by.map_or_else(String::new, |by| format!("; by={}", node(by)));
    let version = if version == Version::HTTP_10 {
        "1.0"
    } else {
        "1.1"
    };
    format!("{start}{by}; httpproto=http/{version}")
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
        let mut request = hyper::Request::new(());
        *request.headers_mut() = headers(lines);
        let (mut head, ()) = request.into_parts();
        let client = "10.1.2.3:4567".parse().expect("an address");
        let by = "10.0.0.1".parse().ok();
        Sender::new(client, by).introduce(&mut head);
        head.headers
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
        strip_hop_by_hop(&mut headers);
        let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "x-other"]);
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

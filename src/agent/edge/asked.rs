//! What a client asked, kept as it came, and the request that an upstream gets for it.

use hyper::header::{CONTENT_TYPE, COOKIE, HOST, HeaderValue, TE};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, Uri, Version};
use logic::routes::Target;

use super::body::RequestBody;
use super::headers::{self, Sender, X_FORWARDED_PREFIX};

pub(super) struct Asked {
    head: Parts,
    host: HeaderValue,
    upgrade: Option<HeaderValue>,
}

impl Asked {
    /// Reads a request that asks to switch to this protocol, if to any.
    pub(super) fn read(
        mut head: Parts,
        upgrade: Option<HeaderValue>,
    ) -> Result<Self, &'static str> {
        if head.method == Method::CONNECT {
            return Err("this proxy opens no tunnels");
        }
        let mut hosts = head.headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err("more than one Host header");
        }
        // The authority in a request line overrides the header: RFC 9112 section 3.2.2.
        let host = match (head.uri.authority(), host) {
            (Some(authority), _) => HeaderValue::from_str(authority.as_str())
                .map_err(|_| "the request line names no host")?,
            (None, Some(host)) => host.clone(),
            (None, None) if head.version < Version::HTTP_11 => HeaderValue::from_static(""),
            (None, None) => return Err("no Host header"),
        };
        if host.to_str().is_err() {
            return Err("the Host header isn't text");
        }
        if head.version == Version::HTTP_2 {
            join_cookies(&mut head.headers);
        }
        Ok(Self {
            head,
            host,
            upgrade,
        })
    }

    pub(super) fn host(&self) -> &str {
        self.host.to_str().unwrap_or_default()
    }

    pub(super) fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Whether it is a gRPC call.
    pub(super) fn is_call(&self) -> bool {
        if self.head.version != Version::HTTP_2 {
            return false;
        }
        let kind = self.head.headers.get(CONTENT_TYPE);
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
    }

    /// Whether asking twice is as good as asking once.
    pub(super) fn is_idempotent(&self) -> bool {
        self.head.method.is_idempotent()
    }

    /// Gives it an id of its own, if it is to have one; the same wherever it is sent.
    pub(super) fn number(&mut self, sender: &Sender, draw: impl FnMut() -> u64) {
        sender.number(&mut self.head.headers, draw);
    }

    /// The request for this target.
    pub(super) fn request_to(
        &self,
        target: &Target,
        body: RequestBody,
        sender: &Sender,
    ) -> Request<RequestBody> {
        let call = target.protocol.takes_calls();
        let host = match target.host_header.as_str() {
            "" => None,
            "dst" => HeaderValue::from_str(&target.address).ok(),
            name => HeaderValue::from_str(name).ok(),
        };
        let host = host.unwrap_or_else(|| self.host.clone());
        let mut request = Request::new(body);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.uri_for(target, &host);
        if call {
            *request.version_mut() = Version::HTTP_2;
        }
        let headers = request.headers_mut();
        headers.reserve(self.head.headers.len() + headers::ADDED);
        if !call {
            headers.insert(HOST, host);
        }
        headers::copy_end_to_end(&self.head.headers, headers);
        if call {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(protocol) = &self.upgrade {
            headers::ask_upgrade(headers, protocol.clone());
        }
        sender.introduce(&self.head, &self.host, headers);
        if !target.strip.is_empty()
            && let Ok(prefix) = HeaderValue::from_str(&target.strip)
        {
            headers.insert(X_FORWARDED_PREFIX, prefix);
        }
        request
    }

    fn uri_for(&self, target: &Target, host: &HeaderValue) -> Uri {
        let asked = &self.head.uri;
        let path = target.rewrite(asked.path());
        let query = || asked.query().map_or_else(String::new, |q| format!("?{q}"));
        let uri = if target.protocol.takes_calls() {
            // HTTP/2 wants the whole address.
            let scheme = if target.tls.is_some() {
                "https"
            } else {
                "http"
            };
            let authority = host.to_str().unwrap_or_default();
            Uri::try_from(format!("{scheme}://{authority}{path}{}", query()))
        } else if path != asked.path() || asked.authority().is_some() {
            Uri::try_from(format!("{path}{}", query()))
        } else {
            return asked.clone();
        };
        uri.unwrap_or_else(|_| asked.clone())
    }
}

/// HTTP/2 may send cookies one by one; HTTP/1.1 knows one cookie header.
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_some() {
        let mut cookies = Vec::new();
        for cookie in headers.get_all(COOKIE) {
            if !cookies.is_empty() {
                cookies.extend_from_slice(b"; ");
            }
            cookies.extend_from_slice(cookie.as_bytes());
        }
        if let Ok(cookies) = HeaderValue::from_bytes(&cookies) {
            headers.insert(COOKIE, cookies);
        }
    }
}

//! The client side of the APIs: JSON over HTTP, a connection per request, and errors that say who
//! couldn't be reached and why.

use std::fmt;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;

use super::exit::Failure;
pub(super) use logic::percent::segment as escaped;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Until the answer begins.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long the catalog may wait with an answer, which it does for a little longer.
const WATCHED_FOR: &str = "40s";

/// Why a request has no good answer.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// Nobody answered.
    Unreachable { request: String, why: String },
    /// The agent refused.
    Status { code: u16, text: String },
    /// The agent answered something else than asked for.
    Malformed { request: String, why: String },
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { request, why } => write!(f, "{request}: {why}"),
            Self::Status { code, text } => write!(f, "Unexpected response code: {code} ({text})"),
            Self::Malformed { request, why } => write!(f, "{request}: unexpected answer: {why}"),
        }
    }
}

impl std::error::Error for RequestError {}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        let failure = Self::new(error.to_string());
        match error {
            RequestError::Unreachable { .. } => {
                failure.hint("is an agent running? start one with `drover agent -dev`")
            }
            RequestError::Status { .. } | RequestError::Malformed { .. } => failure,
        }
    }
}

/// Something of the catalog as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    /// What to wait from next.
    pub(super) index: u64,
    /// None if it isn't there.
    pub(super) body: Option<Bytes>,
}

/// Talks to one agent.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    host: String,
    port: u16,
    /// What the address says after host and port; usually nothing.
    prefix: String,
    /// Added to every request's query.
    params: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
}

impl Client {
    /// `base_url` is `http://HOST:PORT`; scheme and port may be left out.
    pub(crate) fn new(base_url: &str, default_port: u16) -> Result<Self, Failure> {
        let wrong = |why: &str| Failure::new(format!("the address `{base_url}` {why}"));
        let (rest, default_port) = match base_url.split_once("://") {
            None => (base_url, default_port),
            Some(("http", rest)) => (rest, 80),
            Some(("https", _)) => return Err(wrong("asks for https, which isn't supported yet")),
            Some(_) => return Err(wrong("must begin with http://")),
        };
        let not_a_url = || wrong(&format!("must be like http://127.0.0.1:{default_port}"));
        let uri: Uri = format!("http://{rest}").parse().map_err(|_| not_a_url())?;
        let host = uri.host().filter(|host| !host.is_empty());
        let host = host.ok_or_else(not_a_url)?;
        let port = match uri.authority().map(hyper::http::uri::Authority::as_str) {
            Some(authority) if authority.ends_with(host) => default_port,
            Some(_) | None => uri.port_u16().ok_or_else(not_a_url)?,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            params: Vec::new(),
            headers: Vec::new(),
        })
    }

    /// The same with a query parameter in every request, if there is a value.
    #[must_use]
    pub(super) fn with_param(mut self, name: &'static str, value: Option<String>) -> Self {
        self.params.extend(value.map(|value| (name, value)));
        self
    }

    /// The same with a header in every request, if there is a value.
    #[must_use]
    pub(super) fn with_header(mut self, name: &'static str, value: Option<String>) -> Self {
        self.headers.extend(value.map(|value| (name, value)));
        self
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RequestError> {
        self.json(Method::GET, path, Vec::new()).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, RequestError> {
        let body = serde_json::to_vec(body).map_err(|why| RequestError::Malformed {
            request: self.request(&Method::PUT, path),
            why: why.to_string(),
        })?;
        self.json(Method::PUT, path, body).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, RequestError> {
        self.json(Method::DELETE, path, Vec::new()).await
    }

    /// Asks for something whose only answer is that it is done.
    pub(super) async fn tell(&self, method: Method, path: &str) -> Result<(), RequestError> {
        self.bytes(method, path, Vec::new()).await.map(|_| ())
    }

    /// Sends and gets bytes as they are.
    pub(super) async fn bytes(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Bytes, RequestError> {
        let response = self.send(method.clone(), path, body).await?;
        let collected = collected(response).await;
        collected.map_err(|why| self.unreachable(&method, path, &why))
    }

    /// Gets `path` as it comes.
    pub(super) async fn stream(&self, path: &str) -> Result<Incoming, RequestError> {
        let response = self.send(Method::GET, path, Vec::new()).await?;
        Ok(response.into_body())
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, RequestError> {
        let body = self.bytes(method.clone(), path, body).await?;
        decode(&body).map_err(|why| RequestError::Malformed {
            request: self.request(&method, path),
            why: why.to_string(),
        })
    }

    /// Looks at something of the catalog once it isn't as it was at `index`, or after a while
    /// anyway; at once if that is 0. What isn't there is an answer too.
    pub(super) async fn watch(&self, path: &str, index: u64) -> Result<Watched, RequestError> {
        let waiting = if index == 0 {
            path.to_owned()
        } else {
            let more = if path.contains('?') { '&' } else { '?' };
            format!("{path}{more}index={index}&wait={WATCHED_FOR}")
        };
        let response = self.exchange(Method::GET, &waiting, Vec::new()).await?;
        let is_there = response.status() != StatusCode::NOT_FOUND;
        let index = response.headers().get("x-consul-index").cloned();
        let index = index.and_then(|index| index.to_str().ok()?.parse().ok());
        let response = match index {
            // Without an index it isn't an answer of the catalog.
            Some(_) if !is_there => response,
            Some(_) | None => self.good(&Method::GET, path, response).await?,
        };
        let body = collected(response).await;
        let body = body.map_err(|why| self.unreachable(&Method::GET, path, &why))?;
        let no_catalog = "the answer has no X-Consul-Index: no catalog is there";
        Ok(Watched {
            index: index.ok_or_else(|| self.unreachable(&Method::GET, path, &no_catalog))?,
            body: is_there.then_some(body),
        })
    }

    /// Sends a change of keys; tells whether it happened.
    pub(super) async fn change(
        &self,
        method: Method,
        path: &str,
        value: Vec<u8>,
    ) -> Result<bool, RequestError> {
        let answer = self.bytes(method, path, value).await?;
        Ok(answer.trim_ascii() == b"true")
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, RequestError> {
        let response = self.exchange(method.clone(), path, body).await?;
        self.good(&method, path, response).await
    }

    /// An answer, unless it says that the request failed.
    async fn good(
        &self,
        method: &Method,
        path: &str,
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>, RequestError> {
        let code = response.status();
        if code.is_success() {
            return Ok(response);
        }
        let text = collected(response).await;
        let text = text.map_err(|why| self.unreachable(method, path, &why))?;
        Err(RequestError::Status {
            code: code.as_u16(),
            text: String::from_utf8_lossy(&text).trim().to_owned(),
        })
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, RequestError> {
        let unreachable = |why: &dyn fmt::Display| self.unreachable(&method, path, why);
        let connecting = tokio::time::timeout(CONNECT_WITHIN, self.connect());
        let connection = match connecting.await {
            Ok(connected) => connected.map_err(|why| unreachable(&why))?,
            Err(_) => return Err(unreachable(&self.dialling(&"i/o timeout"))),
        };
        let (mut sender, driver) = http1::handshake(TokioIo::new(connection))
            .await
            .map_err(|why| unreachable(&why))?;
        // Its errors reach us through the sender.
        tokio::spawn(async { driver.await.unwrap_or_default() });
        let mut request = Request::builder()
            .method(&method)
            .uri(format!("{}{}", self.prefix, self.with_params(path)))
            .header(HOST, format!("{}:{}", self.host, self.port))
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::<Bytes>::from(body))
            .map_err(|why| unreachable(&why))?;
        let response = match tokio::time::timeout(ANSWER_WITHIN, sender.send_request(request)).await
        {
            Ok(answered) => answered.map_err(|why| unreachable(&why))?,
            Err(_) => return Err(unreachable(&"the agent doesn't answer")),
        };
        Ok(response)
    }

    fn with_params(&self, path: &str) -> String {
        let mut path = path.to_owned();
        for (name, value) in &self.params {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(name);
            path.push('=');
            path.push_str(&escaped(value));
        }
        path
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let connected = TcpStream::connect((host, self.port)).await;
        let stream = connected.map_err(|error| self.dialling(&in_words(&error)))?;
        // Small requests should not wait for more to come.
        stream.set_nodelay(true).unwrap_or_default();
        Ok(stream)
    }

    fn dialling(&self, why: &dyn fmt::Display) -> String {
        format!("dial tcp {}:{}: {why}", self.host, self.port)
    }

    /// Where a path is, for a browser.
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}:{}{}{path}", self.host, self.port, self.prefix)
    }

    /// The request as messages name it: `Put "http://127.0.0.1:4646/v1/jobs"`.
    fn request(&self, method: &Method, path: &str) -> String {
        let name = method.as_str();
        let (first, rest) = name.split_at(1);
        format!("{first}{} \"{}\"", rest.to_lowercase(), self.url(path))
    }

    fn unreachable(&self, method: &Method, path: &str, why: &dyn fmt::Display) -> RequestError {
        RequestError::Unreachable {
            request: self.request(method, path),
            why: why.to_string(),
        }
    }
}

async fn collected(response: Response<Incoming>) -> Result<Bytes, hyper::Error> {
    Ok(response.into_body().collect().await?.to_bytes())
}

/// Without the system's number for it.
pub(super) fn in_words(error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::ConnectionRefused {
        return "connect: connection refused".to_owned();
    }
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// An answer as a value of ours. Both APIs write `null` where ours has an empty value.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> serde_json::Result<T> {
    if let Ok(answer) = serde_json::from_slice(body) {
        return Ok(answer);
    }
    let mut answer: Value = serde_json::from_slice(body)?;
    drop_nulls(&mut answer);
    serde_json::from_value(answer)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_leave_out_the_scheme() {
        for (url, request) in [
            (
                "http://127.0.0.1:4646",
                "Put \"http://127.0.0.1:4646/v1/jobs\"",
            ),
            (
                "http://127.0.0.1:4646/",
                "Put \"http://127.0.0.1:4646/v1/jobs\"",
            ),
            ("localhost:8500", "Put \"http://localhost:8500/v1/jobs\""),
            ("http://[::1]:1", "Put \"http://[::1]:1/v1/jobs\""),
            ("http://gate/nomad", "Put \"http://gate:80/nomad/v1/jobs\""),
        ] {
            let client = Client::new(url, 4646).expect(url);
            assert_eq!(client.request(&Method::PUT, "/v1/jobs"), request, "{url}");
        }
    }

    #[test]
    fn addresses_that_cannot_work_are_told_why() {
        for (url, why) in [
            (
                "https://h:1",
                "the address `https://h:1` asks for https, which isn't supported yet",
            ),
            (
                "unix:///x",
                "the address `unix:///x` must begin with http://",
            ),
            ("", "the address `` must be like http://127.0.0.1:4646"),
            (
                "http://h:x",
                "the address `http://h:x` must be like http://127.0.0.1:80",
            ),
        ] {
            let refused = Client::new(url, 4646).expect_err(url);
            assert_eq!(refused.message, why);
        }
    }

    #[test]
    fn without_an_agent_the_error_says_what_was_tried() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let at = closed.local_addr().expect("its address");
        drop(closed);
        let client = Client::new(&at.to_string(), 4646).expect("an address");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let put = runtime.block_on(client.put("/v1/jobs", &Value::Null));
        let put: Result<Value, RequestError> = put;
        let failure = Failure::from(put.expect_err("nobody listens"));
        assert_eq!(
            failure.message,
            format!("Put \"http://{at}/v1/jobs\": dial tcp {at}: connect: connection refused")
        );
        assert!(failure.hint.is_some());
    }

    #[test]
    fn what_goes_into_an_address_is_escaped() {
        assert_eq!(escaped("team/web 1ü"), "team%2Fweb%201%C3%BC");
    }
}

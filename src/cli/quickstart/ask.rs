//! Asks the agent as anybody would: its HTTP APIs, its DNS, and the service through the proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::cli::http::Client;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const DNS_MESSAGE_MAX: usize = 4096;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The instance that answered, if it says so.
    pub(super) instance: Option<String>,
    pub(super) body: Bytes,
}

/// One of the agent's HTTP APIs.
#[derive(Clone)]
pub(super) struct Api(Client);

impl Api {
    pub(super) fn at(address: SocketAddr) -> anyhow::Result<Self> {
        let client = Client::new(&address.to_string(), address.port());
        client.map(Self).map_err(|failure| anyhow!(failure.message))
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.0
            .get(path)
            .await
            .map_err(|error| anyhow!("{path}: {error}"))
    }

    pub(super) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> anyhow::Result<T> {
        self.0
            .put(path, body)
            .await
            .map_err(|error| anyhow!("{path}: {error}"))
    }

    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        let deleted = self.0.delete::<serde_json::Value>(path).await;
        deleted
            .map(|_| ())
            .map_err(|error| anyhow!("{path}: {error}"))
    }
}

/// `GET /` on a connection of its own, for the host of that name.
async fn get_from(address: SocketAddr, host: &str) -> anyhow::Result<Answer> {
    let request = Request::builder()
        .uri("/")
        .header(HOST, host)
        .body(Empty::new())?;
    let answered = timeout(ANSWER_TIMEOUT, exchange(address, request)).await;
    let answered = answered.map_err(|_| anyhow!("no answer in time"));
    answered
        .flatten()
        .with_context(|| format!("asking {address}"))
}

async fn exchange(address: SocketAddr, request: Request<Empty<Bytes>>) -> anyhow::Result<Answer> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let instance = response.headers().get("x-instance");
        let instance = instance
            .and_then(|name| name.to_str().ok())
            .map(str::to_owned);
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(Answer {
            status,
            instance,
            body,
        })
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        // The connection may end before its last bytes have been looked at.
        ended = &mut connection => { ended?; exchange.await }
    }
}

/// The SRV records of a name.
pub(super) async fn srv(server: SocketAddr, name: &str) -> anyhow::Result<Vec<Record>> {
    let answered = timeout(ANSWER_TIMEOUT, ask_dns(server, name)).await;
    let answer = answered.map_err(|_| anyhow!("no answer in time")).flatten();
    let answer = answer.with_context(|| format!("asking DNS at {server} for {name}"))?;
    let code = answer.metadata.response_code;
    ensure!(
        code == ResponseCode::NoError,
        "DNS at {server} answers {code} for {name}"
    );
    Ok(answer.answers)
}

async fn ask_dns(server: SocketAddr, name: &str) -> anyhow::Result<Message> {
    let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(server).await?;
    // The socket is connected and used once, so any id will do.
    let mut question = Message::new(1, MessageType::Query, OpCode::Query);
    question.add_query(Query::query(Name::from_ascii(name)?, RecordType::SRV));
    socket.send(&question.to_vec()?).await?;
    let mut buffer = vec![0; DNS_MESSAGE_MAX];
    let length = socket.recv(&mut buffer).await?;
    buffer.truncate(length);
    Ok(Message::from_vec(&buffer)?)
}

/// Sends requests until every one of `wanted` instances has answered, but not more than `most`.
/// Returns a sample answer of each, with how many requests it served.
pub(super) async fn spread(
    proxy: SocketAddr,
    host: &str,
    wanted: usize,
    most: usize,
) -> anyhow::Result<BTreeMap<String, (Answer, usize)>> {
    let mut answers: BTreeMap<String, (Answer, usize)> = BTreeMap::new();
    for sent in 0..most {
        // Enough to see them share the work, not just the first answer of each.
        if answers.len() >= wanted && sent >= wanted * 5 {
            break;
        }
        let answer = get_from(proxy, host).await?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(
            answer.status.is_success(),
            "http://{host}/ answers {} {}",
            answer.status,
            text.trim()
        );
        let name = answer.instance.clone().unwrap_or_default();
        answers.entry(name).or_insert_with(|| (answer, 0)).1 += 1;
    }
    ensure!(
        answers.len() >= wanted,
        "only {} of {wanted} instances answered {most} requests to http://{host}/",
        answers.len()
    );
    Ok(answers)
}

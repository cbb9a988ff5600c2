//! The user of a simulated cluster: asks its HTTP APIs, its DNS and its edge over the simulated
//! network, and orders fate about.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use logic::model::{Allocation, Node};
use ports::{Random, TaskKey};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::pki_types::ServerName;

use crate::clock;
use crate::cluster::Size;
use crate::invariants::DESIRED_RESTORED;
use crate::order::Order;
use crate::sight::Sight;
use crate::tls;
use crate::trace::Trace;

/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long one request may take.
const DNS_AGAIN: Duration = Duration::from_millis(300);
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A person at a terminal, in simulated time.
#[derive(Clone)]
pub struct User {
    pub sight: Sight,
    pub trace: Trace,
    /// For choices that the seed should make.
    pub random: Random,
    pub size: Size,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl User {
    pub fn say(&self, what: &str) {
        self.trace.note(&format!("user: {what}"));
    }

    pub fn order(&self, order: Order) {
        self.sight.order(order);
    }

    /// Now, in simulated time.
    pub fn now(&self) -> Duration {
        clock::elapsed()
    }

    /// Waits until `look` says yes; fails with its last reason when `within` is over.
    pub async fn eventually<T, F>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let began = self.now();
        let found = self.eventually_quietly(what, within, &mut look).await?;
        let took = self.now().saturating_sub(began);
        self.say(&format!("{what}: after {:.3} s", took.as_secs_f64()));
        Ok(found)
    }

    /// The same without a word in the history.
    pub async fn eventually_quietly<T, F>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let began = self.now();
        loop {
            match look().await {
                Ok(found) => return Ok(found),
                Err(reason) if self.now().saturating_sub(began) > within => {
                    return Err(reason.context(format!("{what}: not within {within:?}")));
                }
                Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// One HTTP request to `host:port`.
    pub async fn http(
        &self,
        address: &str,
        method: &str,
        path: &str,
        host: &str,
        body: Option<&Value>,
    ) -> Result<Answer> {
        let asking = async {
            let stream = turmoil::net::TcpStream::connect(address.to_owned()).await?;
            ask(stream, method, path, host, body).await
        };
        match tokio::time::timeout(ANSWER_WITHIN, asking).await {
            Ok(answer) => answer,
            Err(_) => bail!("{method} {address}{path}: no answer within {ANSWER_WITHIN:?}"),
        }
    }

    /// One HTTPS request to `host:port`, which is asked for by this name; any certificate will do.
    pub async fn https(&self, address: &str, name: &str) -> Result<Answer> {
        let asking = async {
            let stream = turmoil::net::TcpStream::connect(address.to_owned()).await?;
            let named = ServerName::try_from(name.to_owned())?;
            let stream = tls::connector().connect(named, stream).await?;
            ask(stream, "GET", "/", name, None).await
        };
        match tokio::time::timeout(ANSWER_WITHIN, asking).await {
            Ok(answer) => answer,
            Err(_) => bail!("https://{name} at {address}: no answer within {ANSWER_WITHIN:?}"),
        }
    }

    /// One request to the Nomad API of a server that runs; of others, if that one fails.
    pub async fn api(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Value> {
        let mut servers = self.servers_up();
        ensure!(!servers.is_empty(), "no server runs");
        let first = self.pick(servers.len());
        servers.rotate_left(first);
        let mut failed = None;
        for server in servers {
            match self.api_at(&server, method, path, body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.context("no server was asked")?)
    }

    /// One request to the Nomad API of this agent.
    pub async fn api_at(
        &self,
        host: &str,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let address = format!("{host}:4646");
        let answer = self.http(&address, method, path, &address, body).await?;
        ensure!(
            answer.status == 200,
            "{method} {path} at {host}: {} {}",
            answer.status,
            answer.body
        );
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// A page of an agent's web page.
    pub async fn page(&self, host: &str, path: &str) -> Result<String> {
        let address = format!("{host}:4646");
        let answer = self.http(&address, "GET", path, &address, None).await?;
        let (status, body) = (answer.status, answer.body);
        ensure!(status == 200, "GET {path} at {host}: {status} {body}");
        Ok(body)
    }

    /// A number below `count`.
    pub fn pick(&self, count: usize) -> usize {
        usize::try_from(self.random.below(count as u64)).unwrap_or(0)
    }

    /// The servers whose agents run.
    pub fn servers_up(&self) -> Vec<String> {
        let mut servers = self.size.server_names();
        servers.retain(|server| self.sight.agent_is_up(server));
        servers
    }

    /// The one server that leads.
    pub fn leader(&self) -> Result<String> {
        match self.sight.leaders().as_slice() {
            [leader] => Ok(leader.clone()),
            leaders => bail!("{} lead", leaders.join(" and ")),
        }
    }

    /// Waits for a leader other than `old`.
    pub async fn another_leader(&self, old: &str, within: Duration) -> Result<String> {
        self.eventually("another server leads", within, || async {
            let mut leaders = self.sight.leaders();
            leaders.retain(|leader| leader != old);
            leaders.pop().context("none does")
        })
        .await
    }

    /// Waits until every agent runs, one server leads and every node is ready.
    pub async fn ready(&self) -> Result<()> {
        let wanted = self.size.client_names().len();
        self.eventually("the cluster is ready", Duration::from_secs(30), || async {
            for host in [self.size.server_names(), self.size.client_names()].concat() {
                ensure!(self.sight.agent_is_up(&host), "{host} isn't up");
            }
            self.leader()?;
            let ready = self.ready_nodes().await?.len();
            ensure!(ready == wanted, "{ready} nodes of {wanted} are ready");
            Ok(())
        })
        .await
    }

    /// Registers a job of one small task at this server.
    pub async fn register_small(&self, server: &str, name: &str) -> Result<Value> {
        let job = crate::load::job(name, 1, None);
        self.api_at(server, "PUT", "/v1/jobs", Some(&job)).await
    }

    /// Waits until this server's agent runs and knows what the others knew before.
    pub async fn caught_up(&self, server: &str, within: Duration) -> Result<()> {
        let stores = self.sight.stores();
        let newest = stores.values().map(|store| store.index()).max();
        let what = format!("{server} has caught up");
        self.eventually(&what, within, || async {
            let stores = self.sight.stores();
            let index = stores.get(server).context("it doesn't run")?.index();
            ensure!(Some(index) >= newest, "it is at {index} of {newest:?}");
            Ok(())
        })
        .await
    }

    /// Waits until everything is as it should be: all agents run, all servers know the same, every
    /// job runs as often as it should, and the machines run that and nothing else.
    pub async fn settled(&self, within: Duration) -> Result<()> {
        let settled = self.eventually("all is settled", within, || async { self.is_settled() });
        settled
            .await
            .map_err(|error| DESIRED_RESTORED.broken(format!("{error:#}")))
    }

    fn is_settled(&self) -> Result<()> {
        for host in [self.size.server_names(), self.size.client_names()].concat() {
            ensure!(self.sight.agent_is_up(&host), "{host} isn't up");
        }
        self.leader()?;
        let stores = self.sight.stores();
        let newest = stores.values().map(|store| store.index()).max();
        for (host, store) in &stores {
            let index = store.index();
            ensure!(Some(index) == newest, "{host} is only at {index}");
            logic::invariants::check_liveness(store)?;
            let ready = store.nodes().filter(|node| node.ready()).count();
            let wanted = self.size.client_names().len();
            ensure!(ready == wanted, "{ready} of {wanted} nodes are ready");
        }
        let store = stores.values().next().context("no server runs")?;
        let mut running = std::collections::BTreeMap::new();
        for host in self.size.client_names() {
            for key in self.sight.machine(&host)?.running() {
                running.insert(key.alloc_id, host.clone());
            }
        }
        for alloc in store.allocs().filter(|alloc| !alloc.terminal()) {
            let place = running.remove(&alloc.id);
            ensure!(
                place.as_ref() == Some(&alloc.node_name),
                "{} should run on {}, and runs on {place:?}",
                alloc.name,
                alloc.node_name
            );
        }
        if let Some((alloc, host)) = running.first_key_value() {
            bail!("{alloc} runs on {host}, and no server wants it");
        }
        Ok(())
    }

    pub async fn ready_nodes(&self) -> Result<Vec<Node>> {
        let nodes: Vec<Node> = serde_json::from_value(self.api("GET", "/v1/nodes", None).await?)?;
        Ok(nodes
            .into_iter()
            .filter(|node| node.status == "ready")
            .collect())
    }

    /// Registers a job file.
    pub async fn run_job(&self, file: &str, text: &str) -> Result<String> {
        let parsed = jobspec::parse_job(file, text.as_bytes())
            .map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let answer = self
            .api("PUT", "/v1/jobs", Some(&json!({ "Job": parsed.job })))
            .await?;
        answer["EvalID"]
            .as_str()
            .map(str::to_owned)
            .context("no evaluation was made")
    }

    /// The job's allocations that run and should run.
    pub async fn running(&self, job: &str) -> Result<Vec<Allocation>> {
        let list = self
            .api("GET", &format!("/v1/job/{job}/allocations"), None)
            .await?;
        let mut running = Vec::new();
        for stub in list.as_array().context("no list")? {
            if stub["ClientStatus"] == "running" && stub["DesiredStatus"] == "run" {
                let id = stub["ID"].as_str().context("no ID")?;
                let whole = self
                    .api("GET", &format!("/v1/allocation/{id}"), None)
                    .await?;
                running.push(serde_json::from_value(whole)?);
            }
        }
        Ok(running)
    }

    /// The instances DNS on `host` names: port and target of each SRV record, sorted.
    pub async fn srv(&self, host: &str, name: &str) -> Result<Vec<(u16, String)>> {
        let socket = turmoil::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let server = SocketAddr::new(turmoil::lookup(host), 8600);
        let number = u16::try_from(self.random.below(u64::from(u16::MAX))).unwrap_or(7);
        let mut query = Message::new(number, MessageType::Query, OpCode::Query);
        query.add_query(Query::query(Name::from_ascii(name)?, RecordType::SRV));
        let query = query.to_vec()?;
        let mut buffer = vec![0; 4_096];
        // Datagrams may be lost: a resolver asks again.
        let asking = async {
            loop {
                socket.send_to(&query, server).await?;
                let receiving = socket.recv_from(&mut buffer);
                if let Ok(received) = tokio::time::timeout(DNS_AGAIN, receiving).await {
                    return received;
                }
            }
        };
        let (length, _) = tokio::time::timeout(ANSWER_WITHIN, asking)
            .await
            .context("DNS didn't answer")??;
        let answer = Message::from_vec(&buffer[..length])?;
        let mut found: Vec<_> = answer
            .answers
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some((srv.port, srv.target.to_string())),
                _ => None,
            })
            .collect();
        found.sort();
        Ok(found)
    }

    /// One request over a connection that the edge of `host` passes on as it is.
    pub async fn through_tcp(&self, host: &str) -> Result<Answer> {
        self.http(&format!("{host}:9997"), "GET", "/", host, None)
            .await
    }

    /// One request through the edge of `host`.
    pub async fn through_edge(&self, host: &str, site: &str) -> Result<Answer> {
        self.http(&format!("{host}:9999"), "GET", "/", site, None)
            .await
    }
}

/// One HTTP request on a connection of its own.
async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    method: &str,
    path: &str,
    host: &str,
    body: Option<&Value>,
) -> Result<Answer> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::task::spawn_local(connection);
    let bytes = body.map(Value::to_string).unwrap_or_default();
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .body(Full::new(Bytes::from(bytes)))?;
    let response = sender.send_request(request).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    connection.abort();
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// The key of an allocation's only task.
pub fn only_task(alloc: &Allocation) -> Result<TaskKey> {
    let task = alloc
        .task_states
        .keys()
        .next()
        .context("the allocation has no task")?;
    Ok(TaskKey {
        alloc_id: alloc.id.clone(),
        task: task.clone(),
    })
}

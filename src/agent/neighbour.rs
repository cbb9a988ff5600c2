//! Servers that were told of nobody find each other through a Consul, ours or another: each
//! registers there, and greets whatever the catalog names.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use logic::membership::Member;
use ports::World;
use serde_json::{Value, json};

use crate::gossip::Gossip;

/// How often the catalog is asked while nobody is known, and once somebody is.
const ASK_EVERY: Duration = Duration::from_secs(1);
const ASK_AGAIN: Duration = Duration::from_secs(30);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Agents greeted in one go.
const GREETED_MAX: usize = 64;

/// Looks for others for as long as the agent runs.
pub(crate) async fn look_around(world: World, gossip: Gossip, me: Member, consul: String) {
    let mut told = false;
    loop {
        let found = match find(&world, &me, &consul).await {
            Ok(found) => found,
            Err(why) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(
                        consul,
                        why,
                        "the Consul to find other servers through is away"
                    );
                }
                BTreeSet::new()
            }
        };
        let alone = || gossip.members().borrow().iter().count() <= 1;
        if alone() && !found.is_empty() {
            let asked = found.into_iter().take(GREETED_MAX).collect();
            match gossip.join(asked).await {
                Ok(count) => tracing::info!(consul, count, "found others through a Consul"),
                Err(why) => tracing::debug!(why, "nobody of the Consul's catalog answers yet"),
            }
        }
        tokio::time::sleep(if alone() { ASK_EVERY } else { ASK_AGAIN }).await;
    }
}

/// Addresses of gossip that others may listen at.
async fn find(world: &World, me: &Member, consul: &str) -> Result<BTreeSet<String>, String> {
    let own = me.address.to_string();
    if me.server {
        let service = json!({
            "ID": "_nomad-server-serf",
            "Name": "nomad",
            "Tags": ["serf"],
            "Address": own,
            "Port": me.serf_port,
        });
        let path = "/v1/agent/service/register";
        // A catalog that takes no registrations still names its nodes.
        if let Err(why) = ask(world, consul, Method::PUT, path, Some(&service)).await {
            tracing::debug!(why, "no registration in the Consul");
        }
    }
    let path = "/v1/catalog/service/nomad?tag=serf&stale";
    let services = ask(world, consul, Method::GET, path, None).await?;
    let mut found = BTreeSet::new();
    for service in services.as_array().into_iter().flatten() {
        let address = ["ServiceAddress", "Address"]
            .iter()
            .filter_map(|field| service[field].as_str())
            .find(|address| !address.is_empty());
        if let (Some(address), Some(port)) = (address, service["ServicePort"].as_u64()) {
            found.insert((address.to_owned(), port));
        }
    }
    // Where a Consul's agent is, one of ours may be too.
    let nodes = ask(world, consul, Method::GET, "/v1/catalog/nodes?stale", None).await?;
    for node in nodes.as_array().into_iter().flatten() {
        if let Some(address) = node["Address"].as_str() {
            found.insert((address.to_owned(), u64::from(me.serf_port)));
        }
    }
    found.remove(&(own, u64::from(me.serf_port)));
    let written = |(address, port): (String, u64)| {
        if address.contains(':') {
            format!("[{address}]:{port}")
        } else {
            format!("{address}:{port}")
        }
    };
    Ok(found.into_iter().map(written).collect())
}

async fn ask(
    world: &World,
    consul: &str,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let asking = async {
        let stream = world.network.connect(consul.to_owned()).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Host", consul)
            .body(Full::new(body))
            .map_err(|error| error.to_string())?;
        let answer = async move {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            if !status.is_success() {
                return Err(format!(
                    "{path}: {status} {}",
                    String::from_utf8_lossy(&body)
                ));
            }
            Ok(serde_json::from_slice(&body).unwrap_or_default())
        };
        let mut answer = std::pin::pin!(answer);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            biased;
            answered = &mut answer => answered,
            _ = &mut connection => answer.await,
        }
    };
    tokio::time::timeout(ANSWER_WITHIN, asking)
        .await
        .unwrap_or_else(|_| Err(format!("{consul} doesn't answer")))
}

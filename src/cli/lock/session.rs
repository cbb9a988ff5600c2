//! The session that keeps a lock: renewed as long as its holder lives.

use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::http::{Client, RequestError, escaped};

/// How long a lock outlives its holder.
const TTL: Duration = Duration::from_secs(15);

#[derive(Debug, Deserialize)]
pub(super) struct Session {
    #[serde(rename = "ID")]
    pub(super) id: String,
}

impl Session {
    pub(super) async fn create(
        client: &Client,
        name: &str,
        behavior: &str,
    ) -> Result<Self, RequestError> {
        let ttl = format!("{}s", TTL.as_secs());
        let asked = json!({ "Name": name, "TTL": ttl, "Behavior": behavior });
        client.put("/v1/session/create", &asked).await
    }

    /// Renews it again and again; ends, with the reason, only if it isn't there any more.
    pub(super) async fn keep(&self, client: &Client) -> String {
        let path = format!("/v1/session/renew/{}", escaped(&self.id));
        let mut pause = TTL / 2;
        loop {
            tokio::time::sleep(pause).await;
            match client.put::<Value>(&path, &Value::Null).await {
                Ok(_) => pause = TTL / 2,
                Err(RequestError::Status { code: 404, .. }) => {
                    return "its session has ended".to_owned();
                }
                // Whether it has run out meanwhile, an answer will tell.
                Err(_) => pause = Duration::from_secs(1),
            }
        }
    }

    /// What can't be destroyed runs out.
    pub(super) async fn destroy(&self, client: &Client) {
        let path = format!("/v1/session/destroy/{}", escaped(&self.id));
        client.tell(Method::PUT, &path).await.ok();
    }
}

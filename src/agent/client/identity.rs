//! Who this node is: an id and a secret that stay the same for as long as its data directory.

use ports::World;
use ports::errors::DiskError;

use crate::error::StartError;

const ID: &str = "client/client-id";
const SECRET: &str = "client/secret-id";

/// A node's id, and the secret that proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    pub id: String,
    pub secret: String,
}

/// Reads the node's identity from disk; makes one at the first start.
pub async fn node_identity(world: &World) -> Result<NodeIdentity, StartError> {
    Ok(NodeIdentity {
        id: kept(world, ID).await?,
        secret: kept(world, SECRET).await?,
    })
}

async fn kept(world: &World, path: &str) -> Result<String, StartError> {
    match world.disk.read(path).await {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            if text.len() == 36 {
                return Ok(text);
            }
            tracing::warn!(path, "the node's identity is damaged: it gets a new one");
        }
        Err(DiskError::Missing { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let id = world.random.uuid();
    world.disk.write(path, id.clone().into_bytes()).await?;
    Ok(id)
}

//! What a node keeps of its allocations on disk, so that an agent that was killed goes on where
//! it was, without the servers: one file each.

use std::collections::BTreeMap;
use std::sync::Arc;

use logic::lifecycle::task::Saved;
use logic::model::{AllocReport, Allocation};
use ports::World;
use ports::errors::DiskError;
use serde::{Deserialize, Serialize};

use crate::checked_file;

const FOLDER: &str = "client/allocs";
const KIND: &str = "drover-allocation";
const SET_ASIDE: &str = ".damaged-";

/// What is kept of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct KeptTask {
    pub(super) machine: Saved,
    /// The last status of each of its checks, while it is up.
    pub(super) checks: BTreeMap<String, String>,
}

/// What is kept of an allocation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct KeptAlloc {
    pub(super) alloc: Arc<Allocation>,
    pub(super) tasks: BTreeMap<String, KeptTask>,
    pub(super) ended: bool,
    /// What the servers haven't confirmed yet to have heard.
    pub(super) report: Option<AllocReport>,
}

/// What was found on disk.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) allocs: Vec<KeptAlloc>,
    /// Some of it could not be read.
    pub(super) damaged: bool,
}

fn path(alloc_id: &str) -> String {
    format!("{FOLDER}/{alloc_id}")
}

/// Writes an allocation's file, or removes it if there is nothing to keep.
pub(super) async fn write(
    world: &World,
    alloc_id: &str,
    kept: Option<&KeptAlloc>,
) -> Result<(), DiskError> {
    let path = path(alloc_id);
    let Some(kept) = kept else {
        return world.disk.remove(&path).await;
    };
    let bytes = checked_file::encode(KIND, kept).map_err(|reason| DiskError::Failed {
        path: path.clone(),
        reason,
    })?;
    world.disk.write(&path, bytes).await
}

/// Reads all files. One that can't be read is set aside.
pub(super) async fn load(world: &World) -> Loaded {
    let mut loaded = Loaded::default();
    let names = match world.disk.list(FOLDER).await {
        Ok(names) => names,
        Err(error) => {
            tracing::warn!(%error, "what ran here before can't be read: the engine and the servers are asked");
            loaded.damaged = true;
            return loaded;
        }
    };
    let mut problems = Vec::new();
    // Names with a dot are files set aside, or never completed.
    for name in names.iter().filter(|name| !name.contains('.')) {
        match world.disk.read(&path(name)).await {
            Ok(bytes) => match checked_file::decode::<KeptAlloc>(KIND, &bytes) {
                Ok(kept) if kept.alloc.id == *name => loaded.allocs.push(kept),
                Ok(_) => {
                    set_aside(world, name, bytes).await;
                    problems.push(format!("{name}: it is another allocation's"));
                }
                Err(reason) => {
                    set_aside(world, name, bytes).await;
                    problems.push(format!("{name}: {reason}"));
                }
            },
            Err(error) => problems.push(error.to_string()),
        }
    }
    if !problems.is_empty() {
        loaded.damaged = true;
        tracing::warn!(
            files = problems.join("; "),
            "the state of some allocations is damaged and was set aside in {FOLDER}: their tasks \
             run on until a server says what is wanted"
        );
    }
    loaded
}

async fn set_aside(world: &World, name: &str, bytes: Vec<u8>) {
    let aside = format!("{}{SET_ASIDE}{}", path(name), world.clock.now().secs());
    let moved = match world.disk.write(&aside, bytes).await {
        Ok(()) => world.disk.remove(&path(name)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = moved {
        tracing::debug!(%error, "a damaged file could not be set aside");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> KeptAlloc {
        let alloc = Allocation {
            id: "a1".to_owned(),
            name: "web.web[0]".to_owned(),
            job: Some(Arc::default()),
            ..Allocation::default()
        };
        let task = KeptTask {
            machine: Saved {
                restarts_used: 2,
                wake_at: Some(logic::time::Time(1_700_000_000_123_456_789)),
                ..Saved::default()
            },
            checks: BTreeMap::from([("c1".to_owned(), "passing".to_owned())]),
        };
        KeptAlloc {
            report: Some(logic::lifecycle::report("a1", &BTreeMap::new())),
            alloc: Arc::new(alloc),
            tasks: BTreeMap::from([("web".to_owned(), task)]),
            ended: true,
        }
    }

    fn decode(bytes: &[u8]) -> Result<KeptAlloc, String> {
        checked_file::decode(KIND, bytes)
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = checked_file::encode(KIND, &kept()).expect("JSON");
        assert_eq!(decode(&bytes), Ok(kept()));
    }

    #[test]
    fn damage_at_any_place_is_found() {
        let whole = checked_file::encode(KIND, &kept()).expect("JSON");
        for at in 0..whole.len() {
            for bit in [0x01, 0x20, 0x80] {
                let mut damaged = whole.clone();
                damaged[at] ^= bit;
                assert!(decode(&damaged).is_err(), "byte {at}, bit {bit:#x}");
            }
            assert!(decode(&whole[..at]).is_err(), "cut off at {at}");
        }
        assert!(decode(&[&whole[..], b"}"].concat()).is_err());
    }

    #[test]
    fn fields_that_an_older_version_did_not_know_have_defaults() {
        let older = serde_json::json!({ "alloc": { "ID": "a1" }, "later": 1 });
        let older = checked_file::encode(KIND, &older).expect("JSON");
        let alloc = decode(&older).map(|kept| kept.alloc.id.clone());
        assert_eq!(alloc, Ok("a1".to_owned()));
    }
}

//! What a node keeps of its allocations on disk, so that an agent that was killed goes on where
//! it was, without the servers: one file each, a line that tells version and checksum, then JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use logic::lifecycle::task::Saved;
use logic::model::{AllocReport, Allocation};
use ports::World;
use ports::errors::DiskError;
use serde::{Deserialize, Serialize};

const FOLDER: &str = "client/allocs";
const MARK: &str = "drover-allocation";
/// Raised when an older version could misread a file; fields may come without that.
const VERSION: u32 = 1;
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

/// FNV-1a: finds every damage that isn't made on purpose.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn first_line(body: &[u8]) -> String {
    format!("{MARK} {VERSION} {:016x}", checksum(body))
}

fn encode(kept: &KeptAlloc) -> Result<Vec<u8>, String> {
    let body = serde_json::to_vec(kept).map_err(|error| error.to_string())?;
    Ok([first_line(&body).as_bytes(), b"\n", &body].concat())
}

fn decode(bytes: &[u8]) -> Result<KeptAlloc, String> {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let Some((line, rest)) = end.and_then(|end| bytes.split_at_checked(end)) else {
        return Err("it is cut off".to_owned());
    };
    let body = rest.get(1..).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    if words.next() != Some(MARK) {
        return Err("it is no allocation's state".to_owned());
    }
    let version = words.next().and_then(|word| word.parse::<u32>().ok());
    if version.is_some_and(|version| version > VERSION) {
        return Err("a newer version of Drover wrote it".to_owned());
    }
    if line != first_line(body) {
        return Err("its checksum is wrong".to_owned());
    }
    serde_json::from_slice(body).map_err(|error| error.to_string())
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
    let bytes = encode(kept).map_err(|reason| DiskError::Failed {
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
            Ok(bytes) => match decode(&bytes) {
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

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(decode(&encode(&kept()).unwrap()), Ok(kept()));
    }

    #[test]
    fn damage_at_any_place_is_found() {
        let whole = encode(&kept()).unwrap();
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
    fn a_newer_version_is_not_guessed_at() {
        let body = b"{}";
        let line = first_line(body).replacen(" 1 ", " 2 ", 1);
        let newer = [line.as_bytes(), b"\n", body].concat();
        let reason = decode(&newer).unwrap_err();
        assert!(reason.contains("newer"), "{reason}");
    }

    #[test]
    fn fields_that_an_older_version_did_not_know_have_defaults() {
        let body = br#"{"alloc":{"ID":"a1"},"later":1}"#;
        let older = [first_line(body).as_bytes(), b"\n", body].concat();
        assert_eq!(
            decode(&older).map(|kept| kept.alloc.id.clone()),
            Ok("a1".to_owned())
        );
    }
}

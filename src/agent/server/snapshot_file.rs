//! A snapshot of the whole state as a file: what `operator snapshot save` writes.

use logic::state::{Dump, Store};
use serde::{Deserialize, Serialize};

use crate::checked_file::checksum;
use crate::wire;

/// What every such file begins with; the digit is the format's version.
const MAGIC: &[u8] = b"drover-snapshot-3\n";
const ANY_VERSION: &[u8] = b"drover-snapshot-";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotFile {
    /// Of the server that wrote it.
    pub version: String,
    pub term: u64,
    pub dump: Dump,
}

/// The file's bytes: the magic, a checksum, the encoded content.
pub fn write(term: u64, state: &Store) -> Result<Vec<u8>, String> {
    let file = SnapshotFile {
        version: crate::VERSION.to_owned(),
        term,
        dump: state.dump(),
    };
    let content = wire::encode(&file).map_err(|error| error.to_string())?;
    Ok([MAGIC, &checksum(&content).to_be_bytes(), &content].concat())
}

pub fn read(bytes: &[u8]) -> Result<SnapshotFile, String> {
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or(if bytes.starts_with(ANY_VERSION) {
            "another version of Drover wrote the snapshot, in a format of its own: restore it there"
        } else {
            "this isn't a snapshot that `operator snapshot save` wrote"
        })?;
    let (sum, content) = rest
        .split_first_chunk::<8>()
        .ok_or("the snapshot is cut short")?;
    if checksum(content) != u64::from_be_bytes(*sum) {
        return Err("the snapshot is damaged: its checksum is wrong".to_owned());
    }
    wire::decode_own(content).map_err(|error| format!("the snapshot can't be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_comes_back_as_it_was_and_damage_is_noticed() {
        let bytes = write(3, &Store::default()).expect("writes");
        let file = read(&bytes).expect("reads");
        assert_eq!((file.term, file.dump), (3, Store::default().dump()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(read(&damaged).is_err(), "byte {at}");
            assert!(read(&bytes[..at]).is_err(), "cut at {at}");
        }
    }
}

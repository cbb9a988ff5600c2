//! A file of the disk port, as redb wants it.

use std::io;
use std::sync::Arc;

use ports::File;
use redb::StorageBackend;

use crate::planted::{self, Planted};

#[derive(Debug)]
pub(super) struct OnDisk(pub(super) Arc<dyn File>);

impl StorageBackend for OnDisk {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        if planted::is(Planted::SkippedFsync) {
            return Ok(());
        }
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write_at(offset, data)
    }
}

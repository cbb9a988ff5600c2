//! `snapshot save|restore|inspect`: the whole state as a file, and back.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use hyper::Method;

use super::connection::Reach;
use super::exit::{Exit, Failure, Outcome};
use super::{format, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand<R: Reach> {
    Save(Save<R>),
    Restore(Restore<R>),
}

impl<R: Reach> SnapshotCommand<R> {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Save(command) => command.run().await,
            Self::Restore(command) => command.run().await,
        }
    }
}

/// Save the whole state to a file
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover operator snapshot save backup.snap")]
pub(super) struct Save<R: Reach> {
    /// Where to; an existing file is replaced once the snapshot is there
    file: PathBuf,
    #[command(flatten)]
    connection: R,
}

/// Replace the whole state, on all servers, by a file's
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover operator snapshot restore backup.snap")]
pub(super) struct Restore<R: Reach> {
    file: PathBuf,
    #[command(flatten)]
    connection: R,
}

impl<R: Reach> Save<R> {
    async fn run(self) -> Outcome {
        let client = self.connection.reach()?;
        let got = client.bytes(Method::GET, R::SNAPSHOT, Vec::new()).await;
        let bytes = got.map_err(|error| Failure::from(error).during("Error saving snapshot"))?;
        write_whole(&self.file, &bytes).map_err(|error| {
            let file = self.file.display();
            Failure::new(format!(
                "Error saving snapshot: can't write {file}: {error}"
            ))
        })?;
        let size = format::bytes(bytes.len() as u64);
        terminal::print(&format!("Saved {size} to {}", self.file.display()));
        Ok(Exit::Done)
    }
}

/// Writes a file that is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let written = fs::File::create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    });
    if written.is_err() {
        // Whatever is wrong with it was told already.
        fs::remove_file(&unfinished).ok();
    }
    written
}

impl<R: Reach> Restore<R> {
    async fn run(self) -> Outcome {
        let client = self.connection.reach()?;
        let file = self.file.display();
        let bytes = fs::read(&self.file).map_err(|error| {
            Failure::new(format!(
                "Error restoring snapshot: can't read {file}: {error}"
            ))
        })?;
        let restored = client.bytes(Method::PUT, R::SNAPSHOT, bytes).await;
        restored.map_err(|error| Failure::from(error).during("Error restoring snapshot"))?;
        terminal::print(&format!("Restored {file}"));
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_only_by_a_whole_one() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let file = folder.path().join("backup.snap");
        for bytes in [&b"first"[..], b"second"] {
            write_whole(&file, bytes).expect("written");
            assert_eq!(fs::read(&file).expect("read"), bytes);
        }
        let nowhere = folder.path().join("no/such/folder");
        assert!(write_whole(&nowhere, b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }
}

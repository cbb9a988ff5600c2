//! `snapshot save|restore|inspect`: the whole state as a file, and back.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use agent::server::snapshot_file::{self, SnapshotFile};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::connection::Reach;
use super::exit::{Exit, Failure, Outcome};
use super::{format, terminal};

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand<R: Reach> {
    Save(Save<R>),
    Restore(Restore<R>),
    Inspect(Inspect),
}

impl<R: Reach> SnapshotCommand<R> {
    pub(super) async fn run(self) -> Outcome {
        match self {
            Self::Save(command) => command.run().await,
            Self::Restore(command) => command.run().await,
            Self::Inspect(command) => command.run(),
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

/// Show what a file holds, without an agent
#[derive(Args, Debug)]
#[command(after_help = "Example:
  $ drover operator snapshot inspect backup.snap")]
pub(super) struct Inspect {
    file: PathBuf,
    /// The same as JSON
    #[arg(long)]
    json: bool,
}

impl Inspect {
    fn run(self) -> Outcome {
        let file = self.file.display();
        let failed = |why: String| Failure::new(format!("Error inspecting snapshot: {why}"));
        let bytes = fs::read(&self.file);
        let bytes = bytes.map_err(|error| failed(format!("can't read {file}: {error}")))?;
        let snapshot = snapshot_file::read(&bytes);
        let snapshot = snapshot.map_err(|why| failed(format!("{file}: {why}")))?;
        terminal::print(&if self.json {
            format::json(&as_json(&snapshot, bytes.len()))
        } else {
            render(&snapshot, bytes.len())
        });
        Ok(Exit::Done)
    }
}

/// How many rows of each kind there are.
fn rows(snapshot: &SnapshotFile) -> [(&'static str, usize); 9] {
    let dump = &snapshot.dump;
    [
        ("Jobs", dump.jobs.len()),
        ("Job versions", dump.versions.len()),
        ("Nodes", dump.nodes.len()),
        ("Allocations", dump.allocs.len()),
        ("Evaluations", dump.evals.len()),
        ("Catalog nodes", dump.catalog_nodes.len()),
        ("Services", dump.services.len()),
        ("Checks", dump.checks.len()),
        ("Keys", dump.kv.rows.len()),
    ]
}

fn as_json(snapshot: &SnapshotFile, size: usize) -> Value {
    let rows = rows(snapshot).map(|(kind, count)| (in_camel_case(kind), count.into()));
    json!({
        "Index": snapshot.dump.index,
        "Term": snapshot.term,
        "Version": snapshot.version,
        "Size": size,
        "Rows": Value::Object(rows.into_iter().collect()),
    })
}

/// `Job versions` as JSON has it: `JobVersions`.
fn in_camel_case(words: &str) -> String {
    let capital = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_uppercase() + rest
    };
    words.split(' ').map(capital).collect()
}

fn render(snapshot: &SnapshotFile, size: usize) -> String {
    let facts = format::pairs(&[
        ("Index", snapshot.dump.index.to_string()),
        ("Term", snapshot.term.to_string()),
        ("Version", snapshot.version.clone()),
        ("Size", format::bytes(size as u64)),
    ]);
    let rows = rows(snapshot).map(|(kind, count)| [kind.to_owned(), count.to_string()]);
    let rows = format::table(["Kind", "Rows"], rows.into());
    format!("{facts}\n\n{rows}")
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
    fn a_snapshot_is_inspected_without_an_agent() {
        let store = logic::state::Store::default();
        let bytes = snapshot_file::write(7, &store).expect("a snapshot");
        let snapshot = snapshot_file::read(&bytes).expect("readable");
        let shown = render(&snapshot, 2_048);
        assert!(
            shown.starts_with("Index   = 0\nTerm    = 7\nVersion = "),
            "{shown}"
        );
        assert!(
            shown.contains("Size    = 2.0 KiB\n\nKind           Rows\nJobs           0\n"),
            "{shown}"
        );
        let json = as_json(&snapshot, bytes.len());
        assert_eq!(
            (&json["Term"], &json["Rows"]["JobVersions"]),
            (&json!(7), &json!(0))
        );
    }

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

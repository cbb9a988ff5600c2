//! The data directory on the machine's disk.

use std::fs::{self, DirBuilder, OpenOptions, TryLockError};
use std::io::{Error as IoError, ErrorKind, Result as IoResult, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ports::errors::DiskError;
use ports::{Asked, Disk, File};

/// The file that an agent locks.
const LOCK: &str = ".lock";

/// Where an agent's state lives. One made for a single run goes away with the last holder.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    temporary: bool,
    /// Held so that no other agent uses the directory; goes with the process, however it ends.
    lock: OnceLock<fs::File>,
}

impl DataDir {
    pub(crate) fn kept(path: impl Into<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            path: path.into(),
            temporary: false,
            lock: OnceLock::new(),
        })
    }

    pub(crate) fn temporary(id: &str) -> Arc<Self> {
        Arc::new(Self {
            path: std::env::temp_dir().join(format!("drover-dev-{id}")),
            temporary: true,
            lock: OnceLock::new(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> Result<(), DiskError> {
        if self.lock.get().is_some() {
            return Ok(());
        }
        let path = self.path.join(LOCK);
        let file = private_file(&path).map_err(|cause| error(&path, &cause))?;
        match file.try_lock() {
            Ok(()) => {
                self.lock.get_or_init(|| file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(DiskError::Failed {
                path: self.path.display().to_string(),
                reason: "another agent uses this directory: stop it, or give this one another \
                         data_dir"
                    .to_owned(),
            }),
            Err(TryLockError::Error(cause)) => Err(error(&path, &cause)),
        }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.temporary {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

pub(crate) struct HostDisk {
    root: Arc<DataDir>,
}

impl HostDisk {
    pub(crate) fn new(root: Arc<DataDir>) -> Self {
        Self { root }
    }

    fn path(&self, path: &str) -> Result<PathBuf, DiskError> {
        let relative = Path::new(path);
        let inside = relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if inside {
            Ok(self.root.path.join(relative))
        } else {
            Err(DiskError::Failed {
                path: path.to_owned(),
                reason: "not a path inside the data directory".to_owned(),
            })
        }
    }

    /// Runs blocking file operations on the runtime's thread for them.
    fn blocking<T: Send + 'static>(
        &self,
        path: &str,
        work: impl FnOnce(&Path) -> IoResult<T> + Send + 'static,
    ) -> Asked<'_, Result<T, DiskError>> {
        let path = self.path(path);
        Box::pin(async move {
            let path = path?;
            let task = tokio::task::spawn_blocking(move || {
                work(&path).map_err(|cause| error(&path, &cause))
            });
            match task.await {
                Ok(result) => result,
                Err(_) => Err(DiskError::Failed {
                    path: self.root.path.display().to_string(),
                    reason: "the runtime is shutting down".to_owned(),
                }),
            }
        })
    }
}

pub(crate) fn error(path: &Path, error: &IoError) -> DiskError {
    let path = path.display().to_string();
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => DiskError::Denied { path },
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskError::Full { path },
        ErrorKind::NotFound => DiskError::Missing { path },
        _ => DiskError::Failed {
            path,
            reason: error.to_string(),
        },
    }
}

impl Disk for HostDisk {
    fn prepare(&self) -> Result<(), DiskError> {
        let root = &self.root.path;
        if root.as_os_str().is_empty() {
            return Err(DiskError::Failed {
                path: "data_dir".to_owned(),
                reason: "not set: name a directory for the agent's state".to_owned(),
            });
        }
        create_durably(root).map_err(|cause| error(root, &cause))?;
        let probe = root.join(format!(".write-test-{}", std::process::id()));
        let tested = fs::write(&probe, b"test").and_then(|()| fs::remove_file(&probe));
        tested.map_err(|cause| error(root, &cause))?;
        self.root.lock()
    }

    fn open(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        let path = self.path(path)?;
        let opened = || {
            create_parents(&path)?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)?;
            if let Some(folder) = path.parent() {
                sync_dir(folder)?;
            }
            Ok(file)
        };
        match opened() {
            Ok(file) => Ok(Arc::new(HostFile { file })),
            Err(cause) => Err(error(&path, &cause)),
        }
    }

    fn read(&self, path: &str) -> Asked<'_, Result<Vec<u8>, DiskError>> {
        self.blocking(path, |path| fs::read(path))
    }

    fn write(&self, path: &str, bytes: Vec<u8>) -> Asked<'_, Result<(), DiskError>> {
        self.blocking(path, move |path| {
            create_parents(path)?;
            replace_durably(path, &bytes)
        })
    }

    fn remove(&self, path: &str) -> Asked<'_, Result<(), DiskError>> {
        self.blocking(path, remove_durably)
    }

    fn list(&self, path: &str) -> Asked<'_, Result<Vec<String>, DiskError>> {
        self.blocking(path, |path| {
            let entries = match fs::read_dir(path) {
                Ok(entries) => entries,
                Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(cause) => return Err(cause),
            };
            let mut names = Vec::new();
            for entry in entries {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if !name.ends_with(UNFINISHED) {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        })
    }
}

/// What the new version of a file is called until it is complete.
const UNFINISHED: &str = ".unfinished";

pub(crate) fn create_private_dir(path: &Path) -> IoResult<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn create_parents(path: &Path) -> IoResult<()> {
    path.parent().map_or(Ok(()), create_durably)
}

/// Makes a folder, and those it is in, so that a power cut doesn't take them away again.
fn create_durably(folder: &Path) -> IoResult<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| *above != "");
    above.map_or(Ok(()), create_durably)?;
    // Fine if somebody else has just made it.
    create_private_dir(folder)?;
    sync_dir(above.unwrap_or(Path::new(".")))
}

fn sync_dir(path: &Path) -> IoResult<()> {
    fs::File::open(path)?.sync_all()
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

/// Replaces a file so that after a power cut it is either the old or the new one.
fn replace_durably(path: &Path, bytes: &[u8]) -> IoResult<()> {
    let new = unfinished(path);
    let mut file = private_file(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Replaces a file so that no reader ever sees half of it; doesn't wait for the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> IoResult<()> {
    let new = unfinished(path);
    private_file(&new)?.write_all(bytes)?;
    fs::rename(&new, path)
}

fn private_file(path: &Path) -> IoResult<fs::File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

pub(crate) fn remove_all(path: &Path) -> IoResult<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(cause) => Err(cause),
    };
    match removed {
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn remove_durably(path: &Path) -> IoResult<()> {
    remove_all(path)?;
    match path.parent().map_or(Ok(()), sync_dir) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[derive(Debug)]
struct HostFile {
    file: fs::File,
}

impl File for HostFile {
    fn len(&self) -> IoResult<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> IoResult<()> {
        self.file.read_exact_at(out, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> IoResult<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> IoResult<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> IoResult<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_dev_agent_goes_away_with_it() {
        let data = DataDir::temporary("test-of-removal");
        let path = data.path().to_owned();
        HostDisk::new(data.clone()).prepare().expect("writable");
        assert!(path.is_dir());
        drop(data);
        assert!(!path.exists());
    }

    #[test]
    fn two_agents_cannot_use_one_directory() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let first = HostDisk::new(DataDir::kept(folder.path()));
        first.prepare().expect("writable");
        first.prepare().expect("its own");
        let second = HostDisk::new(DataDir::kept(folder.path()));
        let error = second.prepare().expect_err("in use").to_string();
        let path = folder.path().display().to_string();
        assert!(error.starts_with(&path), "{error}");
        assert!(error.contains("another agent"), "{error}");
        drop(first);
        second.prepare().expect("free again");
    }

    #[tokio::test]
    async fn paths_cannot_leave_the_data_directory() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let disk = HostDisk::new(DataDir::kept(folder.path()));
        for path in ["../x", "/etc/passwd", "a/../../x"] {
            assert!(disk.read(path).await.is_err(), "{path}");
            assert!(disk.open(path).is_err(), "{path}");
        }
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_made_is_named_in_the_error() {
        let disk = HostDisk::new(DataDir::kept("/dev/null/data"));
        let error = disk.prepare().expect_err("not a directory").to_string();
        assert!(error.starts_with("/dev/null/data: "), "{error}");
    }
}

//! Where allocations keep their files:
//! `ALLOC_DIR/ALLOC_ID/{alloc/{data,logs,tmp},TASK/{local,secrets,tmp}}`.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::Result as IoResult;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ports::errors::ContainersError;
use ports::{LogStream, TaskKey};

use crate::disk::{DataDir, create_private_dir, remove_all};

#[derive(Clone, Debug)]
pub(crate) struct AllocDirs {
    root: PathBuf,
    /// Keeps a temporary data directory from being removed.
    _data: Arc<DataDir>,
}

/// An allocation's directories as its task sees them.
pub(crate) struct Seen {
    pub(crate) alloc: String,
    pub(crate) local: String,
    pub(crate) secrets: String,
}

impl Seen {
    pub(crate) fn in_container() -> Self {
        Self {
            alloc: "/alloc".to_owned(),
            local: "/local".to_owned(),
            secrets: "/secrets".to_owned(),
        }
    }

    /// The job's environment, and where the directories are.
    pub(crate) fn env(&self, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut env = given.clone();
        for (name, path) in [
            ("NOMAD_ALLOC_DIR", &self.alloc),
            ("NOMAD_TASK_DIR", &self.local),
            ("NOMAD_SECRETS_DIR", &self.secrets),
        ] {
            env.insert(name.to_owned(), path.clone());
        }
        env
    }
}

/// Ids and task names become names of folders; these could lead elsewhere.
fn checked(name: &str) -> Result<&str, ContainersError> {
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    if plain {
        Ok(name)
    } else {
        Err(ContainersError::Refused(format!(
            "`{name}` can't be the name of a folder: leave out slashes"
        )))
    }
}

impl AllocDirs {
    pub(crate) fn new(root: PathBuf, data: Arc<DataDir>) -> Self {
        Self { root, _data: data }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn alloc(&self, alloc_id: &str) -> Result<PathBuf, ContainersError> {
        Ok(self.root.join(checked(alloc_id)?))
    }

    pub(crate) fn shared(&self, key: &TaskKey) -> Result<PathBuf, ContainersError> {
        Ok(self.alloc(&key.alloc_id)?.join("alloc"))
    }

    pub(crate) fn logs(&self, key: &TaskKey) -> Result<PathBuf, ContainersError> {
        Ok(self.shared(key)?.join("logs"))
    }

    pub(crate) fn task(&self, key: &TaskKey) -> Result<PathBuf, ContainersError> {
        Ok(self.alloc(&key.alloc_id)?.join(checked(&key.task)?))
    }

    pub(crate) fn on_host(&self, key: &TaskKey) -> Result<Seen, ContainersError> {
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let task = self.task(key)?;
        Ok(Seen {
            alloc: text(self.shared(key)?),
            local: text(task.join("local")),
            secrets: text(task.join("secrets")),
        })
    }

    /// Makes all directories of a task. Tasks may run as any user, so they may be written by all;
    /// the way there is closed to others by the data directory.
    pub(crate) fn create(&self, key: &TaskKey) -> Result<(), ContainersError> {
        let (shared, task) = (self.shared(key)?, self.task(key)?);
        let made = || -> IoResult<()> {
            create_private_dir(&self.root)?;
            for name in ["data", "tmp"] {
                open_dir(&shared.join(name), 0o777)?;
            }
            open_dir(&shared.join("logs"), 0o755)?;
            for (name, mode) in [("local", 0o777), ("secrets", 0o777), ("tmp", 0o777)] {
                open_dir(&task.join(name), mode)?;
            }
            Ok(())
        };
        made().map_err(|error| {
            let path = self.root.join(&key.alloc_id);
            ContainersError::Failed(format!(
                "can't make the task's directories in {}: {error}",
                path.display()
            ))
        })
    }

    pub(crate) fn forget(&self, alloc_id: &str) -> Result<(), ContainersError> {
        let path = self.alloc(alloc_id)?;
        remove_all(&path).map_err(|error| {
            ContainersError::Failed(format!("can't remove {}: {error}", path.display()))
        })
    }

    pub(crate) fn stream(
        &self,
        key: &TaskKey,
        stream: LogStream,
    ) -> Result<(PathBuf, String), ContainersError> {
        let task = checked(&key.task)?;
        Ok((self.logs(key)?, log_name(task, stream)))
    }
}

pub(crate) fn log_name(task: &str, stream: LogStream) -> String {
    match stream {
        LogStream::Stdout => format!("{task}.stdout"),
        LogStream::Stderr => format!("{task}.stderr"),
    }
}

fn open_dir(path: &Path, mode: u32) -> IoResult<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_the_directory_are_refused() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let dirs = AllocDirs::new(folder.path().join("alloc"), DataDir::kept(folder.path()));
        for (alloc_id, task) in [("..", "t"), ("a", "../t"), ("a/b", "t"), ("", "t")] {
            let key = TaskKey {
                alloc_id: alloc_id.to_owned(),
                task: task.to_owned(),
            };
            assert!(
                matches!(dirs.create(&key), Err(ContainersError::Refused(_))),
                "{key}"
            );
        }
    }

    #[test]
    fn forgetting_an_allocation_removes_all_its_directories() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let dirs = AllocDirs::new(folder.path().join("alloc"), DataDir::kept(folder.path()));
        let key = TaskKey {
            alloc_id: "a".to_owned(),
            task: "t".to_owned(),
        };
        dirs.create(&key).expect("made");
        for path in [
            "alloc/a/alloc/data",
            "alloc/a/alloc/logs",
            "alloc/a/t/local",
        ] {
            assert!(folder.path().join(path).is_dir(), "{path}");
        }
        dirs.forget("a").expect("removed");
        dirs.forget("a").expect("removing what is gone is fine");
        assert!(!folder.path().join("alloc/a").exists());
    }
}

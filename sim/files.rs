//! The files of simulated allocations: what their tasks have printed.

use std::collections::{BTreeMap, BTreeSet};

use ports::errors::ContainersError;
use ports::{FileInfo, Found, LogChunk, TaskKey};

/// By task, and whether it is its standard error.
type Logs = BTreeMap<(TaskKey, bool), Vec<u8>>;

/// What is at a path of an allocation: `alloc/logs`, and an empty folder for each task.
pub(crate) fn look(logs: &Logs, alloc_id: &str, path: &str) -> Result<Found, ContainersError> {
    let own: Vec<_> = logs
        .iter()
        .filter(|((key, _), _)| key.alloc_id == alloc_id)
        .collect();
    let tasks: BTreeSet<_> = own.iter().map(|((key, _), _)| key.task.as_str()).collect();
    if tasks.is_empty() {
        return Err(missing(path));
    }
    match parts(path)?.as_slice() {
        [] => {
            let names = ["alloc"].into_iter().chain(tasks);
            Ok(folder("", names.map(dir).collect()))
        }
        ["alloc"] => Ok(folder("alloc", vec![dir("logs")])),
        ["alloc", "logs"] => {
            let mut files: Vec<_> = own.iter().map(|(key, log)| file(key, log)).collect();
            files.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(folder("logs", files))
        }
        ["alloc", "logs", name] => {
            let mut files = own.iter().map(|(key, log)| file(key, log));
            let found = files.find(|file| file.name == *name);
            found.map(Found::File).ok_or_else(|| missing(path))
        }
        [task] if tasks.contains(task) => Ok(folder(task, Vec::new())),
        _ => Err(missing(path)),
    }
}

pub(crate) fn read(
    logs: &Logs,
    alloc_id: &str,
    path: &str,
    offset: u64,
    max: usize,
) -> Result<LogChunk, ContainersError> {
    let Found::File(found) = look(logs, alloc_id, path)? else {
        let text = format!("`{path}` is no file that can be read");
        return Err(ContainersError::Refused(text));
    };
    let mut own = logs.iter().filter(|((key, _), _)| key.alloc_id == alloc_id);
    let log = own.find(|(key, log)| file(key, log).name == found.name);
    Ok(piece(log.map_or(&[], |(_, log)| log), offset, max))
}

/// Up to `max` bytes from `offset`.
pub(crate) fn piece(bytes: &[u8], offset: u64, max: usize) -> LogChunk {
    let from = usize::try_from(offset).map_or(bytes.len(), |from| from.min(bytes.len()));
    let to = from.saturating_add(max).min(bytes.len());
    LogChunk {
        offset: from as u64,
        data: bytes.get(from..to).unwrap_or_default().to_vec(),
        end: bytes.len() as u64,
    }
}

fn parts(path: &str) -> Result<Vec<&str>, ContainersError> {
    let parts: Vec<_> = path
        .split('/')
        .filter(|part| !["", "."].contains(part))
        .collect();
    let refused = |why: &str| Err(ContainersError::Refused(format!("`{path}` {why}")));
    if parts.contains(&"..") {
        return refused("leads out of the allocation's directory");
    }
    if parts.get(1) == Some(&"secrets") {
        return refused("holds secrets, which aren't shown");
    }
    Ok(parts)
}

fn missing(path: &str) -> ContainersError {
    ContainersError::Missing(format!(
        "there is no `{path}` in the allocation's directory"
    ))
}

fn folder(name: &str, inside: Vec<FileInfo>) -> Found {
    Found::Folder(dir(name), inside)
}

fn dir(name: &str) -> FileInfo {
    FileInfo {
        name: name.to_owned(),
        is_dir: true,
        mode: "drwxr-xr-x".to_owned(),
        ..FileInfo::default()
    }
}

fn file((key, stderr): &(TaskKey, bool), log: &[u8]) -> FileInfo {
    let stream = if *stderr { "stderr" } else { "stdout" };
    FileInfo {
        name: format!("{}.{stream}.0", key.task),
        size: log.len() as u64,
        mode: "-rw-r--r--".to_owned(),
        ..FileInfo::default()
    }
}

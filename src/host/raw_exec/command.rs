//! What a job's `config` block makes a plain process run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use logic::model::Value;
use ports::TaskSpec;
use ports::errors::ContainersError;

use crate::dirs::Seen;

/// The program: an absolute path, or one in the task's directories, or a name in PATH.
pub(super) fn resolve(spec: &TaskSpec, task_dir: &Path) -> Result<PathBuf, ContainersError> {
    let name = match spec.config.get("command") {
        Some(Value::String(name)) if !name.is_empty() => name,
        Some(value) => {
            return Err(ContainersError::Refused(format!(
                "raw_exec: `command` is {}, not the name of a program",
                value.kind()
            )));
        }
        None => {
            return Err(ContainersError::Refused(
                "raw_exec: `command` is missing: say what to run".to_owned(),
            ));
        }
    };
    let own_path = spec.env.get("PATH").cloned();
    let path = own_path
        .or_else(|| std::env::var("PATH").ok())
        .unwrap_or_default();
    let mut candidates = vec![task_dir.join("local").join(name), task_dir.join(name)];
    if !name.contains('/') {
        candidates.extend(std::env::split_paths(&path).map(|folder| folder.join(name)));
    }
    candidates
        .into_iter()
        .find(|path| is_executable(path))
        .ok_or_else(|| {
            ContainersError::Missing(if name.starts_with('/') {
                format!("raw_exec: there is no program `{name}`")
            } else {
                format!("raw_exec: there is no program `{name}` in the task's directory or in PATH ({path})")
            })
        })
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

pub(super) fn args(spec: &TaskSpec) -> Result<Vec<String>, ContainersError> {
    let Some(value) = spec.config.get("args") else {
        return Ok(Vec::new());
    };
    let refused = || {
        ContainersError::Refused(format!(
            "raw_exec: `args` is {}, not a list of strings",
            value.kind()
        ))
    };
    let items = value.as_list().ok_or_else(refused)?;
    items
        .iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or_else(refused))
        .collect()
}

pub(super) fn work_dir(spec: &TaskSpec, seen: &Seen) -> Result<PathBuf, ContainersError> {
    let local = PathBuf::from(&seen.local);
    match spec.config.get("work_dir") {
        None => Ok(local),
        Some(Value::String(path)) => Ok(local.join(path)),
        Some(value) => Err(ContainersError::Refused(format!(
            "raw_exec: `work_dir` is {}, not a path",
            value.kind()
        ))),
    }
}

/// The ids of a user, given by name or `uid[:gid]`; none if the task runs as the agent does.
pub(super) fn run_as(user: &str) -> Result<Option<(u32, u32)>, ContainersError> {
    if user.is_empty() {
        return Ok(None);
    }
    let table = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = find_user(user, &table).ok_or_else(|| {
        ContainersError::Refused(format!("there is no user `{user}` on this machine"))
    })?;
    let agent = rustix::process::geteuid();
    if agent.as_raw() == ids.0 {
        return Ok(None);
    }
    if !agent.is_root() {
        return Err(ContainersError::Refused(format!(
            "can't run a task as `{user}`: the agent itself would have to run as root"
        )));
    }
    Ok(Some(ids))
}

fn find_user(user: &str, passwd: &str) -> Option<(u32, u32)> {
    if let Some((uid, gid)) = user.split_once(':') {
        return Some((uid.parse().ok()?, gid.parse().ok()?));
    }
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, gid) = (fields.first()?, fields.get(2)?, fields.get(3)?);
        if *name == user || *uid == user {
            Some((uid.parse().ok()?, gid.parse().ok()?))
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name_and_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533:::\n";
        let table = [
            ("nobody", Some((65534, 65533))),
            ("65534", Some((65534, 65533))),
            ("7:8", Some((7, 8))),
            ("somebody", None),
        ];
        for (user, ids) in table {
            assert_eq!(find_user(user, passwd), ids, "{user}");
        }
    }
}

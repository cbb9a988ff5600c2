//! Looks into an allocation's directory for its users: never at secrets, never outside of it.

use std::fs::{self, File, Metadata};
use std::io::{Error as IoError, ErrorKind};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use logic::time::Time;
use ports::errors::ContainersError;
use ports::{FileInfo, Found, LogChunk};

/// The folder of each task that nobody else is shown.
const SECRETS: &str = "secrets";

/// Where a path of an allocation really is.
fn resolved(root: &Path, path: &str) -> Result<PathBuf, ContainersError> {
    let refused = |why: &str| ContainersError::Refused(format!("`{path}` {why}"));
    let mut inside = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => inside.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(refused("leads out of the allocation's directory"));
            }
        }
    }
    let root = root.canonicalize().map_err(|error| told(path, &error))?;
    let real = root.join(&inside).canonicalize();
    let real = real.map_err(|error| told(path, &error))?;
    let Ok(inside) = real.strip_prefix(&root) else {
        return Err(refused("leads out of the allocation's directory"));
    };
    if inside.components().nth(1) == Some(Component::Normal(SECRETS.as_ref())) {
        return Err(refused("holds secrets, which aren't shown"));
    }
    Ok(real)
}

fn told(path: &str, error: &IoError) -> ContainersError {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => ContainersError::Missing(format!(
            "there is no `{path}` in the allocation's directory"
        )),
        _ => ContainersError::Failed(format!("can't read `{path}`: {error}")),
    }
}

fn info(name: String, metadata: &Metadata) -> FileInfo {
    let since = metadata.modified().ok();
    let since = since.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let nanos = since.map_or(0, |since| since.as_nanos());
    FileInfo {
        name,
        is_dir: metadata.is_dir(),
        size: metadata.len(),
        mode: mode(metadata),
        modified: Time(i64::try_from(nanos).unwrap_or(i64::MAX)),
    }
}

/// As `ls -l` shows it.
fn mode(metadata: &Metadata) -> String {
    let bits = metadata.permissions().mode();
    let kind = match (metadata.is_dir(), metadata.is_symlink()) {
        (true, _) => 'd',
        (false, true) => 'L',
        (false, false) => '-',
    };
    let letters = (0..9).map(|at| match (bits >> (8 - at)) & 1 {
        0 => '-',
        _ => ['r', 'w', 'x'][at % 3],
    });
    [kind].into_iter().chain(letters).collect()
}

/// What is at a path of the allocation whose directory this is.
pub(crate) fn look(root: &Path, path: &str) -> Result<Found, ContainersError> {
    let real = resolved(root, path)?;
    let failed = |error: IoError| told(path, &error);
    let metadata = fs::metadata(&real).map_err(failed)?;
    let name = real.file_name().unwrap_or_default().to_string_lossy();
    let own = info(name.into_owned(), &metadata);
    if !metadata.is_dir() {
        return Ok(Found::File(own));
    }
    let mut inside = Vec::new();
    let of_logs = real.ends_with("alloc/logs");
    for entry in fs::read_dir(&real).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // What the agent notes beside the logs is none of them.
        if of_logs && entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // What is removed meanwhile isn't there.
        if let Ok(metadata) = entry.metadata() {
            inside.push(info(
                entry.file_name().to_string_lossy().into_owned(),
                &metadata,
            ));
        }
    }
    inside.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Found::Folder(own, inside))
}

/// Up to `max` bytes of a file of the allocation whose directory this is.
pub(crate) fn read(
    root: &Path,
    path: &str,
    offset: u64,
    max: usize,
) -> Result<LogChunk, ContainersError> {
    let real = resolved(root, path)?;
    let failed = |error: IoError| told(path, &error);
    let metadata = fs::metadata(&real).map_err(failed)?;
    if !metadata.is_file() {
        let text = format!("`{path}` is no file that can be read");
        return Err(ContainersError::Refused(text));
    }
    let file = File::open(&real).map_err(failed)?;
    let mut data = vec![0; max];
    let length = file.read_at(&mut data, offset).map_err(failed)?;
    data.truncate(length);
    Ok(LogChunk {
        offset,
        end: metadata.len().max(offset + length as u64),
        data,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn allocation() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary directory");
        for inside in ["alloc/logs", "web/local", "web/secrets"] {
            fs::create_dir_all(folder.path().join(inside)).expect("made");
        }
        fs::write(folder.path().join("alloc/logs/web.stdout.0"), "hello\n").expect("written");
        fs::write(folder.path().join("web/secrets/token"), "s3cr3t").expect("written");
        symlink("/etc/passwd", folder.path().join("web/local/out")).expect("linked");
        symlink("../secrets/token", folder.path().join("web/local/token")).expect("linked");
        folder
    }

    #[test]
    fn folders_are_listed_and_files_read() {
        let folder = allocation();
        let Ok(Found::Folder(_, inside)) = look(folder.path(), "/") else {
            panic!("no folder");
        };
        let names: Vec<_> = inside.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["alloc", "web"]);
        assert!(
            inside[0].is_dir && inside[0].mode.starts_with("drwx"),
            "{inside:?}"
        );
        let file = look(folder.path(), "alloc/logs/web.stdout.0").expect("a file");
        assert_eq!(file.info().size, 6);
        assert!(file.info().mode.starts_with("-rw"), "{file:?}");
        let chunk = read(folder.path(), "/alloc/logs/web.stdout.0", 2, 3).expect("bytes");
        assert_eq!((chunk.data.as_slice(), chunk.end), (&b"llo"[..], 6));
    }

    #[test]
    fn among_the_logs_only_logs_are_listed() {
        let folder = allocation();
        fs::write(folder.path().join("alloc/logs/.web.docker"), "{}").expect("written");
        let Ok(Found::Folder(_, inside)) = look(folder.path(), "alloc/logs") else {
            panic!("no folder");
        };
        let names: Vec<_> = inside.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["web.stdout.0"]);
    }

    #[test]
    fn secrets_and_whatever_is_outside_are_refused() {
        let folder = allocation();
        for path in [
            "../x",
            "alloc/../../x",
            "web/secrets",
            "web/secrets/token",
            "web/local/out",
            "web/local/token",
        ] {
            let refused = look(folder.path(), path);
            assert!(
                matches!(refused, Err(ContainersError::Refused(_))),
                "{path}: {refused:?}"
            );
            let refused = read(folder.path(), path, 0, 10);
            assert!(
                matches!(refused, Err(ContainersError::Refused(_))),
                "{path}: {refused:?}"
            );
        }
        for path in ["nosuch", "alloc/logs/web.stdout.0/x"] {
            let missing = look(folder.path(), path);
            assert!(
                matches!(missing, Err(ContainersError::Missing(_))),
                "{path}: {missing:?}"
            );
        }
        let folder = read(folder.path(), "alloc", 0, 10);
        assert!(
            matches!(folder, Err(ContainersError::Refused(_))),
            "{folder:?}"
        );
    }
}

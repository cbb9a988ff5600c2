//! Copies what the engine keeps of a container's output into the task's own log files, so that
//! they are there whatever the job's `logging` block says, and after the container is gone.

use std::collections::BTreeMap;
use std::io::Result as IoResult;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error as ApiError;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use logic::time::Time;
use ports::errors::ContainersError;
use ports::{LogStream, TaskKey, TaskSpec};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::client::is_missing;
use crate::containers::log_limits;
use crate::dirs::{AllocDirs, log_name};
use crate::disk;
use crate::logs::Writer;

/// How long to wait before asking an engine again that went away.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// How many pieces of output are written before the position is noted.
const BATCH: usize = 64;

#[derive(Default)]
pub(super) struct Followers {
    running: Mutex<BTreeMap<TaskKey, Follower>>,
}

struct Follower {
    container: String,
    task: AbortHandle,
    finished: watch::Receiver<bool>,
}

impl Followers {
    fn running(&self) -> MutexGuard<'_, BTreeMap<TaskKey, Follower>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts copying, unless that container's output is being copied already.
    pub(super) fn start(
        &self,
        engine: &Docker,
        spec: &TaskSpec,
        container: &str,
        dirs: &AllocDirs,
    ) -> Result<(), ContainersError> {
        let mut running = self.running();
        if running
            .get(&spec.key)
            .is_some_and(|follower| follower.container == container)
        {
            return Ok(());
        }
        let copy = Copy::open(spec, container, &dirs.logs(&spec.key)?).map_err(|error| {
            ContainersError::Failed(format!("can't write the log of {}: {error}", spec.key))
        })?;
        let (done, finished) = watch::channel(false);
        let engine = engine.clone();
        let task = tokio::spawn(async move {
            follow(&engine, copy).await;
            done.send_replace(true);
        });
        let follower = Follower {
            container: container.to_owned(),
            task: task.abort_handle(),
            finished,
        };
        if let Some(old) = running.insert(spec.key.clone(), follower) {
            old.task.abort();
        }
        Ok(())
    }

    /// Returns when all output of an ended container has been copied.
    pub(super) async fn finished(&self, key: &TaskKey) {
        let finished = self
            .running()
            .get(key)
            .map(|follower| follower.finished.clone());
        if let Some(mut finished) = finished {
            // Fails only if copying was given up.
            let _ = finished.wait_for(|done| *done).await;
        }
    }

    pub(super) fn stop(&self, key: &TaskKey) {
        if let Some(follower) = self.running().remove(key) {
            follower.task.abort();
        }
    }

    pub(super) fn stop_all(&self, alloc_id: &str) {
        self.running().retain(|key, follower| {
            let stays = key.alloc_id != alloc_id;
            if !stays {
                follower.task.abort();
            }
            stays
        });
    }
}

/// How far the output of one container has been copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    container: String,
    stdout: StreamPosition,
    stderr: StreamPosition,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StreamPosition {
    /// The engine's time stamp of the last piece.
    last: String,
    /// How many pieces with that time stamp have been copied.
    count: u64,
    /// Where the log file ended then.
    end: u64,
}

impl StreamPosition {
    /// Whether a piece is new; time stamps have a fixed width and never go backward in a stream.
    /// `again` counts the pieces with the last time stamp that came once more.
    fn is_new(&self, stamp: &str, again: &mut u64) -> bool {
        match stamp.cmp(self.last.as_str()) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => {
                *again += 1;
                *again > self.count
            }
            std::cmp::Ordering::Greater => true,
        }
    }

    fn advance(&mut self, stamp: &str) {
        if self.last == stamp {
            self.count += 1;
        } else {
            stamp.clone_into(&mut self.last);
            self.count = 1;
        }
    }

    fn secs(&self) -> i32 {
        Time::parse_rfc3339(&self.last)
            .and_then(|stamp| i32::try_from(stamp.secs()).ok())
            .unwrap_or(0)
    }
}

struct Copy {
    key: TaskKey,
    position: Position,
    noted_at: PathBuf,
    stdout: Writer,
    stderr: Writer,
}

impl Copy {
    fn open(spec: &TaskSpec, container: &str, folder: &Path) -> IoResult<Self> {
        let task = &spec.key.task;
        let (max_files, max_len) = log_limits(&spec.logs);
        let open = |stream| Writer::open(folder, &log_name(task, stream), max_files, max_len);
        let (mut stdout, mut stderr) = (open(LogStream::Stdout)?, open(LogStream::Stderr)?);
        let noted_at = folder.join(format!(".{task}.docker"));
        let noted: Option<Position> = std::fs::read(&noted_at)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let position = match noted.filter(|noted| noted.container == container) {
            // What was written after the last note will come again.
            Some(noted) => {
                stdout.truncate(noted.stdout.end)?;
                stderr.truncate(noted.stderr.end)?;
                noted
            }
            None => Position {
                container: container.to_owned(),
                stdout: StreamPosition {
                    end: stdout.end(),
                    ..StreamPosition::default()
                },
                stderr: StreamPosition {
                    end: stderr.end(),
                    ..StreamPosition::default()
                },
            },
        };
        let copy = Self {
            key: spec.key.clone(),
            position,
            noted_at,
            stdout,
            stderr,
        };
        copy.note()?;
        Ok(copy)
    }

    fn note(&self) -> IoResult<()> {
        disk::replace(&self.noted_at, &serde_json::to_vec(&self.position)?)
    }

    /// Takes one piece of output, `TIMESTAMP TEXT`; `again` counts repeated pieces of each stream.
    fn take(&mut self, output: LogOutput, again: &mut (u64, u64)) -> IoResult<()> {
        let (message, stderr) = match output {
            LogOutput::StdErr { message } => (message, true),
            LogOutput::StdOut { message } | LogOutput::Console { message } => (message, false),
            LogOutput::StdIn { .. } => return Ok(()),
        };
        let Some(space) = message.iter().position(|byte| *byte == b' ') else {
            return Ok(());
        };
        let (stamp, rest) = message.split_at(space);
        let (stamp, text) = (String::from_utf8_lossy(stamp), rest.get(1..));
        let (writer, position, again) = if stderr {
            (&mut self.stderr, &mut self.position.stderr, &mut again.1)
        } else {
            (&mut self.stdout, &mut self.position.stdout, &mut again.0)
        };
        if position.is_new(&stamp, again) {
            writer.write(text.unwrap_or_default())?;
            position.advance(&stamp);
            // From now on, equal time stamps are new pieces.
            *again = position.count;
            position.end = writer.end();
        }
        Ok(())
    }

    /// Tells, where its output would be, that there is none to see.
    fn cannot_read(&mut self, why: &str) -> IoResult<()> {
        let text = format!("drover: this container's output can't be read back: {why}\n");
        self.stderr.write(text.as_bytes())?;
        self.position.stderr.end = self.stderr.end();
        self.note()
    }
}

enum Stopped {
    /// The engine has said all there is, for now.
    AtEnd,
    /// The engine went away.
    Interrupted,
    /// There is nothing (more) to copy.
    Forever,
}

/// Copies until the container has ended and all its output is there.
async fn follow(engine: &Docker, mut copy: Copy) {
    loop {
        let stopped = stream(engine, &mut copy).await.unwrap_or_else(|error| {
            tracing::warn!(key = %copy.key, %error, "can't write a task's log");
            Stopped::Interrupted
        });
        match stopped {
            Stopped::Forever => return,
            Stopped::Interrupted => {}
            Stopped::AtEnd => {
                let container = copy.position.container.as_str();
                match engine.inspect_container(container, None).await {
                    Ok(found) if runs(&found) => {}
                    Ok(_) => return,
                    Err(error) if is_missing(&error) => return,
                    Err(_) => {}
                }
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn runs(container: &ContainerInspectResponse) -> bool {
    let state = container.state.as_ref();
    state.and_then(|state| state.running) == Some(true)
}

async fn stream(engine: &Docker, copy: &mut Copy) -> IoResult<Stopped> {
    let position = &copy.position;
    let options = LogsOptions {
        follow: true,
        stdout: true,
        stderr: true,
        timestamps: true,
        since: position.stdout.secs().min(position.stderr.secs()),
        tail: "all".to_owned(),
        ..LogsOptions::default()
    };
    let container = position.container.clone();
    let mut pieces = std::pin::pin!(engine.logs(&container, Some(options)).ready_chunks(BATCH));
    let mut again = (0, 0);
    while let Some(batch) = pieces.next().await {
        for piece in batch {
            match piece {
                Ok(output) => copy.take(output, &mut again)?,
                Err(error) => {
                    copy.note()?;
                    return interruption(copy, &error);
                }
            }
        }
        copy.note()?;
    }
    Ok(Stopped::AtEnd)
}

fn interruption(copy: &mut Copy, error: &ApiError) -> IoResult<Stopped> {
    let ApiError::DockerResponseServerError {
        status_code,
        message,
    } = error
    else {
        return Ok(Stopped::Interrupted);
    };
    if *status_code == 404 {
        return Ok(Stopped::Forever);
    }
    if message.contains("does not support reading") || message.contains("logging is disabled") {
        copy.cannot_read(message)?;
        return Ok(Stopped::Forever);
    }
    Ok(Stopped::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(stamp: &str, text: &str) -> LogOutput {
        LogOutput::StdOut {
            message: format!("2026-11-24T15:00:00.{stamp}Z {text}").into(),
        }
    }

    fn spec() -> TaskSpec {
        TaskSpec {
            key: TaskKey {
                alloc_id: "a1".to_owned(),
                task: "web".to_owned(),
            },
            driver: "docker".to_owned(),
            config: BTreeMap::new(),
            env: BTreeMap::new(),
            user: String::new(),
            cpu: 1,
            memory_mb: 1,
            ports: Vec::new(),
            logs: logic::model::LogConfig::default(),
            labels: BTreeMap::new(),
            kill_signal: String::new(),
        }
    }

    fn text(folder: &Path) -> String {
        let chunk = crate::logs::read(folder, "web.stdout", 0, 1000)
            .expect("readable")
            .expect("a log");
        String::from_utf8(chunk.data).expect("text")
    }

    #[test]
    fn output_that_comes_again_after_a_restart_is_copied_once() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let pieces = [
            ("000000001", "a"),
            ("000000002", "b"),
            ("000000002", "c"),
            ("000000002", "d"),
            ("000000003", "e"),
        ];
        // The agent dies after any piece, noted or not.
        for (dies_after, noted) in (0..pieces.len()).flat_map(|n| [(n, true), (n, false)]) {
            let path = folder.path().join(format!("{dies_after}-{noted}"));
            let mut copy = Copy::open(&spec(), "c1", &path).expect("opened");
            let mut again = (0, 0);
            for (index, (stamp, text)) in pieces.iter().take(dies_after).enumerate() {
                copy.take(piece(stamp, text), &mut again).expect("copied");
                if noted || index % 2 == 0 {
                    copy.note().expect("noted");
                }
            }
            drop(copy);
            let mut copy = Copy::open(&spec(), "c1", &path).expect("opened again");
            let mut again = (0, 0);
            for (stamp, text) in pieces {
                copy.take(piece(stamp, text), &mut again).expect("copied");
            }
            assert_eq!(text(&path), "abcde", "dies after {dies_after}, {noted}");
        }
    }

    #[test]
    fn the_output_of_a_new_container_follows_that_of_the_last() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        for container in ["c1", "c2"] {
            let mut copy = Copy::open(&spec(), container, folder.path()).expect("opened");
            copy.take(piece("000000001", container), &mut (0, 0))
                .expect("copied");
        }
        assert_eq!(text(folder.path()), "c1c2");
    }

    #[test]
    fn a_container_that_cannot_be_read_says_so() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut copy = Copy::open(&spec(), "c1", folder.path()).expect("opened");
        let error = ApiError::DockerResponseServerError {
            status_code: 501,
            message: "configured logging driver does not support reading".to_owned(),
        };
        let stopped = interruption(&mut copy, &error).expect("written");
        assert!(matches!(stopped, Stopped::Forever));
        let chunk = crate::logs::read(folder.path(), "web.stderr", 0, 1000)
            .expect("readable")
            .expect("a log");
        let said = String::from_utf8(chunk.data).expect("text");
        assert!(said.contains("does not support reading"), "{said}");
    }
}

//! The supervisor of one plain process: a small process of its own, so that a task and its output
//! outlive the agent, and an agent that comes back learns how the task ended.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Result as IoResult, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ports::Exit;
use rustix::process::Signal;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use crate::process::ProcessId;
use crate::{disk, logs};

/// How long output is still collected after the task has ended, if something it started keeps
/// its pipes open.
const LAST_OUTPUT: Duration = Duration::from_millis(500);

/// What to run, as the driver writes it down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(crate) command: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) work_dir: PathBuf,
    /// User and group ids, if not those of the agent.
    pub(crate) run_as: Option<(u32, u32)>,
    pub(crate) logs: PathBuf,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) max_files: u64,
    pub(crate) max_file_len: u64,
}

/// The files a supervisor and its driver share, next to each other.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn of_spec(spec: &Path) -> Self {
        Self::in_folder(spec.parent().unwrap_or(Path::new(".")).to_owned())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn spec(&self) -> PathBuf {
        self.folder.join("spec.json")
    }

    fn state_path(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    fn exit_path(&self) -> PathBuf {
        self.folder.join("exit.json")
    }

    pub(crate) fn state(&self) -> Option<State> {
        read_json(&self.state_path())
    }

    pub(crate) fn exit(&self) -> Option<Exit> {
        let ended: Ended = read_json(&self.exit_path())?;
        Some(Exit {
            code: ended.code,
            signal: ended.signal,
            ..Exit::default()
        })
    }
}

/// The processes of a running task.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) supervisor: ProcessId,
    /// The leader of the task's process group.
    pub(crate) task: ProcessId,
}

#[derive(Debug, Serialize, Deserialize)]
struct Ended {
    code: i64,
    signal: i64,
}

/// What the supervisor tells its driver, in one line, when the task runs or can't.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    Started,
    Missing(String),
    Refused(String),
    Failed(String),
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

fn write_json(path: &Path, value: &impl Serialize) -> IoResult<()> {
    disk::replace(path, &serde_json::to_vec(value)?)
}

fn report(report: &Report) {
    let mut out = std::io::stdout().lock();
    if let Ok(line) = serde_json::to_string(report) {
        // Nobody listens if the agent died meanwhile; the task runs on all the same.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

/// Runs the task described in a file until it ends; the exit code is the supervisor's own.
pub fn run(spec_path: &str) -> i32 {
    // Fails if this process already leads a session, which is as good.
    let _ = rustix::process::setsid();
    let files = Files::of_spec(Path::new(spec_path));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let supervised = match (read_json::<Spec>(&files.spec()), runtime) {
        (None, _) => Err(Report::Failed(format!("can't read {spec_path}"))),
        (_, Err(error)) => Err(Report::Failed(format!("can't start a runtime: {error}"))),
        (Some(spec), Ok(runtime)) => runtime.block_on(supervise(&spec, &files)),
    };
    match supervised {
        Ok(()) => 0,
        Err(problem) => {
            report(&problem);
            1
        }
    }
}

async fn supervise(spec: &Spec, files: &Files) -> Result<(), Report> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Report::Failed(format!("{what} {}: {error}", spec.command.display()))
    };
    let writer = |name: &str| {
        logs::Writer::open(&spec.logs, name, spec.max_files, spec.max_file_len)
            .map_err(|error| failed("can't write the log of", &error))
    };
    let (stdout, stderr) = (writer(&spec.stdout)?, writer(&spec.stderr)?);
    let mut child = spawn(spec)?;
    let ids = child
        .id()
        .and_then(ProcessId::of)
        .zip(ProcessId::of(std::process::id()));
    let Some((task, supervisor)) = ids else {
        return Err(failed("can't find the process of", &"no entry in /proc"));
    };
    let state = State { supervisor, task };
    if let Err(error) = write_json(&files.state_path(), &state) {
        state.task.signal_group(Signal::KILL);
        return Err(failed("can't note the state of", &error));
    }
    let mut copies = tokio::task::JoinSet::new();
    if let Some(pipe) = child.stdout.take() {
        copies.spawn(copy(pipe, stdout));
    }
    if let Some(pipe) = child.stderr.take() {
        copies.spawn(copy(pipe, stderr));
    }
    report(&Report::Started);
    let status = wait(&mut child, &state.task).await;
    state.task.signal_group(Signal::KILL);
    let _ = tokio::time::timeout(LAST_OUTPUT, async {
        while copies.join_next().await.is_some() {}
    })
    .await;
    let status = status.map_err(|error| failed("can't wait for", &error))?;
    let ended = Ended {
        code: status.code().map_or(0, i64::from),
        signal: status.signal().map_or(0, i64::from),
    };
    write_json(&files.exit_path(), &ended).map_err(|error| failed("can't note the end of", &error))
}

fn spawn(spec: &Spec) -> Result<Child, Report> {
    let name = spec.command.display();
    // Entered here, with the agent's rights: the task's user may not be allowed to come this way.
    std::env::set_current_dir(&spec.work_dir).map_err(|error| {
        Report::Failed(format!("can't enter {}: {error}", spec.work_dir.display()))
    })?;
    let mut command = Command::new(&spec.command);
    command
        .args(&spec.args)
        .env_clear()
        .envs(&spec.env)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some((user, group)) = spec.run_as {
        command.uid(user).gid(group);
    }
    command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Report::Missing(format!("can't run `{name}`: no such file")),
        ErrorKind::PermissionDenied => Report::Refused(format!(
            "can't run `{name}`: permission denied: is the file executable, and may the user read it?"
        )),
        _ => Report::Failed(format!("can't run `{name}`: {error}")),
    })
}

/// Waits for the task and passes on signals meant for it meanwhile.
async fn wait(child: &mut Child, task: &ProcessId) -> IoResult<ExitStatus> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        let passed_on = tokio::select! {
            biased;
            status = child.wait() => return status,
            _ = terminate.recv() => Signal::TERM,
            _ = interrupt.recv() => Signal::INT,
            _ = quit.recv() => Signal::QUIT,
            _ = hang_up.recv() => Signal::HUP,
        };
        task.signal_group(passed_on);
    }
}

/// Copies a pipe to a log. A log that can't be written loses output, but never stops the task.
async fn copy(mut pipe: impl AsyncRead + Unpin, mut log: logs::Writer) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(len) = pipe.read(&mut buffer).await {
        if len == 0 {
            break;
        }
        let _ = log.write(buffer.get(..len).unwrap_or_default());
    }
}

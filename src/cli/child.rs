//! Programs that commands run: of a group of their own, so that all they have started can be ended.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

/// How long a program may take to end once it is asked to.
const END_WITHIN: Duration = Duration::from_secs(5);

/// A program as it was typed: for a shell to read, or word by word.
pub(super) fn command(words: &[String], shell: bool) -> Option<Command> {
    let mut command = if shell {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(words.join(" "));
        command
    } else {
        let (program, arguments) = words.split_first()?;
        let mut command = Command::new(program);
        command.args(arguments);
        command
    };
    command.process_group(0).stdin(Stdio::null());
    Some(command)
}

/// Asks a program to end, and ends it if it doesn't.
pub(super) async fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    signal(child, Signal::TERM);
    if let Ok(ended) = tokio::time::timeout(END_WITHIN, child.wait()).await {
        return ended;
    }
    signal(child, Signal::KILL);
    child.wait().await
}

fn signal(child: &Child, signal: Signal) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        // Fails only if the group is gone, which is what the signal is for.
        let _ = kill_process_group(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn a_program_ends_with_what_it_has_started() {
        let mut sleeping = command(&words("sleep 600 | cat"), true).expect("a command");
        let mut child = sleeping.spawn().expect("a shell");
        let status = end(&mut child).await.expect("it can be ended");
        assert!(!status.success());
    }

    #[test]
    fn without_a_shell_words_stay_as_they_are() {
        let typed = command(&words("echo $HOME"), false).expect("a command");
        let typed = typed.as_std();
        assert_eq!(typed.get_program(), "echo");
        assert_eq!(typed.get_args().collect::<Vec<_>>(), ["$HOME"]);
        assert!(command(&[], false).is_none());
    }
}

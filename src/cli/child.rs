//! Programs that commands run: of a group of their own, so that all they have started can be ended.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::process::{Child, Command};

/// How long a program may take to end once it is asked to.
const END_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

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

/// Asks a program and all that it has started to end, and ends what doesn't.
pub(super) async fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    let Some(group) = group.and_then(Pid::from_raw) else {
        return child.wait().await;
    };
    // Signals fail only if the group is gone, which is what they are for.
    let _ = kill_process_group(group, Signal::TERM);
    let ending = async {
        let ended = child.wait().await;
        while test_kill_process_group(group).is_ok() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        ended
    };
    if let Ok(ended) = tokio::time::timeout(END_WITHIN, ending).await {
        return ended;
    }
    let _ = kill_process_group(group, Signal::KILL);
    child.wait().await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn a_program_ends_with_what_it_has_started() {
        let line = "(trap '' TERM; echo up; sleep 600) & wait";
        let mut sleeping = command(&[line.to_owned()], true).expect("a command");
        let mut child = sleeping.stdout(Stdio::piped()).spawn().expect("a shell");
        let mut out = child.stdout.take().expect("its output");
        let mut up = [0; 3];
        out.read_exact(&mut up)
            .await
            .expect("it says that it is up");
        let status = end(&mut child).await.expect("it can be ended");
        assert!(!status.success());
        let mut rest = Vec::new();
        // Its output ends with the last that has it.
        let read = tokio::time::timeout(END_WITHIN, out.read_to_end(&mut rest)).await;
        assert!(matches!(read, Ok(Ok(0))), "{read:?}");
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

//! Plays many runs at once, each core in a process of its own: a run is one thread's, some of what
//! it uses belongs to the process, and one that crashes or hangs must not take others with it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::planted::Planted;
use anyhow::{Context, Result};

use crate::run::{Options, reproduce, run_with};
use crate::scenarios::{self, Scenario};
use crate::world::lock;

/// A run that takes longer than this, in real time, won't end.
const ENDS_WITHIN: Duration = Duration::from_secs(300);

/// A run to be played.
#[derive(Clone, Copy)]
pub struct Task {
    pub scenario: &'static Scenario,
    pub options: Options,
}

/// What came of it.
pub struct Verdict {
    pub task: Task,
    pub passed: bool,
    /// One line.
    pub digest: String,
}

impl Task {
    fn line(&self) -> String {
        let servers = self.options.servers.unwrap_or(0);
        let planted = self.options.planted.map_or("-", Planted::name);
        let (name, seed) = (self.scenario.name, self.options.seed);
        format!("{name} {seed} {servers} {planted}")
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let scenario = scenarios::find(words.next()?)?;
        let seed = words.next()?.parse().ok()?;
        let servers = words.next()?.parse().ok().filter(|servers| *servers > 0);
        let planted = words.next().and_then(Planted::named);
        Some(Self {
            scenario,
            options: Options {
                seed,
                servers,
                planted,
                packets: false,
            },
        })
    }

    pub fn reproduce(&self) -> String {
        reproduce(self.scenario, self.options)
    }
}

/// Plays what comes in, a line each, and answers a line each.
pub fn work(input: impl BufRead, mut output: impl Write) -> Result<()> {
    for line in input.lines() {
        let line = line?;
        let task = Task::from_line(&line).with_context(|| format!("`{line}` is no run"))?;
        let outcome = run_with(task.scenario, task.options);
        let word = if outcome.result.is_ok() { "ok" } else { "no" };
        writeln!(output, "{word} {}", outcome.digest().replace('\n', " "))?;
        output.flush()?;
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "processes are played in side by side; no simulation is on these threads"
)]
fn thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(work)
}

/// Plays the tasks on all cores; `look` is given each verdict as it comes, and ends all by false.
pub fn play(
    tasks: impl Iterator<Item = Task> + Send + 'static,
    mut look: impl FnMut(&Verdict) -> bool,
) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let tasks = Arc::new(Mutex::new(tasks));
    let over = Arc::new(AtomicBool::new(false));
    let (tell, verdicts) = channel();
    let players = (0..cores).map(|_| {
        let (tasks, over, tell) = (tasks.clone(), over.clone(), tell.clone());
        thread(move || -> Result<()> {
            let mut player = None;
            while !over.load(Ordering::Relaxed) {
                let Some(task) = lock(&tasks).next() else {
                    break;
                };
                let verdict = play_one(&mut player, task)?;
                if tell.send(verdict).is_err() {
                    break;
                }
            }
            Ok(())
        })
    });
    let players: Vec<_> = players.collect();
    drop(tell);
    for verdict in verdicts {
        if !over.load(Ordering::Relaxed) && !look(&verdict) {
            over.store(true, Ordering::Relaxed);
        }
    }
    for player in players {
        player.join().ok().context("a player's thread panicked")??;
    }
    Ok(())
}

fn play_one(player: &mut Option<Player>, task: Task) -> Result<Verdict> {
    let mut playing = match player.take() {
        Some(playing) => playing,
        None => Player::start()?,
    };
    let (passed, digest) = match playing.ask(&task) {
        Ok(answer) => {
            *player = Some(playing);
            let (word, digest) = answer.split_once(' ').unwrap_or(("no", &answer));
            (word == "ok", digest.to_owned())
        }
        Err(reason) => (false, reason),
    };
    Ok(Verdict {
        task,
        passed,
        digest,
    })
}

/// A process that plays.
struct Player {
    process: Child,
    input: ChildStdin,
    answers: Receiver<String>,
}

impl Player {
    fn start() -> Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("play")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("a process to play in can't be started")?;
        let input = process.stdin.take().context("it has no input")?;
        let output = process.stdout.take().context("it has no output")?;
        let (tell, answers) = channel();
        thread(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            process,
            input,
            answers,
        })
    }

    fn ask(&mut self, task: &Task) -> Result<String, String> {
        writeln!(self.input, "{}", task.line()).map_err(|error| error.to_string())?;
        match self.answers.recv_timeout(ENDS_WITHIN) {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => Err(format!("failed: no end within {ENDS_WITHIN:?}")),
            Err(RecvTimeoutError::Disconnected) => {
                Err("failed: its process ended (see above for why)".to_owned())
            }
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // It may have ended already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_travels_as_a_line() {
        let line = "election 7 3 no-pre-vote";
        assert_eq!(Task::from_line(line).expect("it is one").line(), line);
        let line = "first-job 0 0 -";
        assert_eq!(Task::from_line(line).expect("it is one").line(), line);
        assert!(Task::from_line("no-such-scenario 0 0 -").is_none());
    }
}

//! Consul's `lock`: runs a program while it holds a lock, or one of several places.

mod held;
mod holders;
mod session;

use std::time::Duration;

use clap::Args;

use super::agent::signals::{self, Signals};
use super::connection::CatalogConnection;
use super::exit::{Exit, Failure, Outcome};
use super::{child, terminal};
use held::Held;
use session::Session;

/// Run a program while holding a lock
///
/// The lock is at PREFIX among the keys, and is kept by a session. If it is lost, the program is
/// ended. The program finds `CONSUL_LOCK_HELD=true` in its environment.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit codes: 0 the program has run, whatever it ended with; 1 the lock wasn't
had, or was lost; 2 with -child-exit-code, the program failed.

Examples:
  $ consul lock service/web/leader ./web -serve
  $ consul lock -try=10s backups ./backup.sh
  $ consul lock -n=3 workers ./work.sh"
)]
pub(super) struct Lock {
    /// How many may hold it at once
    #[arg(short, value_name = "N", default_value_t = 1)]
    n: u64,
    /// Give up if it isn't had by then, such as 10s; otherwise wait
    #[arg(long = "try", value_name = "TIME", value_parser = period)]
    attempt: Option<Duration>,
    /// The same
    #[arg(long, hide = true, value_name = "TIME", value_parser = period)]
    timeout: Option<Duration>,
    /// What the session is called
    #[arg(long)]
    name: Option<String>,
    /// End with 2 if the program fails
    #[arg(long)]
    child_exit_code: bool,
    /// How often the agent may fail to answer, a second apart, before the lock counts as lost
    #[arg(long, value_name = "N", default_value_t = 3)]
    monitor_retry: u32,
    /// The program reads this command's standard input
    #[arg(long)]
    pass_stdin: bool,
    /// A shell reads the program's line; with -shell=false it is run as it is
    #[arg(long, overrides_with = "no_shell")]
    shell: bool,
    #[arg(long, hide = true, overrides_with = "shell")]
    no_shell: bool,
    /// Tell what happens
    #[arg(long)]
    verbose: bool,
    /// Where the lock is among the keys, then what to run, with its arguments
    #[arg(trailing_var_arg = true, required = true, num_args = 2..,
        value_names = ["PREFIX", "PROGRAM"])]
    words: Vec<String>,
    #[command(flatten)]
    connection: CatalogConnection,
}

fn period(text: &str) -> Result<Duration, String> {
    match logic::duration::parse(text) {
        Ok(nanos) if nanos >= 0 => Ok(logic::duration::to_std(nanos)),
        Ok(_) => Err("it is negative".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// How the program's run came to its end.
enum Ended {
    Itself(std::process::ExitStatus),
    Lost(String),
    Told,
}

impl Lock {
    fn tell(&self, text: &str) {
        if self.verbose {
            terminal::complain(text);
        }
    }

    /// How long to wait for the lock; none: until it is had.
    fn patience(&self) -> Option<Duration> {
        let asked = self.attempt.or(self.timeout);
        asked.filter(|patience| !patience.is_zero())
    }

    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let (prefix, program) = self.words.split_first().unzip();
        let prefix = prefix.map_or("", |prefix| prefix.trim_matches('/'));
        let program = program.unwrap_or_default();
        if prefix.is_empty() {
            return Err(Failure::new("PREFIX is empty: say where the lock is"));
        }
        if self.n == 0 {
            return Err(Failure::new("-n must be at least 1"));
        }
        let mut signals = signals::listen()?;
        let line = program.join(" ");
        let name = self.name.clone();
        let name = name.unwrap_or_else(|| format!("Consul lock for '{line}' at '{prefix}'"));
        // Who contends for a place has a key of its own: it goes with the session.
        let behavior = if self.n == 1 { "release" } else { "delete" };
        let session = Session::create(&client, &name, behavior).await;
        let session = session.map_err(|error| Failure::from(error).during("Lock setup failed"))?;
        let held = Held::new(client.clone(), prefix, self.n, &session.id);
        let outcome = self.hold(&session, &held, program, &mut signals).await;
        // A session that isn't there any more holds nothing.
        held.release().await;
        session.destroy(&client).await;
        outcome
    }

    async fn hold(
        &self,
        session: &Session,
        held: &Held,
        program: &[String],
        signals: &mut Signals,
    ) -> Outcome {
        self.tell("Attempting lock acquisition");
        let acquiring = async {
            match self.patience() {
                None => held.acquire().await.map(|()| true),
                Some(patience) => match tokio::time::timeout(patience, held.acquire()).await {
                    Ok(acquired) => acquired.map(|()| true),
                    Err(_) => Ok(false),
                },
            }
        };
        tokio::select! {
            biased;
            _ = signals.next() => {
                terminal::complain("Shutdown triggered during lock acquisition");
                return Ok(Exit::Failed);
            }
            why = session.keep(&held.client) => {
                return Err(Failure::new(format!("Lock acquisition failed: {why}")));
            }
            acquired = acquiring => {
                let acquired =
                    acquired.map_err(|failure| failure.during("Lock acquisition failed"))?;
                if !acquired {
                    let text = "Lock acquisition failed: somebody else holds it";
                    return Err(Failure::new(text));
                }
            }
        }
        self.tell(&format!("Starting handler '{}'", program.join(" ")));
        match self.run_program(session, held, program, signals).await? {
            Ended::Itself(status) if status.success() => Ok(Exit::Done),
            Ended::Itself(status) => {
                terminal::complain(&format!("`{}` ended with {status}", program.join(" ")));
                Ok(if self.child_exit_code {
                    Exit::ChildFailed
                } else {
                    Exit::Done
                })
            }
            Ended::Lost(why) => Err(Failure::new(format!("Lock lost, killing child: {why}"))),
            Ended::Told => {
                terminal::complain("Shutdown triggered, killing child");
                Ok(Exit::Failed)
            }
        }
    }

    /// Runs the program until it ends, the lock is lost, or this command is to end.
    async fn run_program(
        &self,
        session: &Session,
        held: &Held,
        program: &[String],
        signals: &mut Signals,
    ) -> Result<Ended, Failure> {
        let line = program.join(" ");
        let cannot = |error: std::io::Error| Failure::new(format!("can't run `{line}`: {error}"));
        let Some(mut command) = child::command(program, !self.no_shell) else {
            return Err(Failure::new("no program is given"));
        };
        command.env("CONSUL_LOCK_HELD", "true");
        if self.pass_stdin {
            command.stdin(std::process::Stdio::inherit());
        }
        let mut running = command.spawn().map_err(cannot)?;
        let ended = tokio::select! {
            biased;
            status = running.wait() => Ended::Itself(status.map_err(cannot)?),
            why = held.lost(self.monitor_retry) => Ended::Lost(why),
            why = session.keep(&held.client) => Ended::Lost(why),
            _ = signals.next() => Ended::Told,
        };
        if !matches!(ended, Ended::Itself(_)) {
            child::end(&mut running).await.map_err(cannot)?;
        }
        Ok(ended)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        lock: Lock,
    }

    #[test]
    fn what_is_run_follows_the_prefix() {
        let typed = Typed::try_parse_from(["x", "-n", "2", "--try=1m", "--", "a/", "ls", "-l"]);
        let lock = typed.unwrap_or_else(|error| panic!("{error}")).lock;
        assert_eq!((lock.n, lock.words.len()), (2, 3));
        assert_eq!(lock.patience(), Some(Duration::from_secs(60)));
        for typed in [&["x"][..], &["x", "a"], &["x", "--try=soon", "a", "b"]] {
            assert!(Typed::try_parse_from(typed).is_err(), "{typed:?}");
        }
    }
}

//! Consul's `watch`: prints a part of the catalog, or runs a program whenever it changes.

use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use logic::percent;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;

use super::agent::signals;
use super::child;
use super::connection::CatalogConnection;
use super::exit::{Exit, Failure, Outcome};
use super::http::{Client, Watched, escaped};
use super::terminal;

/// Pause after a failure; each more is longer, up to the last.
const RETRY_AFTER: Duration = Duration::from_secs(1);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Key,
    Keyprefix,
    Services,
    Nodes,
    Service,
    Checks,
    Event,
}

/// Print a part of the catalog, or run a program whenever it changes
///
/// The program gets what there is as JSON on its standard input, and its index as `CONSUL_INDEX`:
/// once at the beginning, then after each change. It isn't run again before it has ended.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ consul watch -type=key -key=web/config
  $ consul watch -type=service -service=web -passingonly=true ./reconfigure.sh
  $ consul watch -type=event -name=deploy 'cat >> deploys.json'")]
pub(super) struct Watch {
    #[arg(long, value_name = "TYPE", value_enum)]
    r#type: Kind,
    /// For key
    #[arg(long)]
    key: Option<String>,
    /// For keyprefix
    #[arg(long)]
    prefix: Option<String>,
    /// For service, and for checks: of this service
    #[arg(long)]
    service: Option<String>,
    /// For service: instances with this tag; may be repeated
    #[arg(long)]
    tag: Vec<String>,
    /// For service: instances whose checks pass
    #[arg(long)]
    passingonly: bool,
    /// For checks: those in this state, passing, warning or critical
    #[arg(long)]
    state: Option<String>,
    /// For event: those of this name
    #[arg(long)]
    name: Option<String>,
    /// A shell reads the program's line; with -shell=false it is run as it is
    #[arg(long, overrides_with = "no_shell")]
    shell: bool,
    #[arg(long, hide = true, overrides_with = "shell")]
    no_shell: bool,
    /// What to run, with its arguments; without one, what there is is printed once
    #[arg(trailing_var_arg = true, value_name = "PROGRAM")]
    program: Vec<String>,
    #[command(flatten)]
    connection: CatalogConnection,
}

impl Watch {
    fn needed<'a>(&self, flag: &str, value: Option<&'a String>) -> Result<&'a str, Failure> {
        let value = value.filter(|value| !value.is_empty());
        let kind = self.r#type.to_possible_value();
        let kind = kind.map_or_else(String::new, |kind| kind.get_name().to_owned());
        value.map(String::as_str).ok_or_else(|| {
            Failure::new(format!("-type={kind} needs -{flag}: what is to be watched"))
        })
    }

    /// What is asked for.
    fn path(&self) -> Result<String, Failure> {
        let key = |key: &str| percent::path(key.trim_start_matches('/'));
        Ok(match self.r#type {
            Kind::Key => format!("/v1/kv/{}", key(self.needed("key", self.key.as_ref())?)),
            Kind::Keyprefix => {
                let prefix = self.needed("prefix", self.prefix.as_ref())?;
                format!("/v1/kv/{}?recurse", key(prefix))
            }
            Kind::Services => "/v1/catalog/services".to_owned(),
            Kind::Nodes => "/v1/catalog/nodes".to_owned(),
            Kind::Service => {
                let service = self.needed("service", self.service.as_ref())?;
                let tags = self.tag.iter().map(|tag| format!("&tag={}", escaped(tag)));
                let tags: String = tags.collect();
                let passing = if self.passingonly { "&passing" } else { "" };
                let path = format!("/v1/health/service/{}", escaped(service));
                with_query(&path, &format!("{tags}{passing}"))
            }
            Kind::Checks => match (&self.service, &self.state) {
                (Some(_), Some(_)) => {
                    let text = "-service and -state exclude each other: watch one of them";
                    return Err(Failure::new(text));
                }
                (Some(service), None) => format!("/v1/health/checks/{}", escaped(service)),
                (None, Some(state)) => format!("/v1/health/state/{}", escaped(state)),
                (None, None) => "/v1/health/state/any".to_owned(),
            },
            Kind::Event => {
                let name = self.name.as_ref();
                let name = name.map(|name| format!("&name={}", escaped(name)));
                with_query("/v1/event/list", &name.unwrap_or_default())
            }
        })
    }

    /// What there is, as it is told: a key alone, and nothing as null.
    fn told(&self, body: Option<&Bytes>) -> Result<Value, Failure> {
        let Some(body) = body else {
            return Ok(Value::Null);
        };
        let told: Value = serde_json::from_slice(body)
            .map_err(|error| Failure::new(format!("the agent answers no JSON: {error}")))?;
        Ok(match (self.r#type, told) {
            (Kind::Key, Value::Array(mut rows)) if rows.len() == 1 => rows.remove(0),
            (_, told) => told,
        })
    }

    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let path = self.path()?;
        let first = client.watch(&path, 0).await;
        let first =
            first.map_err(|error| Failure::from(error).during("Error querying Consul agent"))?;
        if self.program.is_empty() {
            let told = self.told(first.body.as_ref())?;
            terminal::print(&super::format::json(&told));
            return Ok(Exit::Done);
        }
        let mut signals = signals::listen()?;
        let mut handler = None;
        let ended = tokio::select! {
            biased;
            _ = signals.next() => Ok(Exit::Done),
            ended = self.follow(&client, &path, first, &mut handler) => ended,
        };
        if let Some(mut running) = handler {
            // Nobody waits for what it would have said.
            child::end(&mut running).await.ok();
        }
        ended
    }

    async fn follow(
        &self,
        client: &Client,
        path: &str,
        mut seen: Watched,
        handler: &mut Option<Child>,
    ) -> Outcome {
        loop {
            let told = self.told(seen.body.as_ref())?;
            self.handle(seen.index, &told, handler).await?;
            seen = next(client, path, seen).await;
        }
    }

    /// Runs the program, and waits until it has ended.
    async fn handle(
        &self,
        index: u64,
        told: &Value,
        handler: &mut Option<Child>,
    ) -> Result<(), Failure> {
        let Some(mut command) = child::command(&self.program, !self.no_shell) else {
            return Ok(());
        };
        command.env("CONSUL_INDEX", index.to_string());
        command.stdin(std::process::Stdio::piped());
        let line = self.program.join(" ");
        let cannot = |error: std::io::Error| Failure::new(format!("can't run `{line}`: {error}"));
        let running = handler.insert(command.spawn().map_err(cannot)?);
        if let Some(mut input) = running.stdin.take() {
            let text = format!("{told}\n");
            // Whoever doesn't read what there is needn't.
            input.write_all(text.as_bytes()).await.ok();
        }
        let ended = running.wait().await;
        *handler = None;
        match ended {
            Ok(status) if status.success() => {}
            Ok(status) => terminal::complain(&format!("`{line}` ended with {status}")),
            Err(error) => return Err(cannot(error)),
        }
        Ok(())
    }
}

/// `&a&b` as a path's query.
fn with_query(path: &str, parts: &str) -> String {
    match parts.strip_prefix('&') {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// What is there once it isn't as it was. An agent that can't be asked is asked again.
async fn next(client: &Client, path: &str, seen: Watched) -> Watched {
    let mut index = seen.index;
    let mut pause = RETRY_AFTER;
    loop {
        match client.watch(path, index).await {
            Ok(now) if now.body != seen.body => return now,
            // An index that went back is another history's.
            Ok(now) => {
                index = if now.index < index { 0 } else { now.index };
                pause = RETRY_AFTER;
                if index == 0 {
                    tokio::time::sleep(RETRY_AFTER).await;
                }
            }
            Err(error) => {
                let secs = pause.as_secs();
                terminal::complain(&format!("{error}; asked again in {secs} s"));
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_AFTER_MAX);
                index = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        watch: Watch,
    }

    fn watch(flags: &str) -> Watch {
        let flags = flags.split_whitespace();
        let typed = Typed::try_parse_from(["x"].into_iter().chain(flags));
        typed.unwrap_or_else(|error| panic!("{error}")).watch
    }

    #[test]
    fn each_type_is_asked_for_at_its_place() {
        for (flags, path) in [
            ("--type=key --key=/a/b", "/v1/kv/a/b"),
            ("--type=keyprefix --prefix=a/", "/v1/kv/a/?recurse"),
            ("--type=services", "/v1/catalog/services"),
            ("--type=nodes", "/v1/catalog/nodes"),
            ("--type=service --service=web", "/v1/health/service/web"),
            (
                "--type=service --service=web --tag=a --tag=b --passingonly",
                "/v1/health/service/web?tag=a&tag=b&passing",
            ),
            ("--type=checks", "/v1/health/state/any"),
            ("--type=checks --state=warning", "/v1/health/state/warning"),
            ("--type=checks --service=web", "/v1/health/checks/web"),
            ("--type=event", "/v1/event/list"),
            ("--type=event --name=x", "/v1/event/list?name=x"),
        ] {
            assert_eq!(watch(flags).path(), Ok(path.to_owned()), "{flags}");
        }
        for (flags, why) in [
            ("--type=key", "-type=key needs -key"),
            ("--type=keyprefix", "-type=keyprefix needs -prefix"),
            ("--type=service", "-type=service needs -service"),
            ("--type=checks --service=a --state=b", "exclude each other"),
        ] {
            let failure = watch(flags).path().expect_err(flags);
            assert!(failure.message.contains(why), "{}", failure.message);
        }
    }

    #[test]
    fn a_key_is_told_alone_and_nothing_as_null() {
        let key = watch("--type=key --key=a");
        let body = Bytes::from_static(b"[{\"Key\":\"a\"}]");
        let told = key.told(Some(&body)).expect("JSON");
        assert_eq!(told, serde_json::json!({ "Key": "a" }));
        assert_eq!(key.told(None), Ok(Value::Null));
        let prefix = watch("--type=keyprefix --prefix=a");
        assert!(prefix.told(Some(&body)).expect("JSON").is_array());
        assert!(prefix.told(Some(&Bytes::from_static(b"no"))).is_err());
    }

    #[test]
    fn what_is_run_is_all_that_follows() {
        let typed = watch("--type=nodes --no-shell -- prog -x --type=y");
        assert_eq!(typed.program, ["prog", "-x", "--type=y"]);
    }
}

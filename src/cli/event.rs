//! Consul's `event`: tells whoever watches that something happened.

use clap::Args;
use hyper::Method;
use serde::Deserialize;

use super::connection::CatalogConnection;
use super::exit::{Exit, Failure, Outcome};
use super::http::{decode, escaped};
use super::terminal;

/// Fire an event, for those who watch for it
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ consul event -name=deploy 1.2.3
  $ consul event -name=deploy -service=web -tag=v2
  $ consul watch -type=event -name=deploy ./on-deploy.sh")]
pub(super) struct Event {
    /// What it is called
    #[arg(long)]
    name: String,
    /// For agents whose node's name matches this regular expression
    #[arg(long, value_name = "REGEX")]
    node: Option<String>,
    /// For agents with a service whose name matches
    #[arg(long, value_name = "REGEX")]
    service: Option<String>,
    /// For agents with such a service that has a tag that matches
    #[arg(long, value_name = "REGEX", requires = "service")]
    tag: Option<String>,
    /// What to tell with it, at most 512 bytes
    payload: Vec<String>,
    #[command(flatten)]
    connection: CatalogConnection,
}

#[derive(Debug, Deserialize)]
struct Fired {
    #[serde(rename = "ID")]
    id: String,
}

impl Event {
    fn path(&self) -> String {
        let filters = [
            ("node", &self.node),
            ("service", &self.service),
            ("tag", &self.tag),
        ];
        let filters: Vec<String> = filters
            .into_iter()
            .filter_map(|(name, filter)| Some(format!("{name}={}", escaped(filter.as_ref()?))))
            .collect();
        let path = format!("/v1/event/fire/{}", escaped(&self.name));
        if filters.is_empty() {
            path
        } else {
            format!("{path}?{}", filters.join("&"))
        }
    }

    pub(super) async fn run(self) -> Outcome {
        if self.name.is_empty() {
            return Err(Failure::new("-name is empty: say what the event is called"));
        }
        let client = self.connection.client()?;
        let payload = self.payload.join(" ").into_bytes();
        let fired = client.bytes(Method::PUT, &self.path(), payload).await;
        let fired = fired.map_err(|error| Failure::from(error).during("Error firing event"))?;
        let fired: Fired = decode(&fired)
            .map_err(|error| Failure::new(format!("the agent answers no event: {error}")))?;
        terminal::print(&format!("Event ID: {}", fired.id));
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        event: Event,
    }

    #[test]
    fn what_is_fired_is_said_in_the_path() {
        let path = |flags: &[&str]| {
            let typed = Typed::try_parse_from([&["x"], flags].concat());
            typed.map(|typed| typed.event.path()).map_err(|_| ())
        };
        for (flags, told) in [
            (&["--name=a b"][..], Ok("/v1/event/fire/a%20b".to_owned())),
            (
                &["--name=a", "--node=^n", "--service=w", "--tag=v"],
                Ok("/v1/event/fire/a?node=%5En&service=w&tag=v".to_owned()),
            ),
            (&["--name=a", "--tag=v"], Err(())),
            (&["payload"], Err(())),
        ] {
            assert_eq!(path(flags), told, "{flags:?}");
        }
    }
}

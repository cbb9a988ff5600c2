//! `ui`: where the web page is, and opening it.

use std::io::IsTerminal;
use std::process::{Command, Stdio};

use clap::Args;

use super::connection::Connection;
use super::exit::{Exit, Outcome};
use super::http::escaped;
use super::status::{Kind, found};
use super::terminal;

/// Print where the web page is, and open it if there is a desktop
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover ui
  $ drover ui httpbackend     a job's page; allocations and nodes have theirs too")]
pub(super) struct Ui {
    /// What to show: the id of a job, allocation, node or evaluation, or a prefix of it
    id: Option<String>,
    /// Print the address only
    #[arg(long)]
    show_url: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Ui {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let path = match &self.id {
            None => "/ui/".to_owned(),
            Some(typed) => {
                let (kind, id) = found(&client, typed).await?;
                page(kind, &id)
            }
        };
        let url = client.url(&path);
        if self.show_url || !opens(&url) {
            terminal::print(&url);
        } else {
            terminal::print(&format!("Opening URL \"{url}\""));
        }
        Ok(Exit::Done)
    }
}

fn page(kind: Kind, id: &str) -> String {
    let folder = match kind {
        Kind::Job => "jobs",
        Kind::Alloc => "allocations",
        Kind::Node => "clients",
        Kind::Eval => "evaluations",
        // Shown with its job.
        Kind::Deployment => return "/ui/jobs".to_owned(),
    };
    format!("/ui/{folder}/{}", escaped(id))
}

/// Opens an address in a browser, if somebody sits there who can see it.
fn opens(url: &str) -> bool {
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
    if !desktop || !std::io::stdout().is_terminal() {
        return false;
    }
    let mut opener = Command::new("xdg-open");
    let quiet = opener
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    quiet.spawn().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_an_id_has_a_page() {
        assert_eq!(page(Kind::Job, "team/web"), "/ui/jobs/team%2Fweb");
        assert_eq!(
            page(Kind::Node, "6dbe0d79-ad99"),
            "/ui/clients/6dbe0d79-ad99"
        );
    }
}

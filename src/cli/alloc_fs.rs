//! `alloc fs`: an allocation's files: folders are listed, files printed.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use logic::time::Time;
use serde::Deserialize;
use tokio::time::sleep;

use super::alloc_logs::{newest_of_job, tail_length};
use super::api::AllocStub;
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::format::{bytes, instant, table};
use super::http::{Client, RequestError, escaped};
use super::{lookup, terminal};

/// How soon new content of a file is seen.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How much is asked for at a time.
const PIECE: u64 = 1 << 20;
/// What the last few lines are looked for in.
const TAIL_MAX: u64 = 8 << 20;
const LINES_DEFAULT: u64 = 10;

/// Show an allocation's files: list a folder, or print a file
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover alloc fs 0e0dd4b7
  $ drover alloc fs 0e0dd4b7 alloc/logs/httpbackend.stdout.0
  $ drover alloc fs -job httpbackend alloc/logs      of one of the job's allocations")]
pub(super) struct AllocFs {
    /// The allocation's id, or a prefix of it; with -job: the job's id
    #[arg(value_name = "ALLOC")]
    id: String,
    /// Where in the allocation's directory
    #[arg(default_value = "/")]
    path: String,
    /// What the file or folder is, instead of what is in it
    #[arg(long)]
    stat: bool,
    /// Sizes and times as machines read them
    #[arg(short = 'H')]
    machine: bool,
    /// Go on with what is written from now on
    #[arg(short)]
    follow: bool,
    /// Only the last lines: ten, or as many as -n says
    #[arg(long)]
    tail: bool,
    /// How many lines from the end
    #[arg(short = 'n', value_name = "LINES", conflicts_with = "bytes")]
    lines: Option<u64>,
    /// How many bytes from the end
    #[arg(short = 'c', value_name = "BYTES")]
    bytes: Option<u64>,
    /// ALLOC is a job: take its newest running allocation
    #[arg(long)]
    job: bool,
    /// Accepted: nothing more is to be said
    #[arg(long, hide = true)]
    verbose: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct File {
    name: String,
    is_dir: bool,
    size: u64,
    #[serde(rename = "FileMode")]
    mode: String,
    mod_time: Time,
}

impl AllocFs {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let alloc: AllocStub = if self.job {
            newest_of_job(&client, &self.id).await?
        } else {
            lookup::one(&client, &self.id).await?
        };
        let place = Place {
            client: &client,
            alloc_id: &alloc.id,
            path: &self.path,
        };
        let file: File = place.get("stat").await?;
        if self.stat {
            terminal::print(&self.render_stat(&file));
            return Ok(Exit::Done);
        }
        if file.is_dir {
            let files: Vec<File> = place.get("ls").await?;
            terminal::print(&self.render(&files));
            return Ok(Exit::Done);
        }
        let from = match (self.bytes, self.lines) {
            (Some(bytes), _) => file.size.saturating_sub(bytes),
            (None, Some(lines)) => place.last_lines(file.size, lines).await?,
            (None, None) if self.tail => place.last_lines(file.size, LINES_DEFAULT).await?,
            (None, None) => 0,
        };
        place.print(from, self.follow).await
    }

    fn size_and_time(&self, file: &File) -> [String; 2] {
        if self.machine {
            [file.size.to_string(), file.mod_time.rfc3339()]
        } else {
            [bytes(file.size), instant(file.mod_time)]
        }
    }

    fn render(&self, files: &[File]) -> String {
        let row = |file: &File| {
            let [size, time] = self.size_and_time(file);
            let slash = if file.is_dir { "/" } else { "" };
            let name = format!("{}{slash}", file.name);
            [file.mode.clone(), size, time, name]
        };
        let header = ["Mode", "Size", "Modified Time", "Name"];
        table(header, files.iter().map(row).collect())
    }

    fn render_stat(&self, file: &File) -> String {
        self.render(std::slice::from_ref(file))
    }
}

/// A path of an allocation.
struct Place<'a> {
    client: &'a Client,
    alloc_id: &'a str,
    path: &'a str,
}

impl Place<'_> {
    fn url(&self, what: &str) -> String {
        format!(
            "/v1/client/fs/{what}/{}?path={}",
            self.alloc_id,
            escaped(self.path)
        )
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, what: &str) -> Result<T, Failure> {
        self.client.get(&self.url(what)).await.map_err(failed)
    }

    async fn read(&self, offset: u64, limit: u64) -> Result<Vec<u8>, Failure> {
        let url = format!("{}&offset={offset}&limit={limit}", self.url("readat"));
        let read = self.client.bytes(Method::GET, &url, Vec::new()).await;
        Ok(read.map_err(failed)?.to_vec())
    }

    /// Where the last lines begin.
    async fn last_lines(&self, size: u64, lines: u64) -> Result<u64, Failure> {
        let from = size.saturating_sub(TAIL_MAX);
        let end = self.read(from, TAIL_MAX).await?;
        let length = tail_length(&end, lines).unwrap_or(end.len() as u64);
        Ok(from + end.len() as u64 - length)
    }

    async fn print(&self, from: u64, follow: bool) -> Outcome {
        let mut offset = from;
        loop {
            let piece = self.read(offset, PIECE).await?;
            if !piece.is_empty() {
                terminal::write(&piece);
                offset += piece.len() as u64;
            } else if follow {
                sleep(LOOK_EVERY).await;
            } else {
                return Ok(Exit::Done);
            }
        }
    }
}

fn failed(error: RequestError) -> Failure {
    Failure::from(error).during("Error reading file")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::golden;
    use super::*;

    #[derive(Parser)]
    struct Typed {
        #[command(flatten)]
        fs: AllocFs,
    }

    fn typed(args: &[&str]) -> AllocFs {
        let args = [&["fs", "0e0dd4b7"], args].concat();
        Typed::try_parse_from(args).expect("arguments").fs
    }

    #[test]
    fn files_look_as_the_anchor_lists_them() {
        let Some(expected) = golden::output("82-rolling-alloc-logs.out") else {
            return;
        };
        let file = |name: &str, size| File {
            name: name.to_owned(),
            size,
            mode: "-rw-r--r--".to_owned(),
            mod_time: Time::from_secs(1_795_526_179),
            ..File::default()
        };
        let files = [file("web.stderr.0", 0), file("web.stdout.0", 45)];
        let text = typed(&[]).render(&files);
        assert!(expected.ends_with(&text), "{text}\n---\n{expected}");
    }

    #[test]
    fn folders_end_with_a_slash_and_machines_get_plain_numbers() {
        let Some(files) =
            golden::answer::<Vec<File>>("nomad-api/GET_client_fs_ls_ALLOCID_path__.json")
        else {
            return;
        };
        assert_eq!(
            typed(&["-H"]).render(&files),
            "Mode        Size  Modified Time                   Name
drwxrwxrwx  4096  2026-11-24T13:12:42.603169931Z  alloc/
drwxrwxrwx  4096  2026-11-24T13:12:42.680227613Z  httpbackend/"
        );
    }
}

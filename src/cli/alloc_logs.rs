//! `alloc logs`: a task's output, as it is and as it comes.

use clap::Args;
use http_body_util::BodyExt;
use logic::model::CLIENT_RUNNING;

use super::alloc::chosen_task;
use super::api::{AllocStub, JobStub, newest_first};
use super::connection::Connection;
use super::exit::{Exit, Failure, Outcome};
use super::http::{Client, RequestError, escaped};
use super::{lookup, terminal};

/// What a line is assumed to have at most, when the last few are looked for.
const LINE_BYTES: u64 = 256;
const LINES_DEFAULT: u64 = 10;

/// Print what a task wrote to standard output
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  $ drover alloc logs 0e0dd4b7
  $ drover alloc logs -f -n 20 0e0dd4b7 httpbackend
  $ drover alloc logs -stderr -job httpbackend      of one of the job's allocations")]
pub(super) struct AllocLogs {
    /// The allocation's id, or a prefix of it; with -job: the job's id
    #[arg(value_name = "ALLOC")]
    id: String,
    /// The task, if there are several
    task: Option<String>,
    /// Standard error instead
    #[arg(long)]
    stderr: bool,
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

/// Which output is asked for.
struct Output<'a> {
    client: &'a Client,
    alloc_id: String,
    task: String,
    stream: &'static str,
}

impl AllocLogs {
    pub(super) async fn run(self) -> Outcome {
        let client = self.connection.client()?;
        let alloc = if self.job {
            newest_of_job(&client, &self.id).await?
        } else {
            lookup::one(&client, &self.id).await?
        };
        let output = Output {
            client: &client,
            task: chosen_task(&alloc, self.task.as_deref())?,
            alloc_id: alloc.id,
            stream: if self.stderr { "stderr" } else { "stdout" },
        };
        let wanted = match (self.bytes, self.lines) {
            (Some(bytes), _) => Some(bytes),
            (None, Some(lines)) => Some(output.last_lines(lines).await?),
            (None, None) if self.tail => Some(output.last_lines(LINES_DEFAULT).await?),
            (None, None) => None,
        };
        output.print(wanted, self.follow).await
    }
}

pub(super) async fn newest_of_job(client: &Client, typed: &str) -> Result<AllocStub, Failure> {
    let job: JobStub = lookup::one(client, typed).await?;
    let path = format!("/v1/job/{}/allocations", escaped(&job.id));
    let allocs: Result<Vec<AllocStub>, RequestError> = client.get(&path).await;
    let mut allocs =
        allocs.map_err(|error| Failure::from(error).during("Error querying allocations"))?;
    newest_first(&mut allocs);
    let running = allocs
        .iter()
        .position(|alloc| alloc.client_status == CLIENT_RUNNING);
    if allocs.is_empty() {
        return Err(Failure::new(format!(
            "Job \"{}\" has no allocations",
            job.id
        )));
    }
    Ok(allocs.swap_remove(running.unwrap_or(0)))
}

impl Output<'_> {
    /// `end`: that many bytes from the end; none: everything.
    fn path(&self, end: Option<u64>, follow: bool) -> String {
        let (origin, offset) = end.map_or(("start", 0), |offset| ("end", offset));
        format!(
            "/v1/client/fs/logs/{}?task={}&type={}&follow={follow}&origin={origin}&offset={offset}\
             &plain=true",
            self.alloc_id,
            escaped(&self.task),
            self.stream,
        )
    }

    /// How many bytes the last lines are.
    async fn last_lines(&self, lines: u64) -> Result<u64, Failure> {
        let mut window = lines.saturating_mul(LINE_BYTES).max(LINE_BYTES);
        loop {
            let body = self.client.stream(&self.path(Some(window), false)).await;
            let body = body
                .map_err(failed)?
                .collect()
                .await
                .map_err(|error| cut_off(&error))?;
            let bytes = body.to_bytes();
            let length = bytes.len() as u64;
            if let Some(tail) = tail_length(&bytes, lines) {
                return Ok(tail);
            }
            if length < window {
                return Ok(length);
            }
            window = window.saturating_mul(4);
        }
    }

    async fn print(&self, end: Option<u64>, follow: bool) -> Outcome {
        let body = self.client.stream(&self.path(end, follow)).await;
        let mut body = body.map_err(failed)?;
        while let Some(frame) = body.frame().await {
            if let Some(bytes) = frame.map_err(|error| cut_off(&error))?.data_ref() {
                terminal::write(bytes);
            }
        }
        Ok(Exit::Done)
    }
}

/// The length of the last `lines` lines, if there are that many and something before them.
pub(super) fn tail_length(bytes: &[u8], lines: u64) -> Option<u64> {
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if lines == 0 {
        return Some(0);
    }
    let mut left = lines;
    for (at, byte) in whole.iter().enumerate().rev() {
        if *byte == b'\n' {
            left -= 1;
            if left == 0 {
                return Some((bytes.len() - at - 1) as u64);
            }
        }
    }
    None
}

fn failed(error: RequestError) -> Failure {
    Failure::from(error).during("Error reading file")
}

fn cut_off(error: &hyper::Error) -> Failure {
    Failure::new(format!("Error reading file: the agent broke off: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_counted_from_the_end() {
        for (text, lines, length) in [
            ("a\nbb\nccc\n", 1, Some(4)),
            ("a\nbb\nccc\n", 2, Some(7)),
            ("a\nbb\nccc", 1, Some(3)),
            ("a\nbb\nccc\n", 3, None),
            ("a\n", 0, Some(0)),
            ("", 1, None),
            ("\n\n", 1, Some(1)),
        ] {
            assert_eq!(
                tail_length(text.as_bytes(), lines),
                length,
                "{text:?} {lines}"
            );
        }
    }
}

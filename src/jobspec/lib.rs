//! Job files and agent configuration files, in HCL (1 and 2 where they overlap) or JSON.
//!
//! Says everything that is wrong with a file at once, each with line, column and, where one can
//! guess, what was meant.

mod decode;
mod job;
mod lexeme;
mod names;
mod network;
mod problem;
mod scan;
mod service;
mod task;
mod tree;
mod value;

use logic::model::Job;

pub use problem::{Errors, Problem};
use problem::{Findings, Source};

/// A job as it was written, with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub job: Job,
    pub warnings: Vec<Problem>,
}

/// More is no job file.
const FILE_SIZE_MAX: usize = 4 << 20;

/// The job in `text`; `name` is the file's name in messages.
pub fn parse_job(name: &str, text: &[u8]) -> Result<Parsed, Errors> {
    let source = Source {
        file: name,
        text: utf8(name, text)?,
    };
    hcl_job(source)
}

fn hcl_job(source: Source<'_>) -> Result<Parsed, Errors> {
    let mut findings = Findings::new(source);
    let body = scan::file(&mut findings);
    let is_readable = findings.errors.is_empty();
    let mut decoder = decode::Decoder::new(&mut findings);
    let mut read = job::read(&mut decoder, &body);
    if let Some(job) = &mut read {
        job.canonicalize();
        // Where braces or quotes are missing, what follows would be guesswork.
        if is_readable {
            job::check(&mut decoder, job);
        }
    }
    let warnings = findings.finish()?;
    match read {
        Some(job) => Ok(Parsed { job, warnings }),
        None => Err(Errors(vec![source.problem(
            0,
            "the file has no `job` block".to_owned(),
            None,
        )])),
    }
}

/// The text, if it is text.
fn utf8<'t>(file: &str, bytes: &'t [u8]) -> Result<&'t str, Errors> {
    let refuse = |valid: &str, message: String| {
        let source = Source { file, text: valid };
        Errors(vec![source.problem(valid.len(), message, None)])
    };
    if bytes.len() > FILE_SIZE_MAX {
        let message = format!("the file has {} bytes, too many for a job", bytes.len());
        return Err(refuse("", message));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = &bytes[..error.valid_up_to()];
            let valid = std::str::from_utf8(valid).unwrap_or("");
            return Err(refuse(valid, "this isn't text: invalid UTF-8".to_owned()));
        }
    };
    match text.find(|c: char| c == '\0') {
        Some(at) => Err(refuse(
            &text[..at],
            "this isn't text: a zero byte".to_owned(),
        )),
        None => Ok(text),
    }
}

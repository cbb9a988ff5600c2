//! Job files and agent configuration files, in HCL (1 and 2 where they overlap) or JSON.
//!
//! Says everything that is wrong with a file at once, each with line, column and, where one can
//! guess, what was meant.

mod agent;
mod agent_catalog;
mod agent_consul;
mod agent_edge;
mod agent_join;
mod agent_names;
pub mod consul_config;
mod consul_dns;
mod consul_file;
mod consul_names;
mod decode;
mod fields;
mod fuzz;
mod job;
mod job_json;
mod json;
mod lexeme;
mod names;
mod network;
mod problem;
pub mod registration;
mod scan;
mod service;
mod task;
mod tree;
mod value;

use logic::model::Job;

pub use agent::{Configured, check_agent_config, load_agent_config};
pub use agent_consul::consul_address;
pub use fields::{Fields, Wrong};
pub use fuzz::fuzz_job_file;
pub use problem::{Errors, Problem};
use problem::{Findings, Source};

/// A job as it was written, with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub job: Job,
    pub warnings: Vec<Problem>,
}

/// More is no job file.
const FILE_SIZE_MAX: usize = 1 << 20;

/// The job in `text`; `name` is the file's name in messages.
pub fn parse_job(name: &str, text: &[u8]) -> Result<Parsed, Errors> {
    let source = Source {
        file: name,
        text: utf8(name, text)?,
    };
    if is_json(source.text) {
        json_job(source)
    } else {
        hcl_job(source)
    }
}

/// HCL files begin with a name.
fn is_json(text: &str) -> bool {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    text.starts_with(['{', '['])
}

fn json_job(source: Source<'_>) -> Result<Parsed, Errors> {
    let mut findings = Findings::new(source);
    let file = json::read(&mut findings);
    let mut decoder = decode::Decoder::new(&mut findings);
    let read = file.and_then(|file| job_json::read(&mut decoder, &file));
    finish(decoder, read, true)
}

fn hcl_job(source: Source<'_>) -> Result<Parsed, Errors> {
    let mut findings = Findings::new(source);
    let body = scan::file(&mut findings);
    let is_readable = findings.errors.is_empty();
    let mut decoder = decode::Decoder::new(&mut findings);
    let read = job::read(&mut decoder, &body);
    finish(decoder, read, is_readable)
}

fn finish(
    mut decoder: decode::Decoder<'_, '_>,
    mut read: Option<Job>,
    is_readable: bool,
) -> Result<Parsed, Errors> {
    if let Some(job) = &mut read {
        job.canonicalize();
        // Where braces or quotes are missing, what follows would be guesswork.
        if is_readable {
            decoder.report(logic::validate::job(job));
        }
    }
    if read.is_none() && decoder.findings.errors.is_empty() {
        decoder.findings.error(0, "the file has no job");
    }
    let warnings = decoder.findings.take()?;
    let job = read.unwrap_or_default();
    Ok(Parsed { job, warnings })
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
    match text.find('\0') {
        Some(at) => Err(refuse(
            &text[..at],
            "this isn't text: a zero byte".to_owned(),
        )),
        None => Ok(text),
    }
}

//! Job files from disk or standard input, and what is wrong with them.

use std::borrow::Cow;
use std::io::Read;

use logic::model::Job;

use super::exit::Failure;
use super::format::counted;
use super::http::in_words;
use super::terminal;

/// The job in a file, or on standard input for `-`. Warnings go to standard error.
pub(super) fn read(path: &str) -> Result<Job, Failure> {
    let (name, bytes) = contents(path)?;
    let text = String::from_utf8_lossy(&bytes);
    match jobspec::parse_job(&name, &bytes) {
        Ok(parsed) => {
            for warning in &parsed.warnings {
                terminal::complain(&format!("Warning: {}", warning.render(&text)));
            }
            Ok(parsed.job)
        }
        Err(errors) => {
            let count = counted(errors.0.len(), "problem");
            // There is no line to show of what isn't text.
            let rendered = match &text {
                Cow::Borrowed(text) => errors.render(text),
                Cow::Owned(_) => errors.to_string(),
            };
            Err(Failure::new(format!(
                "{rendered}\n\nError reading the job: {count} in {name}"
            )))
        }
    }
}

fn contents(path: &str) -> Result<(String, Vec<u8>), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!(
            "Error reading the job: can't read `{path}`: {}",
            in_words(&error)
        ))
    };
    if path == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map_err(failed)?;
        return Ok(("standard input".to_owned(), bytes));
    }
    if path.starts_with("http://") || path.starts_with("https://") {
        let text =
            format!("Error reading the job: `{path}`: job files from URLs aren't supported yet");
        return Err(Failure::new(text).hint(format!("curl -fsS {path} | drover job run -")));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    Ok((path.to_owned(), bytes))
}

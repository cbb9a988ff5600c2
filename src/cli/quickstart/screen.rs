//! What a newcomer reads: a line for each thing that has happened, and when.

use std::io::Write;
use std::time::Instant;

use crate::cli::terminal::Style;

/// As wide as the longest subject, `evaluation`.
const SUBJECT_WIDTH: usize = 10;

pub(super) struct Screen {
    started: Instant,
    style: Style,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            style: Style::detect(false),
        }
    }

    pub(super) fn title(&self, text: &str) {
        write(&format!("{}\n\n", self.style.bold(text)));
    }

    /// `  0.42s  agent       up`
    pub(super) fn event(&self, subject: &str, what: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let time = self.style.dim(&format!("{seconds:>7.2}s"));
        let subject = self.style.cyan(&format!("{subject:<SUBJECT_WIDTH$}"));
        write(&format!("{time}  {subject}  {what}\n"));
    }

    /// Belongs to the event above.
    pub(super) fn detail(text: &str) {
        write(&format!(
            "{:width$}{text}\n",
            "",
            width = 12 + SUBJECT_WIDTH
        ));
    }

    pub(super) fn success(&self, text: &str) {
        write(&format!("\n{}\n", self.style.green(text)));
    }

    pub(super) fn failure(&self, text: &str) {
        write(&format!("\n{}\n", self.style.red(text)));
    }

    /// Commands or addresses, each with what it is for.
    pub(super) fn list(&self, heading: &str, rows: &[(String, &str)]) {
        write(&format!("\n{heading}\n\n"));
        let width = rows.iter().map(|(what, _)| what.len()).max().unwrap_or(0);
        for (what, meaning) in rows {
            let what = self.style.bold(&format!("{what:<width$}"));
            write(&format!("  {what}  {}\n", self.style.dim(meaning)));
        }
    }

    pub(super) fn line(&self, text: &str) {
        write(&format!("\n{}\n", self.style.dim(text)));
    }
}

/// What runs must still be stopped, so a reader that has left doesn't end the program.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .ok();
}

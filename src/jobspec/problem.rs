//! What is wrong in a file, where, and what to do about it.

use std::fmt;

use thiserror::Error;

/// One mistake (or warning) in a file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Problem {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        self.write_hint(f)
    }
}

impl Problem {
    fn write_head(&self, f: &mut impl fmt::Write) -> fmt::Result {
        let Self {
            file, line, column, ..
        } = self;
        write!(f, "{file}:{line}:{column}: {}", self.message)
    }

    fn write_hint(&self, f: &mut impl fmt::Write) -> fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }

    /// The same as `Display`, with the line it is about and a marker under the place.
    pub fn render(&self, source: &str) -> String {
        let mut out = String::new();
        let written = self
            .write_head(&mut out)
            .and_then(|()| self.write_excerpt(&mut out, source))
            .and_then(|()| self.write_hint(&mut out));
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
        out
    }

    fn write_excerpt(&self, f: &mut impl fmt::Write, source: &str) -> fmt::Result {
        let Some(line) = source.split('\n').nth(self.line - 1) else {
            return Ok(());
        };
        let line = line.trim_end_matches('\r');
        let (shown, column) = cut(line, self.column - 1);
        if shown.trim().is_empty() {
            return Ok(());
        }
        let gutter = " ".repeat(self.line.to_string().len());
        let indent = " ".repeat(column);
        let marker = "^".repeat(token_width(&shown, column));
        write!(f, "\n {gutter} |\n {} | {shown}", self.line)?;
        write!(f, "\n {gutter} | {indent}{marker}")
    }
}

/// How many characters of a line are shown, and how many of them before the place in question.
const SHOWN_MAX: usize = 120;
const SHOWN_BEFORE: usize = 40;

/// The part of a line around `column` (from 0) that fits on a screen, and where `column` is in it.
fn cut(line: &str, column: usize) -> (String, usize) {
    let letters: Vec<char> = line.chars().map(printable).collect();
    if letters.len() <= SHOWN_MAX {
        return (letters.into_iter().collect(), column);
    }
    let from = column
        .saturating_sub(SHOWN_BEFORE)
        .min(letters.len() - SHOWN_MAX);
    let to = from + SHOWN_MAX;
    let before = if from > 0 { "..." } else { "" };
    let after = if to < letters.len() { "..." } else { "" };
    let shown: String = letters[from..to].iter().collect();
    (
        format!("{before}{shown}{after}"),
        before.len() + column - from,
    )
}

/// Tabs and control characters would put the marker in the wrong place or garble the terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// How many characters the word, number or string that starts at `column` (from 0) has.
fn token_width(line: &str, column: usize) -> usize {
    let mut rest = line.chars().skip(column);
    let width = match rest.next() {
        Some('"') => rest.position(|c| c == '"').map_or(1, |inside| inside + 2),
        Some(c) if is_word(c) => 1 + rest.take_while(|c| is_word(*c)).count(),
        _ => 1,
    };
    width.min(80)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.')
}

/// Everything that was found wrong, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Errors(pub Vec<Problem>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl Errors {
    /// All problems with their source lines, an empty line between them.
    pub fn render(&self, source: &str) -> String {
        let rendered: Vec<_> = self.0.iter().map(|p| p.render(source)).collect();
        rendered.join("\n\n")
    }
}

/// A file's name and text: turns byte offsets into lines and columns.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Source<'_> {
    pub(crate) fn problem(self, at: usize, message: String, hint: Option<String>) -> Problem {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Problem {
            file: self.file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            message,
            hint,
        }
    }
}

/// The problems found so far: mistakes and warnings of one file.
pub(crate) struct Findings<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) errors: Vec<(usize, Problem)>,
    pub(crate) warnings: Vec<(usize, Problem)>,
}

/// More would not be read.
const PROBLEMS_MAX: usize = 100;

impl<'a> Findings<'a> {
    pub(crate) fn new(source: Source<'a>) -> Self {
        Self {
            source,
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.errors.len() >= PROBLEMS_MAX
    }

    pub(crate) fn error(&mut self, at: usize, message: impl Into<String>) {
        self.error_with(at, message, None);
    }

    pub(crate) fn error_with(
        &mut self,
        at: usize,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        if !self.is_full() {
            let problem = self.source.problem(at, message.into(), hint);
            self.errors.push((at, problem));
        }
    }

    pub(crate) fn warn(&mut self, at: usize, message: impl Into<String>) {
        if self.warnings.len() < PROBLEMS_MAX {
            let problem = self.source.problem(at, message.into(), None);
            self.warnings.push((at, problem));
        }
    }

    /// The warnings in the order of the file, or the errors if there are any.
    pub(crate) fn take(&mut self) -> Result<Vec<Problem>, Errors> {
        if self.errors.is_empty() {
            Ok(in_order(std::mem::take(&mut self.warnings)))
        } else {
            Err(Errors(in_order(std::mem::take(&mut self.errors))))
        }
    }
}

fn in_order(mut found: Vec<(usize, Problem)>) -> Vec<Problem> {
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, problem)| problem).collect()
}

/// The one of `known` that `word` is probably meant to be.
pub(crate) fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    logic::validate::closest(word, known)
}

//! Cuts an HCL file into pieces: names, strings, whole expressions, comments.
//!
//! An expression is found by its shape only (operands, operators, brackets); what it means is
//! for [`crate::value`]. Nothing here recurses without a limit.

use std::ops::Range;

use crate::problem::Findings;

/// Brackets within brackets, or strings within interpolations within strings.
const DEPTH_MAX: usize = 32;

/// Values joined by operators.
const OPERANDS_MAX: usize = 128;

/// The text of an expression in the file.
#[derive(Debug)]
pub(crate) struct Lexeme {
    pub(crate) range: Range<usize>,
    pub(crate) interpolations: Vec<Interpolation>,
}

/// `${...}` in a string or a heredoc, and not inside another one.
#[derive(Debug)]
pub(crate) struct Interpolation {
    pub(crate) range: Range<usize>,
    /// In a string, where quotes and backslashes mean something.
    pub(crate) is_quoted: bool,
}

/// Why no piece could be cut.
#[derive(Debug)]
pub(crate) struct Mistake {
    at: usize,
    kind: MistakeKind,
}

#[derive(Debug)]
enum MistakeKind {
    OpenString,
    OpenInterpolation,
    OpenBracket(char),
    OpenComment,
    OpenHeredoc(String),
    WrongBracket { found: char, expected: char },
    NoValue,
    TooDeep,
    TooLong,
}

impl Mistake {
    pub(crate) fn report(&self, findings: &mut Findings<'_>) {
        self.report_for(findings, "");
    }

    /// `name` is the attribute whose value should have been here.
    pub(crate) fn report_for(&self, findings: &mut Findings<'_>, name: &str) {
        let (message, hint) = match &self.kind {
            MistakeKind::OpenString => (
                "this string has no closing `\"` on its line".to_owned(),
                Some("close it, or use a heredoc (`<<EOF`) for several lines".to_owned()),
            ),
            MistakeKind::OpenInterpolation => (
                "this `${` is never closed".to_owned(),
                Some("close it with `}`, or write `$${` for the two characters".to_owned()),
            ),
            MistakeKind::OpenBracket(c) => (format!("this `{c}` is never closed"), None),
            MistakeKind::OpenComment => ("this comment is never closed by `*/`".to_owned(), None),
            MistakeKind::OpenHeredoc(delimiter) => (
                format!("this heredoc is never closed by a line `{delimiter}`"),
                None,
            ),
            MistakeKind::WrongBracket { found, expected } => (
                format!("found `{found}` where `{expected}` was expected"),
                None,
            ),
            MistakeKind::NoValue if name.is_empty() => ("expected a value".to_owned(), None),
            MistakeKind::NoValue => (format!("`{name}` has no value"), None),
            MistakeKind::TooLong => (
                format!("more than {OPERANDS_MAX} values in one expression"),
                None,
            ),
            MistakeKind::TooDeep => (
                format!("nested too deeply: at most {DEPTH_MAX} levels"),
                None,
            ),
        };
        findings.error_with(self.at, message, hint);
    }
}

pub(crate) fn is_name_start(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

pub(crate) fn is_name_char(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-')
}

pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    interpolations: Vec<Interpolation>,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            interpolations: Vec::new(),
        }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn looking_at(&self, what: &str) -> bool {
        self.rest().starts_with(what)
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(crate) fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    pub(crate) fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !wanted(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// To the next newline, not over it.
    pub(crate) fn skip_line(&mut self) {
        self.take_while(|c| c != '\n');
    }

    pub(crate) fn skip_all(&mut self) {
        self.at = self.text.len();
    }

    /// Spaces within a line, and comments that begin and end there.
    pub(crate) fn skip_inline(&mut self) {
        loop {
            self.take_while(|c| matches!(c, ' ' | '\t' | '\r'));
            let line = self.rest().split('\n').next().unwrap_or("");
            let comment = line.strip_prefix("/*").and_then(|line| line.find("*/"));
            match comment {
                Some(length) => self.at += length + 4,
                None => return,
            }
        }
    }

    /// Spaces, newlines and comments; whether there was a newline.
    pub(crate) fn skip_trivia(&mut self) -> Result<bool, Mistake> {
        let mut saw_newline = false;
        loop {
            let spaces = self.take_while(|c| c.is_whitespace() || c == '\u{feff}');
            saw_newline |= spaces.contains('\n');
            if !self.skip_comment()? {
                return Ok(saw_newline);
            }
        }
    }

    fn skip_comment(&mut self) -> Result<bool, Mistake> {
        if self.looking_at("#") || self.looking_at("//") {
            self.skip_line();
            return Ok(true);
        }
        if !self.looking_at("/*") {
            return Ok(false);
        }
        let Some(end) = self.rest().find("*/") else {
            return self.mistake(self.at, MistakeKind::OpenComment);
        };
        self.at += end + 2;
        Ok(true)
    }

    #[expect(clippy::unused_self, reason = "reads as the lexer's verdict")]
    fn mistake<T>(&self, at: usize, kind: MistakeKind) -> Result<T, Mistake> {
        Err(Mistake { at, kind })
    }

    /// A quoted string.
    pub(crate) fn string(&mut self) -> Result<Lexeme, Mistake> {
        let start = self.at;
        self.interpolations.clear();
        self.skip_string(0)?;
        Ok(self.lexeme(start))
    }

    /// A value: operands with operators between them, as far as they go on this line.
    pub(crate) fn expression(&mut self) -> Result<Lexeme, Mistake> {
        self.skip_inline();
        self.interpolations.clear();
        let start = self.at;
        for _ in 0..OPERANDS_MAX {
            self.operand()?;
            let end = self.at;
            self.skip_inline();
            if !self.operator() {
                self.at = end;
                return Ok(self.lexeme(start));
            }
            self.skip_inline();
        }
        self.mistake(start, MistakeKind::TooLong)
    }

    fn lexeme(&mut self, start: usize) -> Lexeme {
        Lexeme {
            range: start..self.at,
            interpolations: std::mem::take(&mut self.interpolations),
        }
    }

    fn operator(&mut self) -> bool {
        const OPERATORS: [&str; 15] = [
            "==", "!=", "<=", ">=", "&&", "||", "<", ">", "+", "-", "*", "/", "%", "?", ":",
        ];
        if self.looking_at("//") || self.looking_at("/*") {
            return false;
        }
        match OPERATORS.iter().find(|op| self.looking_at(op)) {
            Some(operator) => {
                self.at += operator.len();
                true
            }
            None => false,
        }
    }

    fn operand(&mut self) -> Result<(), Mistake> {
        self.take_while(|c| matches!(c, '-' | '!' | ' ' | '\t'));
        match self.peek() {
            Some('"') => self.skip_string(0)?,
            Some('[' | '(' | '{') => self.skip_bracketed()?,
            Some('<') if self.looking_at("<<") => return self.skip_heredoc(),
            Some(c) if c.is_alphanumeric() || c == '_' => self.skip_word(),
            _ => return self.mistake(self.at, MistakeKind::NoValue),
        }
        loop {
            match self.peek() {
                Some('.') => {
                    self.bump();
                    self.take_while(|c| is_name_char(c) || c == '*');
                }
                Some('[' | '(') => self.skip_bracketed()?,
                _ => return Ok(()),
            }
        }
    }

    /// A name or a number, such as `max`, `-1.5e+3` or `0x1f`.
    fn skip_word(&mut self) {
        let is_number = self.peek().is_some_and(|c| c.is_ascii_digit());
        let word = self.take_while(|c| is_name_char(c) && !(is_number && c == '-'));
        if is_number && word.ends_with(['e', 'E']) && self.rest().starts_with(['+', '-']) {
            self.bump();
            self.take_while(|c| c.is_ascii_digit());
        }
    }

    fn skip_string(&mut self, depth: usize) -> Result<(), Mistake> {
        let start = self.at;
        self.bump();
        loop {
            if self.looking_at("$${") || self.looking_at("%%{") {
                self.at += 3;
                continue;
            }
            if self.looking_at("${") || self.looking_at("%{") {
                self.skip_interpolation(depth, true)?;
                continue;
            }
            if matches!(self.peek(), None | Some('\n')) {
                return self.mistake(start, MistakeKind::OpenString);
            }
            match self.bump() {
                Some('"') => return Ok(()),
                Some('\\') if self.peek().is_some_and(|c| c != '\n') => {
                    self.bump();
                }
                _ => {}
            }
        }
    }

    /// `${...}` or `%{...}`
    fn skip_interpolation(&mut self, depth: usize, is_quoted: bool) -> Result<(), Mistake> {
        let start = self.at;
        if depth >= DEPTH_MAX {
            return self.mistake(start, MistakeKind::TooDeep);
        }
        let is_interpolation = self.looking_at("${");
        self.at += 2;
        let mut braces = 1_usize;
        while braces > 0 {
            match self.peek() {
                None | Some('\n') => return self.mistake(start, MistakeKind::OpenInterpolation),
                Some('"') => {
                    match self.skip_string(depth + 1) {
                        Err(mistake) if matches!(mistake.kind, MistakeKind::OpenString) => {
                            return self.mistake(start, MistakeKind::OpenInterpolation);
                        }
                        result => result?,
                    }
                    continue;
                }
                Some('{') => braces += 1,
                Some('}') => braces -= 1,
                Some(_) => {}
            }
            self.bump();
        }
        if depth == 0 && is_interpolation {
            self.interpolations.push(Interpolation {
                range: start..self.at,
                is_quoted,
            });
        }
        Ok(())
    }

    /// From an opening bracket over its closing one.
    fn skip_bracketed(&mut self) -> Result<(), Mistake> {
        let mut open: Vec<(usize, char)> = Vec::new();
        loop {
            self.skip_trivia()?;
            let at = self.at;
            match self.peek() {
                None => {
                    let (at, bracket) = open.first().copied().unwrap_or((at, '['));
                    return self.mistake(at, MistakeKind::OpenBracket(bracket));
                }
                Some('"') => self.skip_string(0)?,
                Some('<') if self.looking_at("<<") => self.skip_heredoc()?,
                Some(c @ ('[' | '(' | '{')) => {
                    if open.len() >= DEPTH_MAX {
                        return self.mistake(at, MistakeKind::TooDeep);
                    }
                    open.push((at, c));
                    self.bump();
                }
                Some(found @ (']' | ')' | '}')) => {
                    self.bump();
                    let expected = open.pop().map_or(found, |(_, c)| closing(c));
                    if found != expected {
                        return self.mistake(at, MistakeKind::WrongBracket { found, expected });
                    }
                    if open.is_empty() {
                        return Ok(());
                    }
                }
                Some(_) => {
                    self.bump();
                }
            }
        }
    }

    /// `<<EOF` or `<<-EOF` up to and including the line that is only the delimiter.
    fn skip_heredoc(&mut self) -> Result<(), Mistake> {
        let start = self.at;
        self.at += 2;
        if self.peek() == Some('-') {
            self.bump();
        }
        let delimiter = self.take_while(is_name_char);
        self.skip_inline();
        if delimiter.is_empty() || self.bump() != Some('\n') {
            return self.mistake(start, MistakeKind::NoValue);
        }
        loop {
            let line_start = self.at;
            self.skip_inline();
            if self.looking_at(delimiter) {
                self.at += delimiter.len();
                if !self.peek().is_some_and(is_name_char) {
                    return Ok(());
                }
            }
            self.at = line_start;
            self.skip_heredoc_line()?;
            if self.bump().is_none() {
                return self.mistake(start, MistakeKind::OpenHeredoc(delimiter.to_owned()));
            }
        }
    }

    /// To the end of the line, noting interpolations on the way.
    fn skip_heredoc_line(&mut self) -> Result<(), Mistake> {
        while self.peek().is_some_and(|c| c != '\n') {
            if self.looking_at("$${") || self.looking_at("%%{") {
                self.at += 3;
            } else if self.looking_at("${") || self.looking_at("%{") {
                self.skip_interpolation(0, false)?;
            } else {
                self.bump();
            }
        }
        Ok(())
    }
}

fn closing(opening: char) -> char {
    match opening {
        '[' => ']',
        '(' => ')',
        _ => '}',
    }
}

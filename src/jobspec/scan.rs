//! Reads the structure of an HCL file: blocks, labels, attributes, comments.
//!
//! Takes what HCL 1 takes and HCL 2 doesn't (several attributes on a line, quoted keys, stray
//! commas), with a warning, and goes on after a mistake, so that all of them are reported.
//! Values are cut out by [`crate::lexeme`] and understood by [`crate::value`].

use std::collections::BTreeSet;

use crate::lexeme::{Lexer, is_name_char, is_name_start};
use crate::problem::Findings;
use crate::tree::{Attribute, Block, Body, Data, Kind, Name};
use crate::value;

/// Blocks within blocks; real files need about eight.
const DEPTH_MAX: usize = 32;

pub(crate) fn file(findings: &mut Findings<'_>) -> Body {
    let text = findings.source.text;
    let mut scanner = Scanner {
        lexer: Lexer::new(text),
        findings,
        line_used: false,
        warned: Warned::default(),
    };
    scanner.body(None, 0)
}

/// Each leniency is mentioned once a file.
#[derive(Default)]
struct Warned {
    one_line: bool,
    comma: bool,
    quoted: bool,
}

struct Scanner<'f, 'a> {
    lexer: Lexer<'a>,
    findings: &'f mut Findings<'a>,
    /// An attribute or block has ended on this line.
    line_used: bool,
    warned: Warned,
}

impl Scanner<'_, '_> {
    /// Up to the closing brace (consumed), or the end of the file if there is no `opening`.
    fn body(&mut self, opening: Option<usize>, depth: usize) -> Body {
        let mut body = Body::default();
        let mut seen = BTreeSet::new();
        loop {
            self.trivia();
            let at = self.lexer.at();
            match (self.lexer.peek(), opening) {
                (None, None) => return body,
                (None, Some(opening)) => {
                    self.findings.error_with(
                        opening,
                        "this `{` is never closed",
                        Some("add a `}` where the block ends".to_owned()),
                    );
                    return body;
                }
                (Some('}'), Some(_)) => {
                    self.lexer.bump();
                    return body;
                }
                (Some('}'), None) => {
                    self.findings.error_with(
                        at,
                        "this `}` closes nothing",
                        Some("remove it, or add the `{` that it belongs to".to_owned()),
                    );
                    self.lexer.bump();
                }
                (Some(c), _) if is_name_start(c) || c == '"' => {
                    self.item(&mut body, &mut seen, depth);
                }
                (Some(c), _) => {
                    self.findings.error(
                        at,
                        format!(
                            "`{}` makes no sense here: expected a name",
                            c.escape_debug()
                        ),
                    );
                    self.lexer.skip_line();
                }
            }
        }
    }

    /// One attribute or block.
    fn item(&mut self, body: &mut Body, seen: &mut BTreeSet<String>, depth: usize) {
        let start = self.lexer.at();
        if std::mem::replace(&mut self.line_used, true) && !self.warned.one_line {
            self.warned.one_line = true;
            self.findings.warn(
                start,
                "several attributes or blocks on one line: HCL 2 wants each on its own",
            );
        }
        let Some(name) = self.name(true) else { return };
        let mut labels = Vec::new();
        loop {
            self.lexer.skip_inline();
            match self.lexer.peek() {
                Some('=') if labels.is_empty() => {
                    self.lexer.bump();
                    let value = self.value(&name);
                    if seen.insert(name.text.clone()) {
                        body.attributes.push(Attribute { name, value });
                    } else {
                        let message = format!("`{}` is set more than once", name.text);
                        self.findings.error(name.at, message);
                    }
                    return;
                }
                Some('{') => {
                    let opening = self.lexer.at();
                    self.lexer.bump();
                    return self.block(body, name, labels, opening, depth);
                }
                Some(c) if c == '"' || is_name_start(c) => match self.name(false) {
                    Some(label) => labels.push(label),
                    None => return,
                },
                found => return self.no_item(&name, &labels, found),
            }
        }
    }

    fn no_item(&mut self, name: &Name, labels: &[Name], found: Option<char>) {
        let after = labels.last().unwrap_or(name);
        let expected = if labels.is_empty() {
            "`=` or `{`"
        } else {
            "`{`"
        };
        let hint = match found {
            Some(':') => Some(format!("write `{} = ...`", name.text)),
            _ => None,
        };
        self.findings.error_with(
            after.at,
            format!("expected {expected} after `{}`", after.text),
            hint,
        );
        self.lexer.skip_line();
    }

    fn block(
        &mut self,
        body: &mut Body,
        name: Name,
        labels: Vec<Name>,
        opening: usize,
        depth: usize,
    ) {
        if depth >= DEPTH_MAX {
            self.findings.error(
                opening,
                format!("blocks are nested too deeply: at most {DEPTH_MAX} levels"),
            );
            return self.lexer.skip_all();
        }
        // The first item after `{` on the same line is one-line HCL 2; more are not.
        self.line_used = false;
        let inner = self.body(Some(opening), depth + 1);
        self.line_used = true;
        body.blocks.push(Block {
            name,
            labels,
            body: inner,
        });
    }

    /// An identifier or a quoted string without interpolation; nothing if that was reported.
    fn name(&mut self, is_key: bool) -> Option<Name> {
        let at = self.lexer.at();
        if self.lexer.peek() != Some('"') {
            let text = self.lexer.take_while(is_name_char).to_owned();
            return Some(Name { text, at });
        }
        let literal = match self.lexer.string() {
            Ok(literal) => literal,
            Err(mistake) => {
                mistake.report(self.findings);
                self.lexer.skip_line();
                return None;
            }
        };
        let data = value::read(self.findings, &literal);
        let Kind::Text(text) = data.kind else {
            return None;
        };
        if is_key && !self.warned.quoted {
            self.warned.quoted = true;
            self.findings
                .warn(at, "quoted key: HCL 2 wants it without quotes");
        }
        Some(Name { text, at })
    }

    fn value(&mut self, name: &Name) -> Data {
        let at = self.lexer.at();
        match self.lexer.expression() {
            Ok(lexeme) => value::read(self.findings, &lexeme),
            Err(mistake) => {
                mistake.report_for(self.findings, &name.text);
                self.lexer.skip_line();
                Data {
                    at,
                    kind: Kind::Bad,
                }
            }
        }
    }

    /// Spaces, newlines, comments and stray commas.
    fn trivia(&mut self) {
        loop {
            match self.lexer.skip_trivia() {
                Ok(saw_newline) => {
                    if saw_newline {
                        self.line_used = false;
                    }
                }
                Err(mistake) => {
                    mistake.report(self.findings);
                    return self.lexer.skip_all();
                }
            }
            if self.lexer.peek() != Some(',') {
                return;
            }
            if !self.warned.comma {
                self.warned.comma = true;
                self.findings.warn(
                    self.lexer.at(),
                    "stray `,`: HCL 2 ends an attribute with its line",
                );
            }
            self.lexer.bump();
        }
    }
}

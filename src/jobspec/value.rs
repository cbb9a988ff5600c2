//! Understands a value: literals, lists and maps with their places; constant expressions.
//!
//! Interpolations that only the running task can fill in (`${attr.kernel.name}`,
//! `${NOMAD_PORT_http}`) stay literal text.

use std::ops::Range;

use hcl::eval::{Context, Evaluate};
use hcl_edit::Span;
use hcl_edit::expr::{BinaryOperator, Expression, Object, ObjectKey};
use hcl_edit::parser::parse_expr;
use hcl_edit::template::ForDirective;
use hcl_edit::visit::{Visit, visit_expr};

use crate::lexeme::{Interpolation, Lexeme};
use crate::problem::Findings;
use crate::tree::{Data, Kind, Name};

/// What HCL 2 calls its own variables; everything else is filled in when the task starts.
const CONFIG_ROOTS: [&str; 4] = ["var", "local", "each", "path"];

pub(crate) fn read(findings: &mut Findings<'_>, lexeme: &Lexeme) -> Data {
    let bad = Data {
        at: lexeme.range.start,
        kind: Kind::Bad,
    };
    let escaped = Escaped::new(findings, lexeme);
    match parse_expr(&escaped.text) {
        Ok(expr) => Reader { findings, escaped }.data(&expr),
        Err(error) => {
            let at = escaped.source_offset(error.location().offset());
            findings.error(at, format!("not a value: {}", error.message()));
            bad
        }
    }
}

/// An expression's text in which run-time interpolations are escaped.
struct Escaped {
    text: String,
    start: usize,
    /// Where in `text` a character was put in, ascending.
    inserted: Vec<usize>,
}

impl Escaped {
    fn new(findings: &mut Findings<'_>, lexeme: &Lexeme) -> Self {
        let source = findings.source.text;
        let mut escaped = Self {
            text: String::new(),
            start: lexeme.range.start,
            inserted: Vec::new(),
        };
        let mut copied = lexeme.range.start;
        for Interpolation { range, is_quoted } in &lexeme.interpolations {
            if !is_literal(findings, range.clone()) {
                continue;
            }
            escaped.text.push_str(&source[copied..range.start]);
            escaped.insert('$');
            for c in source[range.clone()].chars() {
                if *is_quoted && matches!(c, '"' | '\\') {
                    escaped.insert('\\');
                }
                escaped.text.push(c);
            }
            copied = range.end;
        }
        escaped.text.push_str(&source[copied..lexeme.range.end]);
        escaped
    }

    fn insert(&mut self, c: char) {
        self.inserted.push(self.text.len());
        self.text.push(c);
    }

    fn source_offset(&self, offset: usize) -> usize {
        let inserted = self.inserted.partition_point(|at| *at < offset);
        self.start + offset - inserted
    }
}

/// Whether `${...}` at `range` is for the running task and not for us.
fn is_literal(findings: &mut Findings<'_>, range: Range<usize>) -> bool {
    let inner = &findings.source.text[range.start + 2..range.end - 1];
    let Ok(expr) = parse_expr(inner.trim()) else {
        findings.warn(
            range.start,
            "this isn't an HCL 2 interpolation, it is taken as literal text: write `$${` for that",
        );
        return true;
    };
    let root = match &expr {
        Expression::Variable(name) => Some(name.value()),
        Expression::Traversal(traversal) => traversal.expr.as_variable(),
        _ => None,
    };
    root.is_some_and(|name| !CONFIG_ROOTS.contains(&name.as_str()))
}

struct Reader<'r, 'a> {
    findings: &'r mut Findings<'a>,
    escaped: Escaped,
}

impl Reader<'_, '_> {
    fn at(&self, spanned: &impl Span) -> usize {
        let offset = spanned.span().map_or(0, |span| span.start);
        self.escaped.source_offset(offset)
    }

    fn data(&mut self, expr: &Expression) -> Data {
        let at = self.at(expr);
        let kind = match expr {
            Expression::Null(_) => Kind::Null,
            Expression::Bool(flag) => Kind::Bool(*flag.value()),
            Expression::Number(number) => self.number(number.value(), at),
            Expression::String(text) => Kind::Text(text.value().clone()),
            Expression::Array(items) => Kind::List(items.iter().map(|e| self.data(e)).collect()),
            Expression::Object(object) => self.map(object),
            Expression::Parenthesis(inner) => return self.data(inner.inner()),
            Expression::BinaryOp(op) if is_arithmetic(*op.operator.value()) => {
                let (left, right) = (self.data(&op.lhs_expr), self.data(&op.rhs_expr));
                self.arithmetic(&left, *op.operator.value(), &right)
            }
            Expression::StringTemplate(_)
            | Expression::HeredocTemplate(_)
            | Expression::Variable(_)
            | Expression::Conditional(_)
            | Expression::FuncCall(_)
            | Expression::Traversal(_)
            | Expression::UnaryOp(_)
            | Expression::BinaryOp(_)
            | Expression::ForExpr(_) => self.evaluated(expr, at),
        };
        Data { at, kind }
    }

    fn number(&mut self, number: &hcl::Number, at: usize) -> Kind {
        match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Kind::Int(whole),
            (None, Some(float)) if float.is_finite() => Kind::Float(float),
            _ => {
                self.findings.error(at, "this is not a number");
                Kind::Bad
            }
        }
    }

    fn map(&mut self, object: &Object) -> Kind {
        let mut entries = Vec::new();
        for (key, value) in object {
            let name = match key {
                ObjectKey::Ident(ident) => Some((ident.as_str().to_owned(), self.at(ident))),
                ObjectKey::Expression(expr) => {
                    let key = self.data(expr);
                    key.to_text().map(|text| (text, key.at))
                }
            };
            let data = self.data(value.expr());
            if let Some((text, at)) = name {
                entries.push((Name { text, at }, data));
            } else {
                self.findings
                    .error(data.at, "the key of this entry isn't a string");
            }
        }
        Kind::Map(entries)
    }

    /// `hcl` would panic on `1 / 0`, so arithmetic is done here.
    fn arithmetic(&mut self, left: &Data, operator: BinaryOperator, right: &Data) -> Kind {
        if matches!(left.kind, Kind::Bad) || matches!(right.kind, Kind::Bad) {
            return Kind::Bad;
        }
        let result = calculate(&left.kind, operator, &right.kind);
        result.unwrap_or_else(|| {
            let message = format!("this `{}` has no result", operator.as_str());
            self.findings.error(left.at, message);
            Kind::Bad
        })
    }

    /// A constant expression's value.
    fn evaluated(&mut self, expr: &Expression, at: usize) -> Kind {
        let mut blame = Blame::default();
        blame.visit_expr(expr);
        if let Some((offset, message, hint)) = blame.found {
            let at = offset.map_or(at, |offset| self.escaped.source_offset(offset));
            self.findings.error_with(at, message, hint);
            return Kind::Bad;
        }
        match hcl::Expression::from(expr.clone()).evaluate(&Context::new()) {
            Ok(value) => self.computed(value, at),
            Err(error) => {
                let message = error.kind().to_string();
                self.findings
                    .error(at, format!("this has no value: {message}"));
                Kind::Bad
            }
        }
    }

    fn computed(&mut self, value: hcl::Value, at: usize) -> Kind {
        match value {
            hcl::Value::Null => Kind::Null,
            hcl::Value::Bool(flag) => Kind::Bool(flag),
            hcl::Value::Number(number) => self.number(&number, at),
            hcl::Value::String(text) => Kind::Text(text),
            hcl::Value::Array(items) => Kind::List(
                items
                    .into_iter()
                    .map(|item| Data {
                        at,
                        kind: self.computed(item, at),
                    })
                    .collect(),
            ),
            hcl::Value::Object(entries) => Kind::Map(
                entries
                    .into_iter()
                    .map(|(text, value)| {
                        let kind = self.computed(value, at);
                        (Name { text, at }, Data { at, kind })
                    })
                    .collect(),
            ),
        }
    }
}

fn is_arithmetic(operator: BinaryOperator) -> bool {
    match operator {
        BinaryOperator::Div
        | BinaryOperator::Minus
        | BinaryOperator::Mod
        | BinaryOperator::Mul
        | BinaryOperator::Plus => true,
        BinaryOperator::Eq
        | BinaryOperator::NotEq
        | BinaryOperator::LessEq
        | BinaryOperator::GreaterEq
        | BinaryOperator::Less
        | BinaryOperator::Greater
        | BinaryOperator::And
        | BinaryOperator::Or => false,
    }
}

/// Exact for whole numbers with a whole result.
fn calculate(left: &Kind, operator: BinaryOperator, right: &Kind) -> Option<Kind> {
    if let (Kind::Int(a), Kind::Int(b)) = (left, right) {
        let whole = match operator {
            BinaryOperator::Plus => a.checked_add(*b),
            BinaryOperator::Minus => a.checked_sub(*b),
            BinaryOperator::Mul => a.checked_mul(*b),
            BinaryOperator::Mod => a.checked_rem(*b),
            BinaryOperator::Div if a.checked_rem(*b) == Some(0) => a.checked_div(*b),
            _ => None,
        };
        if whole.is_some() {
            return whole.map(Kind::Int);
        }
    }
    let (a, b) = (float(left)?, float(right)?);
    let result = match operator {
        BinaryOperator::Plus => a + b,
        BinaryOperator::Minus => a - b,
        BinaryOperator::Mul => a * b,
        BinaryOperator::Div => a / b,
        BinaryOperator::Mod => a % b,
        _ => return None,
    };
    result.is_finite().then_some(Kind::Float(result))
}

fn float(kind: &Kind) -> Option<f64> {
    match kind {
        #[expect(
            clippy::cast_precision_loss,
            reason = "HCL numbers are floats beyond 2^53"
        )]
        Kind::Int(number) => Some(*number as f64),
        Kind::Float(number) => Some(*number),
        Kind::Null | Kind::Bool(_) | Kind::Text(_) | Kind::List(_) | Kind::Map(_) | Kind::Bad => {
            None
        }
    }
}

/// Finds the first thing in an expression that has no constant value, and says so.
#[derive(Default)]
struct Blame {
    found: Option<(Option<usize>, String, Option<String>)>,
}

impl Blame {
    fn put(&mut self, at: Option<usize>, message: String, hint: Option<String>) {
        self.found.get_or_insert((at, message, hint));
    }
}

impl Visit for Blame {
    fn visit_expr(&mut self, expr: &Expression) {
        let at = expr.span().map(|span| span.start);
        match expr {
            Expression::FuncCall(call) => {
                let name = &call.name.name;
                self.put(at, format!("function `{name}` isn't supported yet"), None);
            }
            Expression::ForExpr(_) => {
                self.put(at, "`for` isn't supported yet".to_owned(), None);
            }
            Expression::Variable(name) if CONFIG_ROOTS.contains(&name.as_str()) => {
                let message = format!("variables (`{name}.`) aren't supported yet");
                self.put(at, message, None);
            }
            Expression::Variable(name) => {
                let message = format!("`{name}` isn't a value");
                let hint = format!("text is written in quotes: \"{name}\"");
                self.put(at, message, Some(hint));
            }
            Expression::Traversal(traversal) => match traversal.expr.as_variable() {
                Some(root) if !CONFIG_ROOTS.contains(&root.as_str()) => {
                    let message = format!("`{root}` is only known to the running task");
                    let hint = format!("write it in quotes: \"${{{root}...}}\"");
                    self.put(at, message, Some(hint));
                }
                _ => visit_expr(self, expr),
            },
            Expression::BinaryOp(op) if is_arithmetic(*op.operator.value()) => {
                self.put(at, "arithmetic isn't supported here yet".to_owned(), None);
            }
            Expression::Null(_)
            | Expression::Bool(_)
            | Expression::Number(_)
            | Expression::String(_)
            | Expression::Array(_)
            | Expression::Object(_)
            | Expression::StringTemplate(_)
            | Expression::HeredocTemplate(_)
            | Expression::Parenthesis(_)
            | Expression::Conditional(_)
            | Expression::UnaryOp(_)
            | Expression::BinaryOp(_) => visit_expr(self, expr),
        }
    }

    fn visit_for_directive(&mut self, _: &ForDirective) {
        self.put(None, "`%{ for }` isn't supported yet".to_owned(), None);
    }
}

//! A job's diff as text: what is added, deleted and edited is marked, and everything lines up.

use logic::diff::{FieldDiff, GroupDiff, JobDiff, Kind, ObjectDiff, TaskDiff};

use super::super::terminal::Style;

/// What stands before something that differs, and how wide it is.
fn marker(kind: Kind, style: Style) -> String {
    match kind {
        Kind::Same => String::new(),
        Kind::Added => format!("{} ", style.green("+")),
        Kind::Deleted => format!("{} ", style.red("-")),
        Kind::Edited => format!("{} ", style.yellow("+/-")),
    }
}

fn width(kind: Kind) -> usize {
    marker(kind, Style::default()).len()
}

/// A marker with what comes after it in the same column as after the widest marker here.
fn marked(kind: Kind, widest: usize, style: Style) -> String {
    marker(kind, style) + &spaces(widest - width(kind))
}

fn spaces(count: usize) -> String {
    " ".repeat(count)
}

/// The widths of the widest name and of the widest marker.
fn widest(fields: &[FieldDiff], objects: &[ObjectDiff]) -> (usize, usize) {
    let name = fields.iter().map(|field| field.name.chars().count()).max();
    let kinds = fields.iter().map(|field| field.r#type);
    let kinds = kinds.chain(objects.iter().map(|object| object.r#type));
    (name.unwrap_or(0), kinds.map(width).max().unwrap_or(0))
}

pub(super) fn job(diff: &JobDiff, verbose: bool, style: Style) -> String {
    let head = style.bold(&format!("Job: {}", quoted(&diff.id)));
    let mut lines = vec![format!("{}{head}", marker(diff.r#type, style))];
    let (name, mark) = widest(&diff.fields, &diff.objects);
    let groups = diff.task_groups.iter().map(|group| width(group.r#type));
    let mark = groups.max().unwrap_or(0).max(mark);
    if diff.r#type == Kind::Edited || verbose {
        aligned(
            &mut lines,
            &diff.fields,
            &diff.objects,
            0,
            (name, mark),
            style,
        );
    }
    let groups: Vec<_> = diff
        .task_groups
        .iter()
        .map(|shown| group(shown, mark, verbose, style))
        .collect();
    lines.push(groups.join("\n\n"));
    lines.join("\n").trim().to_owned()
}

fn group(diff: &GroupDiff, mark: usize, verbose: bool, style: Style) -> String {
    let head = style.bold(&format!("Task Group: {}", quoted(&diff.name)));
    let mut line = format!("{}{head}", marked(diff.r#type, mark, style));
    if !diff.updates.is_empty() {
        let updates = diff.updates.iter();
        let updates: Vec<_> = updates
            .map(|(what, count)| update(what, *count, style))
            .collect();
        line = format!("{line} ({})", updates.join(", "));
    }
    let mut lines = vec![line];
    let indent = mark - width(diff.r#type) + 2;
    let (name, mark) = widest(&diff.fields, &diff.objects);
    let tasks = diff.tasks.iter().map(|task| width(task.r#type));
    let mark = tasks.max().unwrap_or(0).max(mark);
    if diff.r#type == Kind::Edited || verbose {
        aligned(
            &mut lines,
            &diff.fields,
            &diff.objects,
            indent,
            (name, mark),
            style,
        );
    }
    for shown in &diff.tasks {
        task(&mut lines, shown, indent, mark, verbose, style);
    }
    lines.join("\n")
}

fn update(what: &str, count: u64, style: Style) -> String {
    let text = format!("{count} {what}");
    match what {
        "create" => style.green(&text),
        "destroy" => style.red(&text),
        "migrate" => style.blue(&text),
        "in-place update" => style.cyan(&text),
        "create/destroy update" | "canary" => style.yellow(&text),
        _ => text,
    }
}

fn task(
    lines: &mut Vec<String>,
    diff: &TaskDiff,
    indent: usize,
    mark: usize,
    verbose: bool,
    style: Style,
) {
    let mark = marked(diff.r#type, mark, style);
    let head = style.bold(&format!("Task: {}", quoted(&diff.name)));
    let annotated = annotations(&diff.annotations, style);
    lines.push(format!("{}{mark}{head}{annotated}", spaces(indent)));
    let shown = match diff.r#type {
        Kind::Same => false,
        Kind::Added | Kind::Deleted => verbose,
        Kind::Edited => true,
    };
    if shown {
        let widths = widest(&diff.fields, &diff.objects);
        aligned(
            lines,
            &diff.fields,
            &diff.objects,
            indent + 2,
            widths,
            style,
        );
    }
}

fn aligned(
    lines: &mut Vec<String>,
    fields: &[FieldDiff],
    objects: &[ObjectDiff],
    indent: usize,
    (name, mark): (usize, usize),
    style: Style,
) {
    for shown in fields {
        lines.push(field(shown, indent, (name, mark), style));
    }
    for shown in objects {
        object(lines, shown, indent, mark, style);
    }
}

fn object(lines: &mut Vec<String>, diff: &ObjectDiff, indent: usize, mark: usize, style: Style) {
    let before = spaces(indent);
    let marked = marked(diff.r#type, mark, style);
    lines.push(format!("{before}{marked}{} {{", diff.name));
    let indent_inside = indent + mark - width(diff.r#type) + 2;
    let widths = widest(&diff.fields, &diff.objects);
    aligned(
        lines,
        &diff.fields,
        &diff.objects,
        indent_inside,
        widths,
        style,
    );
    lines.push(format!("{before}{}}}", spaces(mark)));
}

fn field(diff: &FieldDiff, indent: usize, (name, mark): (usize, usize), style: Style) -> String {
    let before = spaces(indent) + &marked(diff.r#type, mark, style);
    let gap = spaces(name - diff.name.chars().count());
    let value = match diff.r#type {
        Kind::Same | Kind::Added => quoted(&diff.new),
        Kind::Deleted => quoted(&diff.old),
        Kind::Edited => format!("{} => {}", quoted(&diff.old), quoted(&diff.new)),
    };
    let annotated = annotations(&diff.annotations, style);
    format!("{before}{}: {gap}{value}{annotated}", diff.name)
}

/// In double quotes, on one line.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            _ if letter.is_control() => quoted.extend(letter.escape_debug()),
            _ => quoted.push(letter),
        }
    }
    quoted + "\""
}

fn annotations(annotations: &[String], style: Style) -> String {
    if annotations.is_empty() {
        return String::new();
    }
    let coloured: Vec<_> = annotations
        .iter()
        .map(|annotation| match annotation.as_str() {
            "forces create" => style.green(annotation),
            "forces destroy" => style.red(annotation),
            "forces in-place update" => style.cyan(annotation),
            "forces create/destroy update" => style.yellow(annotation),
            _ => annotation.clone(),
        })
        .collect();
    format!(" ({})", coloured.join(", "))
}

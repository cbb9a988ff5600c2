//! Whole files in; jobs, configurations and problems out.

mod agent;
mod hcl;
mod json;
mod malformed;
mod properties;
mod walkthrough;

use jobspec::{Errors, Parsed, parse_job};

/// A job that is fine but for what is put in: `TASK` in its task, `GROUP` in its group.
fn job_with(group: &str, task: &str) -> String {
    format!(
        r#"job "web" {{
  group "web" {{
    {group}
    task "server" {{
      driver = "docker"
      config {{ image = "nginx" }}
      {task}
    }}
  }}
}}
"#
    )
}

fn accepted(text: &str) -> Parsed {
    match parse_job("web.nomad", text.as_bytes()) {
        Ok(parsed) => parsed,
        Err(errors) => panic!("refused:\n{}\n{text}", errors.render(text)),
    }
}

fn refused(text: &str) -> Errors {
    match parse_job("web.nomad", text.as_bytes()) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(errors) => errors,
    }
}

/// Each problem as `LINE:COLUMN: MESSAGE`, with its hint behind a bar.
fn told(errors: &Errors) -> Vec<String> {
    let problems = errors.0.iter().map(|problem| {
        let hint = problem.hint.as_deref();
        let hint = hint.map(|hint| format!(" | {hint}")).unwrap_or_default();
        format!(
            "{}:{}: {}{hint}",
            problem.line, problem.column, problem.message
        )
    });
    problems.collect()
}

/// A file of the folder shared between projects; nothing, said aloud, where there is none.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn shared(path: &str) -> Option<Vec<u8>> {
    let full = format!("{}/../../../shared/{path}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&full).ok();
    if bytes.is_none() {
        eprintln!("skipped: no {full}");
    }
    bytes
}

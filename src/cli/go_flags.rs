//! Flags as Go programs take them: one dash or two, `-check-index=5` or `-check-index 5`,
//! `-verbose` or `-verbose=false`. They become what clap reads; commands know nothing of it.
//! `-diff=false` becomes `--no-diff` for a command that has that, which is one with `-diff` on.

use std::ffi::OsString;

use clap::{Arg, Command};

/// What one argument turned out to be.
enum Flag<'c> {
    /// `-h`, `-n`, `-n5`: clap reads these itself; the value, if one is due, is the next argument.
    Short { value_follows: bool },
    Long {
        name: &'c str,
        value: Option<&'c str>,
    },
}

/// The arguments after the program's name, rewritten for clap.
pub(super) fn rewritten(root: &Command, arguments: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let mut command = root;
    let mut out = Vec::new();
    let mut rest = arguments.into_iter();
    while let Some(argument) = rest.next() {
        let Some(text) = argument.to_str() else {
            out.push(argument);
            continue;
        };
        if text == "--" {
            out.push(argument);
            out.extend(rest);
            break;
        }
        match flag(command, text) {
            None if runs_a_program(command) => {
                // As in Go, flags end where the first other argument is.
                out.push(OsString::from("--"));
                out.push(argument);
                out.extend(rest);
                break;
            }
            None => {
                command = command.find_subcommand(text).unwrap_or(command);
                out.push(argument);
            }
            Some(Flag::Short { value_follows }) => {
                out.push(argument);
                if value_follows && let Some(value) = rest.next() {
                    out.push(value);
                }
            }
            Some(Flag::Long { name, value }) => {
                let value = value.map(OsString::from);
                out.extend(long(command, name, value, || rest.next())?);
            }
        }
    }
    Ok(out)
}

fn flag<'t>(command: &Command, text: &'t str) -> Option<Flag<'t>> {
    let body = text.strip_prefix('-')?;
    let (body, two_dashes) = match body.strip_prefix('-') {
        Some(body) => (body, true),
        None => (body, false),
    };
    let first = body.chars().next()?;
    if first.is_ascii_digit() || first == '.' {
        // A negative number.
        return None;
    }
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    let short = |short: char| {
        command
            .get_arguments()
            .find(|arg| arg.get_short() == Some(short))
    };
    let is_short = !two_dashes && named(command, name).is_none() && {
        let alone = name.chars().count() == 1;
        let with_number = name[first.len_utf8()..].parse::<i64>().is_ok();
        alone || (with_number && short(first).is_some_and(takes_value))
    };
    if is_short {
        let alone = body.chars().count() == 1;
        let value_follows = alone && short(first).is_some_and(takes_value);
        return Some(Flag::Short { value_follows });
    }
    Some(Flag::Long { name, value })
}

/// Whether a command's last argument is a program's command line, whose flags are its own.
fn runs_a_program(command: &Command) -> bool {
    command.get_positionals().any(Arg::is_trailing_var_arg_set)
}

fn named<'c>(command: &'c Command, name: &str) -> Option<&'c Arg> {
    command.get_arguments().find(|arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long() == Some(name) || aliases.contains(&name)
    })
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

/// A long flag in clap's spelling. A value that is an argument of its own is joined, so that it may
/// begin with a dash.
fn long(
    command: &Command,
    name: &str,
    value: Option<OsString>,
    next: impl FnOnce() -> Option<OsString>,
) -> Result<Option<OsString>, String> {
    let spelled = OsString::from(format!("--{name}"));
    let with = |value: OsString| {
        let mut whole = spelled.clone();
        whole.push("=");
        whole.push(value);
        whole
    };
    match (named(command, name), value) {
        (Some(arg), None) if takes_value(arg) => Ok(Some(match next() {
            Some(value) => with(value),
            None => spelled,
        })),
        (Some(arg), Some(value)) if !takes_value(arg) => match value.to_str() {
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(spelled)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => {
                let off = format!("no-{name}");
                let off = named(command, &off).map(|_| OsString::from(format!("--{off}")));
                Ok(off)
            }
            Some(_) | None => Err(format!(
                "invalid boolean value \"{}\" for -{name}: write true or false",
                value.to_string_lossy()
            )),
        },
        (_, Some(value)) => Ok(Some(with(value))),
        (_, None) => Ok(Some(spelled)),
    }
}

#[cfg(test)]
mod tests {
    use clap::{ArgAction, arg};

    use super::*;

    fn program() -> Command {
        let run = Command::new("run")
            .arg(arg!(--detach))
            .arg(arg!(--diff))
            .arg(arg!(--"no-diff"))
            .arg(arg!(--"check-index" <N>))
            .arg(arg!(-n <N>))
            .arg(arg!(-f - -follow).action(ArgAction::SetTrue))
            .arg(arg!(--name <NAME>).alias("node"))
            .arg(arg!(<FILE>));
        let program = arg!([PROGRAM] ...).trailing_var_arg(true);
        let lock = Command::new("lock").arg(arg!(--name <NAME>)).arg(program);
        let job = Command::new("job").subcommand(run);
        Command::new("nomad").subcommand(job).subcommand(lock)
    }

    fn check(typed: &str, meant: &str) {
        let typed = typed.split(' ').map(OsString::from).collect();
        let out = rewritten(&program(), typed).expect("well-formed flags");
        let out: Vec<_> = out.iter().map(|text| text.to_string_lossy()).collect();
        assert_eq!(out.join(" "), meant);
    }

    #[test]
    fn one_dash_and_two_mean_the_same() {
        check("job run -detach web.nomad", "job run --detach web.nomad");
        check("job run --detach web.nomad", "job run --detach web.nomad");
        check("-help", "--help");
        check("job -help", "job --help");
    }

    #[test]
    fn values_may_be_joined_or_apart() {
        check("job run -check-index=5 f", "job run --check-index=5 f");
        check("job run -check-index 5 f", "job run --check-index=5 f");
        check("job run -name -odd- f", "job run --name=-odd- f");
        check("job run -node a=b", "job run --node=a=b");
        check("job run -check-index", "job run --check-index");
    }

    #[test]
    fn booleans_can_be_given_a_value() {
        check("job run -detach=true f", "job run --detach f");
        check("job run -detach=false f", "job run f");
        check("job run -diff=false f", "job run --no-diff f");
        check("job run -diff f", "job run --diff f");
        let typed = ["job", "run", "-detach=maybe"].map(OsString::from);
        let refused = rewritten(&program(), typed.to_vec());
        assert_eq!(
            refused,
            Err("invalid boolean value \"maybe\" for -detach: write true or false".to_owned())
        );
    }

    #[test]
    fn short_flags_numbers_and_what_follows_two_dashes_stay() {
        check("job run -f -n 5 -h", "job run -f -n 5 -h");
        check("job run -n -5 f", "job run -n -5 f");
        check("job run -n5 f", "job run -n5 f");
        check("job run -5", "job run -5");
        check("job run -", "job run -");
        check("job run -- -detach -x", "job run -- -detach -x");
    }

    #[test]
    fn a_programs_flags_are_its_own() {
        check(
            "lock -name a prefix date -u --detach -- x",
            "lock --name=a -- prefix date -u --detach -- x",
        );
    }

    #[test]
    fn unknown_flags_are_left_to_clap_to_complain_about() {
        check("job run -detahc f", "job run --detahc f");
        check("job run -detahc=x f", "job run --detahc=x f");
    }
}

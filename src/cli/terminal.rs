//! Standard output and error: printed whole, coloured only for people, silent once nobody reads.

use std::io::{self, IsTerminal, Write};

use super::exit::Exit;

/// Prints a text and a line's end.
pub(super) fn print(text: &str) {
    write(text.as_bytes());
    if !text.ends_with('\n') {
        write(b"\n");
    }
}

/// Prints bytes as they are, at once. Nothing more can be done once that fails.
pub(super) fn write(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(bytes).and_then(|()| out.flush()) {
        let exit = if error.kind() == io::ErrorKind::BrokenPipe {
            // The usual case is `... | head`: nothing is wrong, and nobody is there to be told.
            Exit::NoReader
        } else {
            complain(&format!("can't write to standard output: {error}"));
            Exit::Failed
        };
        std::process::exit(i32::from(exit.code()));
    }
}

/// Prints a line to standard error.
pub(super) fn complain(text: &str) {
    // If even this fails, the exit code still tells.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether what is printed gets colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Style {
    coloured: bool,
}

impl Style {
    #[cfg(test)]
    pub(super) const PLAIN: Self = Self { coloured: false };

    /// Colours if standard output is a terminal and nobody has asked for none.
    pub(super) fn detect(no_color: bool) -> Self {
        let unwanted = ["NO_COLOR", "NOMAD_CLI_NO_COLOR"]
            .iter()
            .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            coloured: !no_color && !unwanted && !dumb && io::stdout().is_terminal(),
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.paint("31", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(super) fn blue(self, text: &str) -> String {
        self.paint("34", text)
    }

    pub(super) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }
}

/// Asks a question on the terminal; only `y` and `yes` mean yes.
pub(super) fn confirm(question: &str) -> bool {
    write(format!("{question} [y/N] ").as_bytes());
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

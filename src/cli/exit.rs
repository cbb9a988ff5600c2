//! How the program ends: every exit code there is, and what a command says when it can't go on.

use std::fmt::Display;
use std::process::ExitCode;

use super::terminal;

/// What an ended command means to the script that called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// Bad usage, no agent, nothing found, refused.
    Failed,
    /// The job is registered, but some of it isn't running: no room, or it can't be started.
    NotPlaced,
    /// No command was given.
    NoCommand,
    /// Whoever read our output has left.
    NoReader,
    /// What was planned starts or stops allocations.
    Changes,
    /// There is no plan: less than that means that there is one.
    NoPlan,
    /// The program that was run while a lock was held has failed.
    ChildFailed,
    /// What an executor says about itself.
    Executor(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed | Self::Changes => 1,
            Self::NotPlaced | Self::ChildFailed => 2,
            Self::NoCommand => 127,
            Self::NoReader => 141,
            Self::NoPlan => 255,
            Self::Executor(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command gave up, in words for the one who typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Failure {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
        }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same failure, told as part of `doing`.
    #[must_use]
    pub(super) fn during(mut self, doing: impl Display) -> Self {
        self.message = format!("{doing}: {}", self.message);
        self
    }

    pub(super) fn tell(&self) -> Exit {
        terminal::complain(&self.message);
        if let Some(hint) = &self.hint {
            terminal::complain(&format!("hint: {hint}"));
        }
        Exit::Failed
    }
}

/// What a command comes to.
pub(super) type Outcome = Result<Exit, Failure>;

//! The program from outside, as its users meet it; and the repository's own rules.

#![expect(clippy::print_stderr, reason = "tests tell what they skip")]

#[cfg(test)]
mod agent;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod cli_args;
#[cfg(test)]
mod docker;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod program;
#[cfg(test)]
mod quickstart;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod webdriver;

//! The program from outside, as its users meet it; and the repository's own rules.

#![expect(clippy::print_stderr, reason = "tests tell what they skip")]

#[cfg(test)]
mod agent;
#[cfg(test)]
mod beside;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod catalog;
#[cfg(test)]
mod cli_args;
#[cfg(test)]
mod docker;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod operators;
#[cfg(test)]
mod plan;
#[cfg(test)]
mod program;
#[cfg(test)]
mod quickstart;
#[cfg(test)]
mod rolling_update;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod webdriver;

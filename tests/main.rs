//! The program from outside, as its users meet it; and the repository's own rules.

#[cfg(test)]
mod agent;
#[cfg(test)]
mod cli_args;
#[cfg(test)]
mod docker;
#[cfg(test)]
mod mistakes;
#[cfg(test)]
mod program;
#[cfg(test)]
mod quickstart;
#[cfg(test)]
mod tidy;

//! A Consul that others run, beside this agent: asked over HTTP, kept told of what runs here, and
//! asked for other servers.

mod client;
mod form;
mod keeper;
mod neighbour;
mod own;
mod round;

pub(crate) use client::Consul;
pub use keeper::{Heard, Keeper};
pub(crate) use keeper::{Keep, Retire, Settle};
pub(crate) use neighbour::look_around;
pub(crate) use own::registrations;

#[cfg(test)]
mod tests;

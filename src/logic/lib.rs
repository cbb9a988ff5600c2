//! Everything Drover decides: pure data, pure functions and pure state machines.
//!
//! Nothing in this crate reads a clock, draws randomness, does IO or is async. Time comes in as
//! a [`time::Time`] argument, ids come in from the caller, and what must happen goes out as a
//! value.

pub mod address;
pub mod autopilot;
pub mod beside;
pub mod catalog;
pub mod client_hello;
pub mod config;
pub mod diff;
pub mod dns;
pub mod drain;
pub mod duration;
pub mod election;
pub mod fabio;
pub mod fuzz;
pub mod id;
pub mod invariants;
pub mod lifecycle;
pub mod membership;
pub mod model;
pub mod percent;
pub mod registry;
pub mod routes;
pub mod schedule;
pub mod serial;
pub mod state;
pub mod table;
pub mod time;
pub mod validate;

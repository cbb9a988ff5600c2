//! Drover's actors, its HTTP APIs, DNS and the edge proxy.
//!
//! Everything here runs the same in the real world and in the simulator: what is outside is asked
//! through [`ports::World`]. [`start()`] creates the actors and wires them.

pub mod api;
pub mod catalog;
mod checked_file;
pub mod client;
pub mod consul;
pub mod dns;
pub mod edge;
pub mod error;
mod exchange;
pub mod fuzz;
pub mod gossip;
pub mod http_listener;
mod own_services;
pub mod planted;
pub mod published;
pub mod registry;
pub mod reload;
pub mod rpc;
pub mod seal;
pub mod server;
mod start;
pub mod state;
pub mod wire;
pub mod wishes;

pub use error::StartError;
pub use start::{Agent, VERSION, start};

//! The simulated world behind the ports: networks that break, disks that lose, containers that
//! crash, all decided by one seed.

pub mod clock;
pub mod cluster;
mod connection;
pub mod consul;
pub mod containers;
pub mod disk;
mod engine;
pub mod fate;
mod files;
pub mod invariants;
mod life;
mod links;
mod load;
mod locks;
pub mod machine;
mod memory_network;
pub mod network;
pub mod nodes;
pub mod order;
pub mod pool;
pub mod run;
pub mod scenarios;
mod service;
pub mod sight;
pub mod swarm;
pub(crate) mod tls;
pub mod trace;
pub mod user;
pub mod workers;
pub mod world;

pub use engine::Behaviour;
pub use world::{SimHost, world};

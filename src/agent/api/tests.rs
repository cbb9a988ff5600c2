//! Both APIs through their routers, over a real server that keeps everything in memory.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod cluster;
mod consul;
mod fixture;
mod golden;
mod kv;
mod logs;
mod nomad;
mod passing_on;
mod plan;
mod registering;
mod sessions;
pub(crate) mod world;

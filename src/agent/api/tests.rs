//! Both APIs through their routers, over a real server that keeps everything in memory.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod alloc_services;
mod cluster;
mod consul;
mod deployments;
mod drain;
mod fixture;
mod golden;
mod kv;
mod logs;
mod nomad;
mod passing_on;
mod plan;
mod registering;
mod sessions;
mod web;
pub(crate) mod world;

//! The client half of an agent: runs the allocations its node was given.

mod allocation;
mod client;
mod health_check;
mod identity;
mod probe;
mod task;

pub use allocation::Allocation;
pub use client::{Client, Leave};
pub use health_check::HealthCheck;
pub use identity::{NodeIdentity, node_identity};
pub use task::Task;

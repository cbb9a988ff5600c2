//! The client half of an agent: runs the allocations its node was given.

mod allocation;
mod health_check;
mod here;
mod identity;
mod kept;
mod node;
pub(crate) mod probe;
mod sweep;
mod task;

pub use allocation::Allocation;
pub use health_check::HealthCheck;
pub use identity::{NodeIdentity, node_identity};
pub use node::{Client, Leave};
pub use task::Task;

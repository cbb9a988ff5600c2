//! The nouns: what users, nodes and the scheduler talk about.
//!
//! Field names in JSON are those of the Nomad HTTP API (jobs, nodes, allocations, evaluations)
//! and of the Consul HTTP API (catalog). On the wire the same types are written by position.

mod allocation;
mod catalog;
mod deployment;
mod disconnect;
mod evaluation;
mod event;
mod external;
mod job;
mod kv;
mod node;
mod policy;
mod registration;
mod service;
mod session;
mod txn;
mod value;

pub use allocation::*;
pub use catalog::*;
pub use deployment::*;
pub use disconnect::*;
pub use evaluation::*;
pub use event::*;
pub use external::*;
pub use job::*;
pub use kv::*;
pub use node::*;
pub use policy::*;
pub use registration::*;
pub use service::*;
pub use session::*;
pub use txn::*;
pub use value::Value;

/// A UUID in its usual text form.
pub type NodeId = String;
/// A UUID in its usual text form.
pub type AllocId = String;
/// A UUID in its usual text form.
pub type EvalId = String;
/// The name in `job "NAME"`.
pub type JobId = String;

//! What the catalog is told and asked.

use std::sync::Arc;

use actix::Message;
use logic::lifecycle::services::Offer;
use logic::model::{Check, ServiceInstance};

use crate::consul::Heard;
use crate::published::Subscriber;

/// A task is up (or its job changed): these are its services. Replaces what `owner` had before;
/// checks that were there already keep their status.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Serve {
    pub owner: String,
    pub offers: Vec<Offer>,
}

/// A task is down or about to be. Answered when the servers know, or can't be reached.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Withdraw {
    pub owner: String,
}

/// Answered when the servers know all that is offered here now, or can't be reached.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Tell;

/// A check was run.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct CheckRan {
    pub check_id: String,
    pub status: &'static str,
    pub output: String,
}

/// The node registered with the servers (again): they may have forgotten what it offers.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct NodeRegistered;

/// The client has taken up what an earlier run of the agent left running: what is offered here is
/// complete from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Restored;

/// What is registered at this agent by others than its jobs; replaces what was before. Answered
/// when the servers know, or can't be reached.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Register {
    pub services: Vec<ServiceInstance>,
    pub checks: Vec<Check>,
}

/// Whoever runs checks of tasks asks who is to be heard about them, if it isn't themselves.
#[derive(Debug, Message)]
#[rtype(result = "Option<Subscriber<Arc<Heard>>>")]
pub struct AskBeside;

/// The agent ends. Answered when the Consul beside it, if there is one, knows.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ending;

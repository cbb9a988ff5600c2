//! What can be written to the replicated state, and what comes of it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::dump::Dump;
use crate::model::{
    AllocReport, CatalogChange, CatalogNode, DeploymentChange, DrainStrategy, Evaluation, External,
    Job, KvChange, Node, Plan, Session, TxnDone, TxnOp, UserEvent, Withdrawal,
};
use crate::time::Time;

/// One entry of the log: applied by every server, at the same index, with the same result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub index: u64,
    /// The proposer's clock when it was proposed: the only time an entry knows.
    pub at: Time,
    /// Chosen by the proposer: an entry that repeats one changes nothing. Empty: none.
    pub proposal: String,
    pub command: Command,
}

/// Everything that can change the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// The first entry of a cluster: the seed that derived ids come from.
    Found {
        seed: u64,
    },
    /// Registers a job or a new version of it.
    RegisterJob {
        job: Box<Job>,
        /// Only if the job's `JobModifyIndex` is this; 0: only if there is no such job.
        check_index: Option<u64>,
    },
    /// Stops a job; with `purge`, forgets it too.
    DeregisterJob {
        job_id: String,
        purge: bool,
    },
    /// Looks at a job again.
    EvaluateJob {
        job_id: String,
    },
    /// Registers a node, or replaces what it said of itself before.
    RegisterNode {
        node: Box<Node>,
        catalog: CatalogNode,
    },
    /// A node's lease ended, or it is back.
    SetNodeStatus {
        node_id: String,
        status: String,
        description: String,
    },
    SetNodeEligibility {
        node_id: String,
        eligible: bool,
    },
    /// Begins to empty a node; with nothing, ends that.
    SetNodeDrain {
        node_id: String,
        drain: Option<DrainStrategy>,
        /// Whether new allocations may be placed there once it isn't drained.
        eligible: bool,
        /// It ends because the node is empty.
        complete: bool,
    },
    /// Allocations have to leave their nodes.
    MigrateAllocs {
        alloc_ids: Vec<String>,
        /// Why, as evaluations say it.
        trigger: String,
    },
    /// What a node says of its allocations.
    ReportAllocs {
        node_id: String,
        /// Greater than that of all its reports before; 0: none.
        serial: u64,
        reports: Vec<AllocReport>,
    },
    /// New evaluations, and new states of existing ones.
    UpdateEvals {
        evals: Vec<Evaluation>,
    },
    /// A plan: what of it the state has no room for by now is left out.
    ApplyPlan {
        plan: Box<Plan>,
    },
    /// What an agent says of the services on its node.
    ChangeCatalog {
        change: CatalogChange,
    },
    /// A catalog node that runs no allocations, such as a server.
    RegisterCatalogNode {
        node: CatalogNode,
    },
    /// Other agents can't reach a node's agent any more, or can again. Its instances aren't named
    /// and routed to meanwhile; whether it is down is for its lease to say.
    SetReachable {
        node: String,
        reachable: bool,
    },
    /// Changes keys of the key-value store.
    Kv {
        change: KvChange,
    },
    /// Forgets what ended before these instants.
    CollectGarbage {
        evals_before: Time,
        jobs_before: Time,
        nodes_before: Time,
    },
    /// A part of what will replace everything, of the restore with this id.
    StageRestore {
        id: String,
        part: Box<Dump>,
    },
    /// Replaces everything by what an operator saved before: the parts that were staged under this
    /// id, so many, and the last one.
    Restore {
        id: String,
        staged: usize,
        dump: Box<Dump>,
    },
    /// Changes keys step by step: all of it, or nothing.
    Txn {
        ops: Vec<TxnOp>,
    },
    /// Its id is chosen when this is applied.
    CreateSession {
        session: Session,
    },
    /// A session's holder doesn't need it any more.
    DestroySession {
        id: String,
    },
    /// Nobody renewed a session in time.
    ExpireSession {
        id: String,
    },
    /// Writes a machine that runs no agent, or what is on it, into the catalog.
    RegisterExternal {
        external: Box<External>,
    },
    /// Takes such a thing out of the catalog.
    WithdrawExternal {
        gone: Withdrawal,
    },
    /// An agent said goodbye: its node goes, unless it runs allocations.
    ForgetLeftNode {
        node: String,
    },
    /// Its id is chosen when this is applied.
    FireEvent {
        event: UserEvent,
    },
    /// Somebody acts on how versions of a job follow each other.
    Rollout(Rollout),
}

/// What is asked about a job's versions and their rollouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rollout {
    Change {
        deployment_id: String,
        change: DeploymentChange,
    },
    /// Makes an earlier version of a job the newest one.
    Revert {
        job_id: String,
        version: u64,
        /// Only if the job is at this version.
        prior: Option<u64>,
    },
    /// A user says whether a version of a job is one to go back to.
    SetStability {
        job_id: String,
        version: u64,
        stable: bool,
    },
}

/// What an entry's proposer learns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Done,
    /// The evaluation that was made; empty if none was needed.
    Evaluated {
        eval_id: String,
        job_modify_index: u64,
    },
    /// What was left out of a plan: node ids with the reasons. Not empty: the scheduler has to
    /// look again.
    Planned {
        refused: Vec<(String, String)>,
    },
    /// Whether the keys are as was asked: a check may have prevented it.
    Kv {
        happened: bool,
    },
    /// Nothing came of it: the node has said something later, with this serial.
    Superseded {
        serial: u64,
    },
    Txn(TxnDone),
    /// The session's id.
    Session {
        id: String,
    },
    /// The event's id.
    Fired {
        id: String,
    },
    /// The evaluation that follows, the deployment's new index, and the version its job went back
    /// to.
    DeploymentChanged {
        eval_id: String,
        modify_index: u64,
        reverted_to: Option<u64>,
    },
}

/// Why an entry changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Refusal {
    #[error("Enforcing job modify index 0: job already exists")]
    JobExists,
    #[error("Enforcing job modify index {asked}: job does not exist")]
    NoJobToCheck { asked: u64 },
    #[error(
        "Enforcing job modify index {asked}: job exists with conflicting job modify index: {actual}"
    )]
    JobChanged { asked: u64, actual: u64 },
    #[error("job \"{0}\" not found")]
    NoSuchJob(String),
    #[error("node \"{0}\" not found")]
    NoSuchNode(String),
    #[error("allocation \"{0}\" has stopped, or is about to")]
    AllocStopped(String),
    #[error("node secret ID does not match")]
    WrongSecret,
    #[error("deployment \"{0}\" not found")]
    NoSuchDeployment(String),
    #[error("can't {0} terminal deployment")]
    DeploymentEnded(String),
    #[error("{0}")]
    NotPromotable(String),
    #[error("allocation \"{id}\" isn't part of deployment \"{deployment}\"")]
    NotInDeployment { id: String, deployment: String },
    #[error("job \"{job}\" has no version {version}")]
    NoSuchVersion { job: String, version: u64 },
    #[error("can't revert to current version")]
    CurrentVersion,
    #[error("Current job has version {actual}; enforcing version {asked}")]
    OtherVersion { asked: u64, actual: u64 },
    #[error("another restore came in between, or this one took too long: nothing is changed")]
    RestoreInterrupted,
    #[error("invalid session \"{0}\"")]
    NoSuchSession(String),
    #[error("{0}")]
    SessionCannotBe(String),
    #[error("{0}")]
    CatalogCannotBe(String),
    #[error(
        "the route \"{route}\" of service \"{service}\" belongs to service \"{other_service}\" of \
         job \"{job}\": use another host or path, stop that job first, or add weight=0.5 to the \
         tag if both are to share it"
    )]
    RouteTaken {
        route: String,
        service: String,
        job: String,
        other_service: String,
    },
}

impl Refusal {
    /// The HTTP status that says the same.
    pub fn http_status(&self) -> u16 {
        match self {
            Self::JobExists
            | Self::NoJobToCheck { .. }
            | Self::JobChanged { .. }
            | Self::OtherVersion { .. }
            | Self::AllocStopped(_)
            | Self::RestoreInterrupted
            | Self::RouteTaken { .. } => 409,
            Self::NoSuchJob(_)
            | Self::NoSuchNode(_)
            | Self::NoSuchDeployment(_)
            | Self::NoSuchVersion { .. } => 404,
            Self::DeploymentEnded(_)
            | Self::NotPromotable(_)
            | Self::NotInDeployment { .. }
            | Self::CurrentVersion
            | Self::NoSuchSession(_)
            | Self::SessionCannotBe(_)
            | Self::CatalogCannotBe(_) => 400,
            Self::WrongSecret => 403,
        }
    }
}

/// What applying an entry did.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The entry that did it: an earlier one, if this one repeated its proposal.
    pub index: u64,
    pub reply: Result<Reply, Refusal>,
    /// Evaluations that now wait for a scheduler.
    pub pending: Vec<Evaluation>,
}

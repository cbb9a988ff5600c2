//! The only doors out of Drover: what actors ask of the outside.
//!
//! Each port is a small trait with one error enum. `host` answers them with the real world,
//! `sim` with a simulated one; a [`World`] holds one of each. Nothing behind a port decides
//! anything: it does what it is told and says what happened.

mod clock;
mod containers;
pub mod contract;
mod disk;
mod machine;
mod network;
mod random;
mod workers;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use clock::Clock;
pub use containers::{
    Containers, Exit, FileInfo, Found, LogChunk, LogStream, PortMapping, TaskKey, TaskSpec,
    TaskUsage,
};
pub use disk::{Disk, File};
pub use machine::{Fingerprint, Machine, MachineUsage};
pub use network::{Accepted, Datagrams, Listener, Network, Stream};
pub use random::Random;
pub use workers::{BlockingWork, WorkerTask, Workers};

pub mod errors {
    //! One error enum a port.
    pub use crate::containers::Error as ContainersError;
    pub use crate::disk::Error as DiskError;
    pub use crate::network::Error as NetworkError;
}

/// A future behind a port.
pub type Asked<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything outside. Cheap to clone; clones share.
#[derive(Clone)]
pub struct World {
    pub network: Arc<dyn Network>,
    pub containers: Arc<dyn Containers>,
    pub disk: Arc<dyn Disk>,
    pub machine: Arc<dyn Machine>,
    pub clock: Arc<dyn Clock>,
    pub random: Random,
    pub workers: Arc<dyn Workers>,
}

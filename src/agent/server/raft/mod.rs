//! Agreement between servers: openraft over our log, our state machine, our network.

mod format;
pub(super) mod log_store;
pub(super) mod machine;
pub(super) mod network;
mod on_disk;
pub(super) mod open;
mod position;
pub(super) mod runtime;
pub(super) mod types;

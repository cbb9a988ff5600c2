//! An agent of the catalog, as Consul's users meet it.

mod agent;
mod golden;
mod locks;
mod recorded;
mod reloads;
mod watches;

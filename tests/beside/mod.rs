//! Our parts beside the real ones: an agent with a real Consul, a real fabio on our catalog. They
//! are looked for in `DROVER_REAL_CONSUL` and so on, then on the path; what isn't there is said,
//! and its tests are skipped.

mod consul;
mod fabio;
mod programs;

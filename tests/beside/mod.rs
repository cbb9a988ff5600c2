//! Our parts beside the real ones: an agent with a real Consul, a real fabio and a real Nomad on
//! our catalog. They are looked for in `DROVER_REAL_CONSUL` and so on, then on the path; what isn't
//! there is said, and its tests are skipped.

mod consul;
mod fabio;
mod nomad;
mod programs;

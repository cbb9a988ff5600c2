//! Drover's actors, its HTTP APIs, DNS and the edge proxy.

pub mod http_listener;

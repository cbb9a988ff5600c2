//! Any bytes from a client and an upstream: the edge's own way and hyper's mean the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agent::fuzz::exchanges(data));

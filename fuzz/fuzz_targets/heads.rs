//! Any bytes as what a connection begins with.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agent::fuzz::heads(data));

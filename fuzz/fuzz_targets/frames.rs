//! Any bytes as a message between agents.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agent::fuzz::frames(data));

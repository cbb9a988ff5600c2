//! Any bytes as a DNS message.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agent::fuzz::dns(data));

//! Any bytes as a file of options.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logic::fuzz::properties(data));

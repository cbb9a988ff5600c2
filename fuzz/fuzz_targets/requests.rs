//! Any bytes as a request and the table it is for.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logic::fuzz::requests(data));

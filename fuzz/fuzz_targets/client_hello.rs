//! Any bytes as the first message of a TLS connection.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logic::fuzz::client_hello(data));

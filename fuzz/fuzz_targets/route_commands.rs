//! Any bytes as route commands.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| logic::fuzz::route_commands(data));

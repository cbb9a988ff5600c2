//! Any bytes as a job file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| jobspec::fuzz_job_file(data));

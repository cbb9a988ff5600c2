//! Whole files in, jobs and problems out.

mod malformed;

//! The first scenario, in a process of its own: other tests' threads would disturb its trace.

use sim::run::run;
use sim::scenarios;

#[test]
fn the_first_job_survives_and_repeats_packet_for_packet() {
    let scenario = scenarios::find("first-job").expect("it exists");
    let (one, other) = (run(scenario, 7, true), run(scenario, 7, true));
    assert!(one.result.is_ok(), "{}", one.digest());
    assert_eq!(one.digest(), other.digest());
    assert!(one.trace.lines() == other.trace.lines(), "two histories");
}

//! Which command arguments mean.

use clap::CommandFactory;

use super::*;

fn meant(typed: &str) -> String {
    let arguments = typed.split(' ').map(OsString::from).collect();
    match parsed::<Drover>(Program::Drover, arguments) {
        Ok(Ok(drover)) => {
            let debug = format!("{:?}", drover.command);
            debug.split(" {").next().unwrap_or_default().to_owned()
        }
        Ok(Err(exit)) => format!("{exit:?}"),
        Err(failure) => failure.message,
    }
}

#[test]
fn the_commands_are_consistent() {
    Drover::command().debug_assert();
    Consul::command().debug_assert();
}

#[test]
fn old_and_short_spellings_mean_the_same_as_the_long_ones() {
    for (typed, command) in [
        ("job run x.nomad", "Job(Run(JobRun"),
        ("run -detach x.nomad", "Run(JobRun"),
        ("job status", "Job(Status(JobStatus"),
        ("status", "Status(Status"),
        ("stop web", "Stop(JobStop"),
        ("node-status -self", "NodeStatus(NodeStatus"),
        ("node status -self", "Node(Status(NodeStatus"),
        ("alloc-status 0e", "AllocStatus(AllocStatus"),
        ("eval-status 0e", "EvalStatus(EvalStatus"),
        ("logs -f -n 5 0e", "Logs(AllocLogs"),
        ("alloc logs -tail -n 5 0e web", "Alloc(Logs(AllocLogs"),
        ("server-members", "ServerMembers(Members"),
        ("job run -check-index 5 -", "Job(Run(JobRun"),
        ("members", "Members(Members"),
        ("catalog services -tags", "Catalog(Services(Services"),
        ("agent -dev -config=x -config y", "Agent(AgentArgs"),
    ] {
        assert_eq!(meant(typed), command, "{typed}");
    }
}

#[test]
fn what_means_nothing_fails() {
    for typed in [
        "jbo",
        "job bogus",
        "job",
        "job run",
        "job run -detahc x",
        "node status a b",
    ] {
        assert_eq!(meant(typed), "Failed", "{typed}");
    }
    assert_eq!(
        meant("job run -detach=maybe x"),
        "invalid boolean value \"maybe\" for -detach: write true or false"
    );
}

#[test]
fn commands_to_come_are_told_from_mistakes() {
    let later = |program, typed: &str| {
        let arguments: Vec<_> = typed.split(' ').map(OsString::from).collect();
        let text = help::later(program, &arguments)?;
        Some((text, help::exit_of_later(&arguments).code()))
    };
    assert_eq!(
        later(Program::Nomad, "job plan -verbose x.nomad"),
        Some(("`nomad job plan` isn't supported yet".to_owned(), 255))
    );
    assert_eq!(
        later(Program::Consul, "kv get a"),
        Some(("`consul kv` isn't supported yet".to_owned(), 1))
    );
    assert_eq!(later(Program::Nomad, "job run plan"), None);
    assert_eq!(later(Program::Drover, "bogus"), None);
}

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
        ("job plan -diff=false x.nomad", "Job(Plan(JobPlan"),
        ("plan -diff -policy-override -no-color -", "Plan(JobPlan"),
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
        ("server members -detailed", "Server(Members(Members"),
        ("server-join 10.0.0.1", "ServerJoin(Join"),
        ("server join 10.0.0.1 10.0.0.2", "Server(Join(Join"),
        ("server-force-leave a.global", "ServerForceLeave(ForceLeave"),
        (
            "server force-leave a.global",
            "Server(ForceLeave(ForceLeave",
        ),
        (
            "operator raft list-peers -stale",
            "Operator(Raft(ListPeers(ListPeers",
        ),
        (
            "operator raft remove-peer -peer-id=x",
            "Operator(Raft(RemovePeer(RemovePeer",
        ),
        (
            "operator autopilot health -json",
            "Operator(Autopilot(Health(ShowHealth",
        ),
        (
            "operator autopilot get-config",
            "Operator(Autopilot(GetConfig(GetConfig",
        ),
        ("operator snapshot save x", "Operator(Snapshot(Save(Save"),
        (
            "operator snapshot restore x",
            "Operator(Snapshot(Restore(Restore",
        ),
        (
            "operator gossip keyring generate",
            "Operator(Gossip(Keyring(Generate(Keygen",
        ),
        ("operator keygen", "Operator(Keygen(Keygen"),
        ("keygen", "Keygen(Keygen"),
        ("agent-info", "AgentInfo(AgentInfo"),
        (
            "agent -server -bootstrap-expect=3 -join a -join=b -retry-join c -encrypt=k",
            "Agent(AgentArgs",
        ),
        ("job run -check-index 5 -", "Job(Run(JobRun"),
        ("members", "Members(Members"),
        ("catalog services -tags", "Catalog(Services(Services"),
        ("kv get -keys -separator= a/", "Kv(Get(Get"),
        ("agent -dev -config=x -config y", "Agent(AgentArgs"),
    ] {
        assert_eq!(meant(typed), command, "{typed}");
    }
}

#[test]
fn consuls_commands_are_understood() {
    for (typed, command) in [
        (
            "agent -server -ui -dns-port=53  -bootstrap-expect=3 -data-dir=/root/data -node=consul-2 \
             -client=0.0.0.0 -bind=172.16.66.103 -datacenter=dc1 -join 172.16.66.102",
            "Agent(ConsulAgentArgs",
        ),
        ("members -detailed -wan", "Members(Members"),
        ("join 10.0.0.1", "Join(Join"),
        ("force-leave consul-2", "ForceLeave(ForceLeave"),
        (
            "operator raft list-peers -stale",
            "Operator(Raft(ListPeers(ListPeers",
        ),
        (
            "operator raft remove-peer -address=10.0.0.1:8300",
            "Operator(Raft(RemovePeer(RemovePeer",
        ),
        (
            "operator autopilot state -format=json",
            "Operator(Autopilot(State(ShowHealth",
        ),
        ("snapshot save x", "Snapshot(Save(Save"),
        ("snapshot restore x", "Snapshot(Restore(Restore"),
        ("snapshot inspect x", "Snapshot(Inspect(Inspect"),
        ("info", "Info(Info"),
        ("kv get -recurse -detailed -base64 -stale", "Kv(Get(Get"),
        ("kv put -cas -modify-index=5 -flags 7 a -5", "Kv(Put(Put"),
        ("kv put a -", "Kv(Put(Put"),
        ("kv delete -recurse a", "Kv(Delete(Delete"),
        ("kv export", "Kv(Export(Export"),
        ("kv import @x", "Kv(Import(Import"),
        ("keygen", "Keygen(Keygen"),
        ("lock -n 2 -verbose -shell=false a date -u", "Lock(Lock"),
        ("watch -type key -key a sh -c -type=x", "Watch(Watch"),
        ("event -name=deploy 1 2", "Event(Event"),
        ("reload", "Reload(Reload"),
        ("monitor -log-level=debug -log-json", "Monitor(LogMonitor"),
    ] {
        let arguments = typed.split_whitespace().map(OsString::from).collect();
        let meant = match parsed::<Consul>(Program::Consul, arguments) {
            Ok(Ok(consul)) => format!("{:?}", consul.command),
            Ok(Err(exit)) => format!("{exit:?}"),
            Err(failure) => failure.message,
        };
        assert_eq!(meant.split(" {").next(), Some(command), "{typed}");
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
        "server join",
        "kv",
        "kv put",
        "kv put a b c",
        "kv put -flags=many a",
        "operator raft remove-peer",
        "operator raft remove-peer -peer-id=a -peer-address=b",
        "agent -bootstrap-expect=many",
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
        help::later(program, &arguments).map(|failure| failure.message)
    };
    assert_eq!(
        later(Program::Nomad, "job dispatch -verbose web"),
        Some("`nomad job dispatch` isn't supported yet".to_owned())
    );
    assert_eq!(
        later(Program::Consul, "rtt a b"),
        Some("`consul rtt` isn't supported yet".to_owned())
    );
    assert_eq!(later(Program::Nomad, "job run plan"), None);
    assert_eq!(later(Program::Drover, "bogus"), None);
}

#[test]
fn whatever_keeps_a_plan_from_being_made_ends_with_255() {
    for typed in [
        "nomad plan",
        "nomad job plan",
        "nomad job plan -bogus x",
        "drover plan a b",
    ] {
        let exit = run(typed.split(' ').map(OsString::from));
        assert_eq!(exit.code(), 255, "{typed}");
    }
    let missing = run(["nomad", "job", "plan", "/no/such/file"].map(OsString::from));
    assert_eq!(missing.code(), 255);
    assert_eq!(run(["nomad", "plan", "-h"].map(OsString::from)), Exit::Done);
    assert_eq!(run(["nomad", "run", "plan"].map(OsString::from)).code(), 1);
}

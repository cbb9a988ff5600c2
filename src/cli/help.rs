//! Help: the short one that greets newcomers, and what is said of commands to come.

use std::ffi::OsString;

use clap::Command;

use super::version::{Program, VERSION};

/// How each command's own help is laid out.
pub(super) const TEMPLATE: &str =
    "{about-section}\n{usage-heading} {usage}\n\n{all-args}{after-help}";

/// The same layout for a command and all below it.
pub(super) fn with_template(command: Command) -> Command {
    command
        .help_template(TEMPLATE)
        .disable_help_subcommand(false)
        .mut_subcommands(with_template)
}

/// What a program prints that was called without a command.
pub(super) fn short(program: Program) -> String {
    match program {
        Program::Drover => drover(),
        Program::Nomad => nomad(),
        Program::Consul => CONSUL.to_owned(),
        Program::Fabio => FABIO.to_owned(),
    }
}

fn drover() -> String {
    format!(
        "Drover {VERSION}: one binary in place of Nomad, Consul and fabio

Usage: drover <command> [flags] [arguments]

Start here:
    quickstart    A whole cluster and a service in it, in a second, to look at
    agent         Run an agent: `drover agent -dev`, or with -config=FILE

Jobs:
    plan          What running a job would change
    run           Run a job, or change one that runs
    stop          Stop a job
    status        Jobs, or whatever has an id
    logs          What a task wrote
    job           init, validate, plan, run, status, stop, inspect
    alloc         status, logs
    eval          status

Cluster:
    node          status, eligibility
    server        members, join, force-leave
    members       Members of the catalog's cluster
    catalog       services, nodes, datacenters
    kv            get, put, delete, export, import
    operator      raft, autopilot, snapshot: look after the servers
    agent-info    Numbers about an agent
    keygen        A key for `encrypt`

Called nomad, consul or fabio (by a symlink, or as `drover nomad ...`) it answers that program's
command line. Flags take one dash or two. `drover <command> -h` says more."
    )
}

fn nomad() -> String {
    "Usage: nomad <command> [flags] [arguments]

Jobs:
    plan        What running a job would change
    run         Run a job, or change one that runs
    stop        Stop a job
    status      Jobs, or whatever has an id
    logs        What a task wrote
    job         init, validate, plan, run, status, stop, inspect
    alloc       status, logs
    eval        status

Cluster:
    agent       Run an agent
    node        status, eligibility
    server      members, join, force-leave
    operator    raft, autopilot, snapshot, gossip keyring generate
    agent-info  Numbers about an agent
    version     The version spoken, and Drover's own

This is Drover, called nomad: `nomad <command> -h` says more."
        .to_owned()
}

const CONSUL: &str = "Usage: consul <command> [flags] [arguments]

    agent        Run a server of the catalog
    catalog      services, nodes, datacenters
    kv           get, put, delete, export, import
    members      Members of the catalog's cluster
    join         Join agents at addresses
    force-leave  Make a failed agent one that has left
    operator     raft, autopilot: look after the servers
    snapshot     save, restore, inspect
    info         Numbers about an agent
    keygen       A key for `encrypt`
    version      The version spoken, and Drover's own

This is Drover, called consul: `consul <command> -h` says more.";

const FABIO: &str = "Usage: fabio [options]

The edge proxy on its own, beside any catalog with Consul's API. Options are fabio's: also as
variables of the environment (FABIO_PROXY_ADDR) and as lines of a file (-cfg=fabio.properties).

    -proxy.addr=LIST                where it listens for what: `:9999;proto=http,:9997;proto=tcp`
                                    (http, https, tcp, tcp+sni, https+tcp+sni, grpc, grpcs)
    -proxy.cs=LIST                  certificates: `cs=NAME;type=file;cert=PATH;key=PATH`
    -proxy.strategy=rnd|rr          who gets the next request
    -proxy.matcher=prefix|glob|iprefix
    -registry.backend=consul|static|file
    -registry.consul.addr=HOST:PORT the catalog, localhost:8500
    -registry.consul.token=TOKEN    what it is asked with
    -registry.consul.tagprefix=TEXT what marks a tag as a route, urlprefix-
    -registry.consul.register.enabled=false
                                    doesn't register itself
    -ui.addr=:9998                  routes, overrides, /health and /metrics
    -log.level=TRACE|DEBUG|INFO|WARN|ERROR
    -log.access.target=stdout       a line for each request
    -cfg=PATH                       a file of options
    -v                              the version

docs/MIGRATING.md tells what becomes of each of the others.";

/// Commands of Nomad 0.8 that this build hasn't.
const NOMAD_LATER: [&[&str]; 30] = [
    &["acl"],
    &["alloc", "fs"],
    &["check"],
    &["client-config"],
    &["deployment"],
    &["fs"],
    &["job", "deployments"],
    &["job", "dispatch"],
    &["job", "eval"],
    &["job", "history"],
    &["job", "periodic"],
    &["job", "promote"],
    &["job", "revert"],
    &["keyring"],
    &["namespace"],
    &["operator", "api"],
    &["operator", "autopilot", "set-config"],
    &["operator", "debug"],
    &["operator", "gossip", "keyring", "install"],
    &["operator", "gossip", "keyring", "list"],
    &["operator", "gossip", "keyring", "remove"],
    &["operator", "gossip", "keyring", "use"],
    &["operator", "keyring"],
    &["node", "config"],
    &["node", "drain"],
    &["node-drain"],
    &["quota"],
    &["sentinel"],
    &["system"],
    &["ui"],
];

/// Commands of Consul 1.8 that this build hasn't.
const CONSUL_LATER: [&[&str]; 20] = [
    &["acl"],
    &["config"],
    &["connect"],
    &["debug"],
    &["event"],
    &["exec"],
    &["intention"],
    &["keyring"],
    &["leave"],
    &["lock"],
    &["login"],
    &["logout"],
    &["maint"],
    &["monitor"],
    &["operator", "area"],
    &["operator", "autopilot", "set-config"],
    &["reload"],
    &["rtt"],
    &["services"],
    &["watch"],
];

fn words(arguments: &[OsString]) -> Vec<&str> {
    let words = arguments.iter().filter_map(|word| word.to_str());
    words.filter(|word| !word.starts_with('-')).collect()
}

/// What is said to a command that the program has elsewhere, but not here.
pub(super) fn later(program: Program, arguments: &[OsString]) -> Option<String> {
    let commands: &[&[&str]] = match program {
        Program::Drover | Program::Nomad => &NOMAD_LATER,
        Program::Consul => &CONSUL_LATER,
        Program::Fabio => &[],
    };
    let typed = words(arguments);
    let known = commands.iter().find(|command| typed.starts_with(command))?;
    let name = format!("{} {}", program.name(), known.join(" "));
    Some(format!("`{name}` isn't supported yet"))
}

/// Whether a plan is asked for: one that can't be made isn't one with changes, which is what 1
/// means there.
pub(super) fn plans(arguments: &[OsString]) -> bool {
    matches!(
        words(arguments).as_slice(),
        ["plan", ..] | ["job", "plan", ..]
    )
}

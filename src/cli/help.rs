//! Help: the short one that greets newcomers, and what is said of commands to come.

use std::ffi::OsString;

use clap::Command;

use super::exit::Failure;
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
    job           init, validate, plan, run, status, stop, inspect, history, revert, why, ...
    deployment    list, status, promote, fail, pause, resume
    alloc         status, logs, fs, stop
    eval          list, status

Cluster:
    node          status, drain, eligibility, config
    server        members, join, force-leave
    members       Members of the catalog's cluster
    catalog       services, nodes, datacenters
    kv            get, put, delete, export, import
    operator      raft, autopilot, snapshot: look after the servers
    system        gc
    ui            Where the web page is
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
    job         init, validate, plan, run, status, stop, inspect, history, revert, why, ...
    deployment  list, status, promote, fail, pause, resume
    alloc       status, logs, fs, stop
    eval        list, status

Cluster:
    agent       Run an agent
    node        status, drain, eligibility, config
    server      members, join, force-leave
    operator    raft, autopilot, snapshot, gossip keyring generate
    system      gc
    ui          Where the web page is
    agent-info  Numbers about an agent
    version     The version spoken, and Drover's own

This is Drover, called nomad: `nomad <command> -h` says more."
        .to_owned()
}

const CONSUL: &str = "Usage: consul <command> [flags] [arguments]

    agent        Run a server of the catalog
    catalog      services, nodes, datacenters
    services     register, deregister
    kv           get, put, delete, export, import
    lock         Run a program while holding a lock
    watch        Run a program whenever a part of the catalog changes
    event        Fire an event, for those who watch for it
    maint        Take a node or service out of service for a while
    members      Members of the catalog's cluster
    join         Join agents at addresses
    leave        Let an agent say goodbye and end
    reload       Have an agent read its configuration again
    monitor      Follow an agent's log
    force-leave  Make a failed agent one that has left
    operator     raft, autopilot: look after the servers
    snapshot     save, restore, inspect
    info         Numbers about an agent
    validate     Look whether configuration files make sense
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

/// A command that this build hasn't, and what can be done instead.
type Later = (&'static [&'static str], &'static str);

const NONE_OF_THIS: &str = "";
const SCHEDULED: &str = "cron and `drover job run` start work at set times";
const KEYS: &str = "the key is `encrypt` in the configuration; change it with all agents stopped";

/// Commands of Nomad that this build hasn't.
const NOMAD_LATER: [Later; 51] = [
    (&["acl"], NONE_OF_THIS),
    (&["action"], NONE_OF_THIS),
    (
        &["alloc", "exec"],
        "on the node: `docker exec -it TASK-ALLOC_ID sh`; see `docker ps`",
    ),
    (
        &["alloc", "checks"],
        "`drover catalog services`, or /v1/health/checks/SERVICE on 8500",
    ),
    (&["alloc", "pause"], NONE_OF_THIS),
    (
        &["alloc", "restart"],
        "`drover alloc stop` replaces the allocation",
    ),
    (
        &["alloc", "signal"],
        "on the node: `docker kill --signal SIGHUP CONTAINER`",
    ),
    (
        &["operator", "api"],
        "curl asks the API: see `drover agent-info`",
    ),
    (
        &["system", "reconcile"],
        "summaries are computed when they are asked for",
    ),
    (&["check"], "ask `drover agent-info`, or /v1/agent/health"),
    (&["debug"], NONE_OF_THIS),
    (&["eval", "delete"], NONE_OF_THIS),
    (
        &["exec"],
        "on the node: `docker exec -it TASK-ALLOC_ID sh`; see `docker ps`",
    ),
    (&["fmt"], NONE_OF_THIS),
    (&["job", "action"], NONE_OF_THIS),
    (
        &["job", "dispatch"],
        "a job of type batch runs each time it is registered anew",
    ),
    (&["job", "periodic"], SCHEDULED),
    (
        &["job", "restart"],
        "`drover alloc stop` replaces one allocation",
    ),
    (
        &["job", "scale"],
        "change `count` in the job file and `drover job run` it",
    ),
    (&["job", "scaling-events"], NONE_OF_THIS),
    (
        &["job", "tag"],
        "`drover job history` lists versions by number",
    ),
    (&["keyring"], KEYS),
    (&["license"], "there is none to install"),
    (&["login"], NONE_OF_THIS),
    (&["monitor"], "the agent writes its log to standard output"),
    (&["namespace"], "there is only the namespace `default`"),
    (&["node", "identity"], NONE_OF_THIS),
    (&["node", "intro"], NONE_OF_THIS),
    (
        &["node", "meta"],
        "`meta` is set in the client's configuration",
    ),
    (&["node", "pool"], NONE_OF_THIS),
    (
        &["operator", "autopilot", "set-config"],
        "get-config shows what the servers do",
    ),
    (&["operator", "client-state"], NONE_OF_THIS),
    (&["operator", "debug"], NONE_OF_THIS),
    (&["operator", "gossip", "keyring", "install"], KEYS),
    (&["operator", "gossip", "keyring", "list"], KEYS),
    (&["operator", "gossip", "keyring", "remove"], KEYS),
    (&["operator", "gossip", "keyring", "use"], KEYS),
    (&["operator", "keyring"], KEYS),
    (
        &["operator", "metrics"],
        "`drover agent-info` shows an agent's numbers",
    ),
    (&["operator", "root"], NONE_OF_THIS),
    (&["operator", "scheduler"], NONE_OF_THIS),
    (&["plugin"], NONE_OF_THIS),
    (&["quota"], NONE_OF_THIS),
    (&["recommendation"], NONE_OF_THIS),
    (&["scaling"], NONE_OF_THIS),
    (&["sentinel"], NONE_OF_THIS),
    (&["service"], "`drover catalog services` lists services"),
    (&["setup"], NONE_OF_THIS),
    (&["tls"], NONE_OF_THIS),
    (&["var"], "`drover kv` keeps keys and values"),
    (&["volume"], NONE_OF_THIS),
];

/// Commands of Consul 1.8 that this build hasn't.
const CONSUL_LATER: [Later; 12] = [
    (&["acl"], NONE_OF_THIS),
    (&["config"], NONE_OF_THIS),
    (&["connect"], NONE_OF_THIS),
    (&["debug"], NONE_OF_THIS),
    (&["exec"], NONE_OF_THIS),
    (&["intention"], NONE_OF_THIS),
    (&["keyring"], NONE_OF_THIS),
    (&["login"], NONE_OF_THIS),
    (&["logout"], NONE_OF_THIS),
    (&["operator", "area"], NONE_OF_THIS),
    (&["operator", "autopilot", "set-config"], NONE_OF_THIS),
    (&["rtt"], "how far nodes are from each other isn't measured"),
];

fn words(arguments: &[OsString]) -> Vec<&str> {
    let words = arguments.iter().filter_map(|word| word.to_str());
    words.filter(|word| !word.starts_with('-')).collect()
}

/// What is said to a command that the program has elsewhere, but not here.
pub(super) fn later(program: Program, arguments: &[OsString]) -> Option<Failure> {
    let commands: &[Later] = match program {
        Program::Drover | Program::Nomad => &NOMAD_LATER,
        Program::Consul => &CONSUL_LATER,
        Program::Fabio => &[],
    };
    let typed = words(arguments);
    let (known, hint) = commands
        .iter()
        .find(|(command, _)| typed.starts_with(command))?;
    let name = format!("{} {}", program.name(), known.join(" "));
    let failure = Failure::new(format!("`{name}` isn't supported yet"));
    Some(match *hint {
        NONE_OF_THIS => failure,
        hint => failure.hint(hint),
    })
}

/// Nomad's and Consul's flags that change a shell's configuration.
pub(super) fn is_autocomplete(flag: &str) -> bool {
    let name = flag.trim_start_matches('-');
    flag.starts_with('-') && ["autocomplete-install", "autocomplete-uninstall"].contains(&name)
}

/// Whether a plan is asked for: one that can't be made isn't one with changes, which is what 1
/// means there.
pub(super) fn plans(arguments: &[OsString]) -> bool {
    matches!(
        words(arguments).as_slice(),
        ["plan", ..] | ["job", "plan", ..]
    )
}

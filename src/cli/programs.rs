//! Which program is meant, by the name it was called with, and which of its commands.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};

use super::agent::{self, AgentArgs, ConsulAgentArgs};
use super::agent_info::{AgentInfo, Info};
use super::alloc::{AllocCommand, AllocStatus};
use super::alloc_fs::AllocFs;
use super::alloc_logs::AllocLogs;
use super::catalog::{CatalogCommand, Members};
use super::connection::{CatalogConnection, OperatorConnection};
use super::deployment::DeploymentCommand;
use super::eval::{EvalCommand, EvalStatus};
use super::event::Event;
use super::example_backend::{self, ExampleBackendArgs};
use super::exit::{Exit, Failure, Outcome};
use super::fabio;
use super::job::{JobCommand, JobInit, JobInspect, JobStop, JobValidate};
use super::job_plan::JobPlan;
use super::job_run::JobRun;
use super::job_status::JobStatus;
use super::keygen::Keygen;
use super::kv::KvCommand;
use super::lock::Lock;
use super::log_monitor::LogMonitor;
use super::membership::{ForceLeave, Join};
use super::node::{NodeCommand, NodeStatus};
use super::node_config::NodeConfig;
use super::node_drain::NodeDrain;
use super::operator::OperatorCommand;
use super::quickstart::{self, QuickstartArgs};
use super::server::{self, ServerCommand};
use super::services::{Leave, Maint, Reload, ServicesCommand, Validate as ValidateConfig};
use super::snapshot::SnapshotCommand;
use super::status::Status;
use super::system::SystemCommand;
use super::ui::Ui;
use super::version::Program;
use super::watch::Watch;
use super::{go_flags, help, terminal};

/// Drover's commands, Nomad's among them.
#[derive(Parser, Debug)]
#[command(disable_version_flag = true, subcommand_required = true)]
struct Drover {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(QuickstartArgs),
    Agent(Box<AgentArgs>),
    /// Everything about jobs
    #[command(subcommand)]
    Job(JobCommand),
    /// Look at allocations and their files, and stop them
    #[command(subcommand)]
    Alloc(AllocCommand),
    /// Look at nodes, and empty them
    #[command(subcommand)]
    Node(NodeCommand),
    /// Look at evaluations
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Look at updates of jobs, and decide about them
    #[command(subcommand)]
    Deployment(DeploymentCommand),
    /// Look at servers; who joins and leaves
    #[command(subcommand)]
    Server(ServerCommand),
    Members(Members),
    /// Look at the catalog of services
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Keys and their values
    #[command(subcommand)]
    Kv(KvCommand),
    Status(Status),
    /// Print the version
    Version,
    Plan(JobPlan),
    Run(JobRun),
    Stop(JobStop),
    Logs(AllocLogs),
    Fs(AllocFs),
    Inspect(JobInspect),
    Validate(JobValidate),
    Init(JobInit),
    JobStatus(JobStatus),
    NodeStatus(NodeStatus),
    NodeDrain(NodeDrain),
    AllocStatus(AllocStatus),
    EvalStatus(EvalStatus),
    ServerMembers(server::Members),
    ServerJoin(server::Join),
    ServerForceLeave(server::ForceLeave),
    /// Look after the servers: who votes, how they are, snapshots
    #[command(subcommand)]
    Operator(OperatorCommand<OperatorConnection>),
    /// Upkeep of the servers' state
    #[command(subcommand)]
    System(SystemCommand),
    Keygen(Keygen),
    AgentInfo(AgentInfo),
    Ui(Ui),
    #[command(hide = true)]
    ClientConfig(NodeConfig),
    ExampleBackend(ExampleBackendArgs),
    /// Supervise one task; agents start it
    #[command(hide = true)]
    Executor {
        /// What to run
        spec: String,
    },
}

/// Consul's commands.
#[derive(Parser, Debug)]
#[command(disable_version_flag = true, subcommand_required = true)]
struct Consul {
    #[command(subcommand)]
    command: ConsulCommand,
}

#[derive(Debug, Subcommand)]
enum ConsulCommand {
    Agent(Box<ConsulAgentArgs>),
    Join(Join),
    ForceLeave(ForceLeave),
    Info(Info),
    Keygen(Keygen),
    /// Look after the servers: who votes, how they are
    #[command(subcommand)]
    Operator(OperatorCommand<CatalogConnection>),
    /// The whole state as a file
    #[command(subcommand)]
    Snapshot(SnapshotCommand<CatalogConnection>),
    Members(Members),
    /// Look at the catalog of services
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Services that are registered by hand
    #[command(subcommand)]
    Services(ServicesCommand),
    Maint(Maint),
    Leave(Leave),
    Reload(Reload),
    Monitor(LogMonitor),
    Validate(ValidateConfig),
    /// Keys and their values
    #[command(subcommand)]
    Kv(KvCommand),
    Lock(Box<Lock>),
    Watch(Box<Watch>),
    Event(Event),
    /// Print the version
    Version,
}

/// Does what the arguments (the program's name first) say.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let mut arguments = arguments.into_iter();
    let called = arguments.next().unwrap_or_default();
    let called = Path::new(&called).file_name().unwrap_or_default();
    let mut program = Program::called(&called.to_string_lossy());
    let mut arguments: Vec<_> = arguments.collect();
    if program == Program::Drover
        && let Some(anchor) = arguments.first().and_then(|name| name.to_str())
        && Program::called(anchor) != Program::Drover
    {
        program = Program::called(anchor);
        arguments.remove(0);
    }
    // There is one for each task, and what is read of the command line first stays in its memory.
    if let (Program::Drover, [name, spec]) = (program, &arguments[..])
        && name == "executor"
        && !spec.as_encoded_bytes().starts_with(b"-")
    {
        return supervise(spec);
    }
    let plans = program != Program::Consul && help::plans(&arguments);
    let outcome = match arguments.first().and_then(|first| first.to_str()) {
        None if arguments.is_empty() && program != Program::Fabio => {
            terminal::complain(&help::short(program));
            Ok(Exit::NoCommand)
        }
        Some("-h" | "-help" | "--help") => {
            terminal::print(&help::short(program));
            Ok(Exit::Done)
        }
        Some("help") if arguments.len() == 1 && program != Program::Fabio => {
            terminal::print(&help::short(program));
            Ok(Exit::Done)
        }
        Some("-v" | "-version" | "--version") => {
            terminal::print(&program.version());
            Ok(Exit::Done)
        }
        Some(flag) if help::is_autocomplete(flag) => {
            terminal::complain("completion of commands isn't there yet: nothing is changed");
            Ok(Exit::Done)
        }
        None | Some(_) => dispatch(program, arguments),
    };
    match outcome.unwrap_or_else(|failure| failure.tell()) {
        Exit::Failed if plans => Exit::NoPlan,
        exit => exit,
    }
}

fn supervise(spec: &OsStr) -> Exit {
    let code = host::executor::run(&spec.to_string_lossy());
    Exit::Executor(u8::try_from(code).unwrap_or(1))
}

fn dispatch(program: Program, arguments: Vec<OsString>) -> Outcome {
    if let Some(later) = help::later(program, &arguments) {
        return Err(later);
    }
    match program {
        Program::Drover | Program::Nomad => match parsed::<Drover>(program, arguments)? {
            Ok(drover) => drover.command.run(program),
            Err(exit) => Ok(exit),
        },
        Program::Consul => match parsed::<Consul>(program, arguments)? {
            Ok(consul) => consul.command.run(),
            Err(exit) => Ok(exit),
        },
        Program::Fabio => fabio::run(&arguments),
    }
}

/// What the arguments mean; or, if they ask for help or mean nothing, that has been printed.
fn parsed<P: Parser>(
    program: Program,
    arguments: Vec<OsString>,
) -> Result<Result<P, Exit>, Failure> {
    let mut command = P::command()
        .name(program.name())
        .bin_name(program.name())
        .help_template(help::TEMPLATE);
    command = help::with_template(command);
    command.build();
    let arguments = go_flags::rewritten(&command, arguments).map_err(Failure::new)?;
    let typed = [OsString::from(program.name())]
        .into_iter()
        .chain(arguments);
    let matches = command.try_get_matches_from_mut(typed);
    match matches.and_then(|matches| P::from_arg_matches(&matches)) {
        Ok(meant) => Ok(Ok(meant)),
        Err(error) => Ok(Err(explained(&command, &error))),
    }
}

fn explained(command: &clap::Command, error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            terminal::print(&error.render().to_string());
            return Exit::Done;
        }
        ErrorKind::InvalidSubcommand => {
            if let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) {
                return unknown(command, typed, error);
            }
        }
        _ => {}
    }
    terminal::complain(error.render().to_string().trim_end());
    Exit::Failed
}

/// What is said to a command that there isn't.
fn unknown(command: &clap::Command, typed: &str, error: &clap::Error) -> Exit {
    let usage = error.get(ContextKind::Usage).map(ToString::to_string);
    let usage = usage.unwrap_or_default();
    // `Usage: drover job <COMMAND>` says below what it was looked for.
    let groups = usage.split_whitespace().skip(2);
    let groups: Vec<_> = groups
        .take_while(|word| !word.starts_with(['<', '[']))
        .collect();
    let found = groups
        .iter()
        .try_fold(command, |command, group| command.find_subcommand(group));
    let known = found.into_iter().flat_map(clap::Command::get_subcommands);
    let known = known.filter(|known| !known.is_hide_set());
    let closest = logic::validate::closest(typed, known.map(clap::Command::get_name));
    let path = [&[command.get_name()], groups.as_slice()]
        .concat()
        .join(" ");
    let guess = closest.map_or_else(String::new, |name| {
        format!("; did you mean `{path} {name}`?")
    });
    Failure::new(format!("`{path}` has no command `{typed}`{guess}"))
        .hint(format!("`{path} -h` lists its commands"))
        .tell()
}

impl Command {
    fn run(self, program: Program) -> Outcome {
        match self {
            Self::Agent(args) => agent::run(&args, program),
            Self::Quickstart(args) => quickstart::run(&args),
            Self::ExampleBackend(args) => example_backend::run(&args),
            Self::Executor { spec } => Ok(supervise(spec.as_ref())),
            Self::Version => {
                terminal::print(&program.version());
                Ok(Exit::Done)
            }
            Self::Validate(command) => command.run(),
            Self::Init(command) => command.run(),
            Self::Job(command) => block_on(command.run(program)),
            Self::Alloc(command) => block_on(command.run()),
            Self::Node(command) => block_on(command.run()),
            Self::Eval(command) => block_on(command.run()),
            Self::Deployment(command) => block_on(command.run()),
            Self::Server(command) => block_on(command.run()),
            Self::Members(command) => block_on(command.run()),
            Self::Catalog(command) => block_on(command.run()),
            Self::Kv(command) => block_on(command.run()),
            Self::Status(command) => block_on(command.run()),
            Self::Plan(command) => block_on(command.run(program)),
            Self::Run(command) => block_on(command.run()),
            Self::Stop(command) => block_on(command.run()),
            Self::Logs(command) => block_on(command.run()),
            Self::Fs(command) => block_on(command.run()),
            Self::Inspect(command) => block_on(command.run()),
            Self::JobStatus(command) => block_on(command.run()),
            Self::NodeStatus(command) => block_on(command.run()),
            Self::NodeDrain(command) => block_on(command.run()),
            Self::System(command) => block_on(command.run()),
            Self::AllocStatus(command) => block_on(command.run()),
            Self::EvalStatus(command) => block_on(command.run()),
            Self::ServerMembers(command) => block_on(command.run()),
            Self::ServerJoin(command) => block_on(command.run()),
            Self::ServerForceLeave(command) => block_on(command.run()),
            Self::Operator(command) => block_on(command.run()),
            Self::Keygen(command) => command.run(),
            Self::AgentInfo(command) => block_on(command.run()),
            Self::Ui(command) => block_on(command.run()),
            Self::ClientConfig(command) => block_on(command.run()),
        }
    }
}

impl ConsulCommand {
    fn run(self) -> Outcome {
        match self {
            Self::Agent(args) => agent::run_consul(&args),
            Self::Join(command) => block_on(command.run()),
            Self::ForceLeave(command) => block_on(command.run()),
            Self::Info(command) => block_on(command.run()),
            Self::Keygen(command) => command.run(),
            Self::Operator(command) => block_on(command.run()),
            Self::Snapshot(command) => block_on(command.run()),
            Self::Members(command) => block_on(command.run()),
            Self::Catalog(command) => block_on(command.run()),
            Self::Services(command) => block_on(command.run()),
            Self::Maint(command) => block_on(command.run()),
            Self::Leave(command) => block_on(command.run()),
            Self::Reload(command) => block_on(command.run()),
            Self::Monitor(command) => block_on(command.run()),
            Self::Validate(command) => command.run(),
            Self::Kv(command) => block_on(command.run()),
            Self::Lock(command) => block_on(command.run()),
            Self::Watch(command) => block_on(command.run()),
            Self::Event(command) => block_on(command.run()),
            Self::Version => {
                terminal::print(&Program::Consul.version());
                Ok(Exit::Done)
            }
        }
    }
}

/// Runs a command that talks to an agent.
pub(super) fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(Failure::new(format!("can't start a runtime: {error}"))),
    }
}

#[cfg(test)]
mod tests;

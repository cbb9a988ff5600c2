//! `drover quickstart`: from nothing to a web service behind DNS and the proxy, in one command
//! and before the newcomer's eyes.

mod ask;
mod instances;
mod screen;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use agent::Agent;
use anyhow::{Context, anyhow, bail};
use logic::config::AgentConfig;
use logic::model::{Evaluation, Job, Value};
use serde_json::json;

use super::agent::signals::Signals;
use super::agent::{dev, logging, settle, shift_ports, start};
use super::exit::{Exit, Failure, Outcome};
use ask::Api;
use instances::{Instances, short};
use screen::Screen;

const JOB_FILE: &str = include_str!("../../docs/jobs/quickstart.nomad");
const JOB: &str = "hello";
const HOST: &str = "hello.localhost";
const SRV_NAME: &str = "hello.service.dc1.consul";

/// All of it takes a second; a machine that needs this long has a problem worth telling.
const DEADLINE: Duration = Duration::from_secs(60);
const STOP_DEADLINE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Each instance should answer long before that many requests.
const REQUESTS_MAX: usize = 50;

/// Start a cluster in this process and show a web service running on it
#[derive(clap::Args, Debug)]
pub(super) struct QuickstartArgs {
    /// Show that it works, stop everything and end: exit code 0 if it did
    #[arg(long)]
    once: bool,
    /// Added to every port
    #[arg(long, value_name = "N", default_value_t = 0, hide = true)]
    port_offset: u16,
}

pub(super) fn run(args: &QuickstartArgs) -> Outcome {
    logging::to_stderr("warn");
    let shown = actix_rt::System::new().block_on(show(args));
    shown.map_err(|error| Failure::new(format!("{error:#}")))
}

async fn show(args: &QuickstartArgs) -> anyhow::Result<Exit> {
    let mut signals = Signals::listen().context("can't listen for signals")?;
    let mut config = dev();
    shift_ports(&mut config, args.port_offset)?;
    let screen = Screen::new();
    screen.title("Drover quickstart: a whole cluster in this process, and a web service on it");
    let started = tokio::select! {
        biased;
        _ = signals.next() => {
            settle().await;
            return Ok(Exit::Failed);
        }
        started = start(host::world(&config), config.clone()) => started,
    };
    let agent = started?;
    let story = Story {
        at: At::of(&config)?,
        screen: &screen,
    };
    let told = tokio::select! {
        biased;
        _ = signals.next() => None,
        told = story.tell(Instant::now() + DEADLINE) => Some(told),
    };
    let exit = match told {
        None => Exit::Failed,
        Some(Err(why)) => {
            screen.failure(&format!("It doesn't work: {why:#}"));
            Exit::Failed
        }
        Some(Ok(())) => {
            screen.success("It works.");
            if !args.once {
                story.tell_what_next(args.port_offset);
                signals.next().await;
            }
            Exit::Done
        }
    };
    story.end(agent, &mut signals).await.map(|()| exit)
}

/// Where the agent is asked.
struct At {
    http: SocketAddr,
    nomad: Api,
    consul: Api,
    dns: SocketAddr,
    proxy: SocketAddr,
    routes: SocketAddr,
}

impl At {
    fn of(config: &AgentConfig) -> anyhow::Result<Self> {
        let at = |port: u16| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        Ok(Self {
            http: at(config.ports.http),
            nomad: Api::at(at(config.ports.http))?,
            consul: Api::at(at(config.catalog.http_port))?,
            dns: at(config.catalog.dns_port),
            proxy: at(config.edge.listeners.first().map_or(0, |first| first.port)),
            routes: at(config.edge.ui_port),
        })
    }

    /// The service's host as browsers send it, port included.
    fn site(&self) -> String {
        format!("{HOST}:{}", self.proxy.port())
    }
}

struct Story<'a> {
    at: At,
    screen: &'a Screen,
}

impl Story<'_> {
    async fn tell(&self, deadline: Instant) -> anyhow::Result<()> {
        let screen = self.screen;
        screen.event(
            "agent",
            "up: server, client, catalog, DNS and edge proxy, on 127.0.0.1",
        );
        let job = bundled_job(&self.at.site())?;
        let count = job
            .task_groups
            .first()
            .and_then(|group| group.count)
            .unwrap_or(1);
        let count = usize::try_from(count).context("the job's count is negative")?;
        self.node_is_ready(deadline).await?;
        let job = json!({ "Job": job });
        let registered: serde_json::Value = self.at.nomad.put("/v1/jobs", &job).await?;
        screen.event(
            "job",
            &format!("{JOB} registered: {count} instances of a web service"),
        );
        let eval = registered["EvalID"].as_str().unwrap_or_default();
        self.evaluated(eval, deadline).await?;
        self.instances().healthy(count, deadline).await?;
        self.show_dns(count, deadline).await?;
        self.show_proxy(count, deadline).await
    }

    fn instances(&self) -> Instances<'_> {
        Instances {
            nomad: &self.at.nomad,
            consul: &self.at.consul,
            job: JOB,
            screen: self.screen,
        }
    }

    async fn node_is_ready(&self, deadline: Instant) -> anyhow::Result<()> {
        loop {
            let nodes: Vec<serde_json::Value> = self.at.nomad.get("/v1/nodes").await?;
            if let Some(node) = nodes.iter().find(|node| node["Status"] == "ready") {
                let name = node["Name"].as_str().unwrap_or_default();
                self.screen
                    .event("node", &format!("{name} is ready to run tasks"));
                return Ok(());
            }
            wait("the node isn't ready", deadline).await?;
        }
    }

    async fn evaluated(&self, id: &str, deadline: Instant) -> anyhow::Result<()> {
        loop {
            let eval: Evaluation = self.at.nomad.get(&format!("/v1/evaluation/{id}")).await?;
            let status = eval.status.as_str();
            if let Some((group, metrics)) = eval.failed_tg_allocs.first_key_value() {
                let why = serde_json::to_string(metrics)?;
                bail!("there is no room for {group} on this machine: {why}");
            }
            if status == "complete" {
                let id = logic::id::short(id);
                self.screen.event("evaluation", &format!("{id} complete"));
                return Ok(());
            }
            if ["failed", "canceled"].contains(&status) {
                bail!("the evaluation has {status}: {}", eval.status_description);
            }
            wait("the evaluation isn't complete", deadline).await?;
        }
    }

    /// DNS and routes follow the catalog at once, but not in the same instant.
    async fn show_dns(&self, count: usize, deadline: Instant) -> anyhow::Result<()> {
        let records = loop {
            let why = match ask::srv(self.at.dns, SRV_NAME).await {
                Ok(records) if records.len() == count => break records,
                Ok(records) => format!("DNS knows {} of {count} instances", records.len()),
                Err(error) => format!("{error:#}"),
            };
            wait(&why, deadline).await?;
        };
        self.screen.event("dns", &format!("SRV {SRV_NAME}:"));
        for record in records {
            Screen::detail(&record.data.to_string());
        }
        Ok(())
    }

    async fn show_proxy(&self, count: usize, deadline: Instant) -> anyhow::Result<()> {
        let site = self.at.site();
        let answers = loop {
            match ask::spread(self.at.proxy, &site, count, REQUESTS_MAX).await {
                Ok(answers) => break answers,
                Err(error) => wait(&format!("{error:#}"), deadline).await?,
            }
        };
        let sent: usize = answers.values().map(|(_, served)| served).sum();
        self.screen
            .event("proxy", &format!("GET http://{site}/, {sent} times:"));
        for (instance, (answer, served)) in answers {
            let body = String::from_utf8_lossy(&answer.body);
            let name = short(&instance);
            let text = format!(
                "{name} answered {served}: {} {}",
                answer.status,
                body.trim()
            );
            Screen::detail(&text);
        }
        Ok(())
    }

    fn tell_what_next(&self, port_offset: u16) {
        let site = format!("http://{}/", self.at.site());
        let routes = format!("http://{}/routes", self.at.routes);
        let pages = [
            (site.clone(), "the service, through the proxy"),
            (
                format!("http://{}/ui/jobs/hello", self.at.http),
                "the job, live: what runs, its checks and logs",
            ),
            (routes, "what the proxy routes where"),
        ];
        self.screen.list("Open in a browser:", &pages);
        let agent = match port_offset {
            0 => String::new(),
            _ => format!(" -address=http://{}", self.at.http),
        };
        let drover = std::env::args()
            .next()
            .unwrap_or_else(|| "drover".to_owned());
        let dns = self.at.dns.port();
        let commands = [
            (format!("curl {site}"), "ask the service"),
            (
                format!("dig @127.0.0.1 -p {dns} {SRV_NAME} SRV"),
                "where the instances are",
            ),
            (
                format!("{drover} job status{agent} {JOB}"),
                "the job and its allocations",
            ),
            (
                format!("{drover} node status{agent}"),
                "the cluster's nodes",
            ),
            (
                format!("{drover} job stop{agent} {JOB}"),
                "stop the service",
            ),
        ];
        self.screen.list("Try in another terminal:", &commands);
        self.screen.line("Press Ctrl-C to stop everything.");
    }

    /// Stops the job and waits for its tasks; a signal cuts this short.
    async fn end(&self, agent: Agent, signals: &mut Signals) -> anyhow::Result<()> {
        let ending = async {
            let stopped = self.stop_job().await;
            // Also ends what a job that couldn't be stopped left.
            let left = tokio::time::timeout(STOP_DEADLINE, agent.end(false)).await;
            stopped.and(left.context("the agent's tasks don't end in time"))
        };
        let ended = tokio::select! {
            biased;
            _ = signals.next() => bail!("told to end at once: tasks may still run"),
            ended = ending => ended,
        };
        ended.context("can't stop everything")?;
        self.screen.event("stopped", "nothing is left running");
        Ok(())
    }

    async fn stop_job(&self) -> anyhow::Result<()> {
        let jobs: Vec<serde_json::Value> = self.at.nomad.get("/v1/jobs").await?;
        if jobs.iter().all(|job| job["ID"] != JOB) {
            return Ok(());
        }
        self.at.nomad.delete(&format!("/v1/job/{JOB}")).await?;
        self.instances().ended(Instant::now() + STOP_DEADLINE).await
    }
}

/// A moment, unless there is none left: then `why`.
async fn wait(why: &str, deadline: Instant) -> anyhow::Result<()> {
    if Instant::now() > deadline {
        bail!("{why}, {} s after the start", DEADLINE.as_secs());
    }
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(())
}

/// The job file, published at `site`, with this program in place of one in `PATH`.
fn bundled_job(site: &str) -> anyhow::Result<Job> {
    let text = JOB_FILE.replace("hello.localhost:9999", site);
    let parsed = jobspec::parse_job("quickstart.nomad", text.as_bytes());
    let parsed = parsed.map_err(|errors| anyhow!(errors.to_string()));
    let mut job = parsed.context("the bundled job doesn't parse")?.job;
    let program = std::env::current_exe().context("can't find this program's own file")?;
    let program = program.to_string_lossy().into_owned();
    for task in job
        .task_groups
        .iter_mut()
        .flat_map(|group| &mut group.tasks)
    {
        let command = Value::String(program.clone());
        task.config.insert("command".to_owned(), command);
    }
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_job_is_published_where_the_proxy_listens() {
        let job = bundled_job("hello.localhost:10009").expect("a job");
        let task = &job.task_groups[0].tasks[0];
        assert_eq!(job.task_groups[0].count, Some(2));
        assert_eq!(task.services[0].tags, ["urlprefix-hello.localhost:10009/"]);
        let command = task.config["command"].as_str().expect("a command");
        assert!(std::path::Path::new(command).is_absolute());
    }
}

//! One simulated machine: what stays of it over crashes, and the world its agent sees.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logic::model::Resources;
use ports::{Random, TaskKey, World};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock::{ClockState, SimClock};
use crate::containers::SimContainers;
use crate::disk::{DiskState, SimDisk};
use crate::engine::{Behaviour, Engine};
use crate::machine::SimMachine;
use crate::network::{NetworkState, Quality, SimNetwork};
use crate::workers::SimWorkers;

/// A machine that survives its crashes. Clones are the same machine.
#[derive(Clone)]
pub struct SimHost(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) resources: Resources,
    seed: u64,
    boots: AtomicU64,
    /// Agents started since the last boot.
    agents: AtomicU64,
    kernel: Mutex<Option<UnboundedSender<Job>>>,
    pub(crate) disk: Mutex<DiskState>,
    pub(crate) network: Arc<Mutex<NetworkState>>,
    pub(crate) engine: Mutex<Engine>,
    pub(crate) clock: Mutex<ClockState>,
}

/// Something that runs on the machine, not in the agent.
type Job = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>;

/// Locks; what a panic left behind is as good as any state for a test that fails anyway.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SimHost {
    /// A machine with 4,000 MHz, 8 GB of memory and 50 GB of disk. `name` is also its name in
    /// the simulated network.
    pub fn new(name: &str, seed: u64) -> Self {
        let resources = Resources {
            cpu: 4000,
            memory_mb: 8192,
            disk_mb: 50_000,
            ..Resources::default()
        };
        Self::with_resources(name, seed, resources)
    }

    pub fn with_resources(name: &str, seed: u64, resources: Resources) -> Self {
        Self(Arc::new(Shared {
            name: name.to_owned(),
            resources,
            seed,
            boots: AtomicU64::new(0),
            agents: AtomicU64::new(0),
            kernel: Mutex::default(),
            disk: Mutex::default(),
            network: Arc::default(),
            engine: Mutex::new(Engine::with_known_images()),
            clock: Mutex::default(),
        }))
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// How often the machine was started.
    pub fn boots(&self) -> u64 {
        self.0.boots.load(Ordering::Relaxed)
    }

    /// Makes an image available in this machine's registry.
    pub fn add_image(&self, image: &str, behaviour: Behaviour) {
        lock(&self.0.engine).add_image(image, behaviour);
    }

    /// The registry no longer has the image, and neither has the machine.
    pub fn remove_image(&self, image: &str) {
        lock(&self.0.engine).remove_image(image);
    }

    /// Makes a program available to `raw_exec`.
    pub fn add_program(&self, command: &str, behaviour: Behaviour) {
        lock(&self.0.engine).add_program(command, behaviour);
    }

    /// While unreachable, the engine's containers go on, but nothing can be asked of it.
    pub fn set_engine_reachable(&self, reachable: bool) {
        lock(&self.0.engine).reachable = reachable;
    }

    /// Kills a running task from outside, with SIGKILL; false if there is none.
    pub fn kill_container(&self, key: &TaskKey) -> bool {
        self.is_up() && lock(&self.0.engine).kill(key)
    }

    /// The tasks that run right now; none on a machine that has crashed.
    pub fn running(&self) -> Vec<TaskKey> {
        if self.is_up() {
            lock(&self.0.engine).running()
        } else {
            Vec::new()
        }
    }

    /// The registry stops answering for an image that this machine doesn't have yet, or answers
    /// again. An image it has had is forgotten, so that it has to be pulled.
    pub fn fail_pulls(&self, image: &str, failing: bool) {
        let mut engine = lock(&self.0.engine);
        if failing {
            engine.pulled.remove(image);
            engine.failing_pulls.insert(image.to_owned());
        } else {
            engine.failing_pulls.remove(image);
        }
    }

    /// How often a task was started here, over all boots.
    pub fn starts(&self, key: &TaskKey) -> u64 {
        let engine = lock(&self.0.engine);
        engine.starts.get(key).copied().unwrap_or_default()
    }

    /// What the tasks that run were promised together: MHz and MB of memory.
    pub fn promised(&self) -> (i64, i64) {
        if self.is_up() {
            lock(&self.0.engine).promised()
        } else {
            (0, 0)
        }
    }

    pub fn resources(&self) -> &Resources {
        &self.0.resources
    }

    /// Whether the machine has booted and not crashed since.
    pub fn is_up(&self) -> bool {
        let kernel = lock(&self.0.kernel);
        kernel.as_ref().is_some_and(|jobs| !jobs.is_closed())
    }

    /// How far this machine's calendar is off, in nanoseconds.
    pub fn set_skew(&self, nanos: i64) {
        lock(&self.0.clock).skew = nanos;
    }

    /// Stops the machine's calendar, or lets it catch up.
    pub fn freeze_clock(&self, frozen: bool) {
        lock(&self.0.clock).freeze(frozen);
    }

    /// While full, the disk takes no more bytes.
    pub fn set_disk_full(&self, full: bool) {
        lock(&self.0.disk).full = full;
    }

    pub(crate) fn disk_is_full(&self) -> bool {
        lock(&self.0.disk).full
    }

    /// While slow, everything that touches the disk takes a hundred times as long.
    pub fn set_disk_slow(&self, slow: bool) {
        lock(&self.0.disk).slow = slow;
    }

    /// How long the next use of the disk takes.
    pub fn disk_latency(&self, random: &Random) -> Duration {
        lock(&self.0.disk).latency(random)
    }

    pub fn quality(&self) -> Quality {
        lock(&self.0.network).quality
    }

    pub fn set_quality(&self, quality: Quality) {
        lock(&self.0.network).quality = quality;
    }

    /// Resets the machine's connections with a peer.
    pub(crate) fn sever(&self, peer: IpAddr) {
        lock(&self.0.network).sever(peer);
    }

    /// The machine's network, for what runs beside the agent.
    pub(crate) fn network(&self) -> SimNetwork {
        let random = self.random("network", self.boots());
        SimNetwork::new(self.0.network.clone(), &self.0.name, random)
    }

    /// Starts the machine if it isn't running: unsynced writes of the last boot are lost, and its
    /// containers are gone. Must run on the turmoil host of this name; tasks of the machine are
    /// then independent of the agent's.
    pub fn boot(&self) {
        if self.is_up() {
            return;
        }
        let boot = self.0.boots.fetch_add(1, Ordering::Relaxed) + 1;
        self.0.agents.store(0, Ordering::Relaxed);
        if boot > 1 {
            lock(&self.0.disk).lose_unsynced(&self.random("disk", boot));
        }
        lock(&self.0.engine).reset(self.random("engine", boot));
        let (jobs, queue) = unbounded_channel();
        tokio::task::spawn_local(run_jobs(queue));
        *lock(&self.0.kernel) = Some(jobs);
    }

    fn random(&self, purpose: &str, number: u64) -> Random {
        Random::seeded(mix(self.0.seed, &self.0.name, purpose, number))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Runs something on the machine rather than in the agent that asks for it.
    pub(crate) fn spawn<F>(&self, job: impl FnOnce() -> F + Send + 'static)
    where
        F: Future<Output = ()> + 'static,
    {
        if let Some(jobs) = lock(&self.0.kernel).as_ref() {
            // Fails only on a machine that has crashed, where nothing runs.
            let _ = jobs.send(Box::new(move || Box::pin(job())));
        }
    }
}

async fn run_jobs(mut queue: UnboundedReceiver<Job>) {
    while let Some(job) = queue.recv().await {
        tokio::task::spawn_local(job());
    }
}

/// FNV-1a over everything that tells one stream of random numbers from another.
fn mix(seed: u64, name: &str, purpose: &str, number: u64) -> u64 {
    let parts = [
        seed.to_le_bytes().as_slice(),
        name.as_bytes(),
        &[0],
        purpose.as_bytes(),
        &number.to_le_bytes(),
    ]
    .concat();
    parts.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The world of an agent on that machine. The first call after a crash boots the machine; a later
/// one is a restart of the agent alone, which finds its containers running and its files complete.
pub fn world(host: &SimHost) -> World {
    host.boot();
    let agents = host.0.agents.fetch_add(1, Ordering::Relaxed);
    let number = host.boots() << 32 | agents;
    World {
        network: Arc::new(SimNetwork::new(
            host.0.network.clone(),
            &host.0.name,
            host.random("datagrams", number),
        )),
        containers: Arc::new(SimContainers::new(host.clone())),
        disk: Arc::new(SimDisk::new(host.clone(), host.random("latency", number))),
        machine: Arc::new(SimMachine::new(host.clone())),
        clock: Arc::new(SimClock::new(host.clone())),
        random: host.random("agent", number),
        workers: Arc::new(SimWorkers::new(
            host.clone(),
            host.random("workers", number),
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use logic::model::{LogConfig, Value};
    use ports::contract::{self, Probe};
    use ports::{Exit, PortMapping, TaskSpec};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BACKEND: &str = "bigwhite/httpbackendservice:v1.0.0";

    fn spec(driver: &str, what: &str, task: &str, ports: &[u16]) -> TaskSpec {
        let option = if driver == "docker" {
            "image"
        } else {
            "command"
        };
        TaskSpec {
            key: TaskKey {
                alloc_id: format!("alloc-{driver}"),
                task: task.to_owned(),
            },
            driver: driver.to_owned(),
            config: BTreeMap::from([(option.to_owned(), Value::String(what.to_owned()))]),
            env: BTreeMap::new(),
            user: String::new(),
            cpu: 100,
            memory_mb: 64,
            ports: ports
                .iter()
                .map(|port| PortMapping {
                    label: "http".to_owned(),
                    host_ip: "0.0.0.0".to_owned(),
                    host_port: *port,
                    container_port: 8081,
                })
                .collect(),
            logs: LogConfig::default(),
            labels: BTreeMap::new(),
            kill_signal: String::new(),
        }
    }

    fn simulation(seed: u64) -> turmoil::Sim<'static> {
        turmoil::Builder::new()
            .rng_seed(seed)
            .simulation_duration(Duration::from_secs(600))
            .build()
    }

    #[test]
    fn the_simulated_world_keeps_the_promises_of_the_real_one() {
        for seed in 0..5 {
            let mut sim = simulation(seed);
            sim.client("n1", async move {
                let world = world(&SimHost::new("n1", seed));
                let own = turmoil::lookup("n1");
                for here in [own, std::net::Ipv4Addr::LOCALHOST.into()] {
                    contract::network(&world, here).await?;
                }
                contract::disk(&world).await?;
                for (driver, runs, fails) in [
                    ("docker", BACKEND, "crashy"),
                    ("raw_exec", "example-backend", "false"),
                ] {
                    let probe = Probe {
                        runs: spec(driver, runs, "runs", &[20_000]),
                        says: format!("{runs} started"),
                        fails: spec(driver, fails, "fails", &[]),
                        code: 1,
                        missing: spec(driver, "no/such:thing", "missing", &[]),
                    };
                    contract::containers(&world, &probe).await?;
                }
                Ok(())
            });
            sim.run().expect("every promise is kept");
        }
    }

    async fn get(world: &World, address: &str) -> std::io::Result<String> {
        let stream = world.network.connect(address.to_owned()).await;
        let mut stream = stream.map_err(std::io::Error::other)?;
        let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[test]
    fn the_backend_of_the_walkthrough_answers_on_its_port() {
        let mut sim = simulation(1);
        sim.host("n1", || async {
            let world = world(&SimHost::new("n1", 1));
            let spec = spec("docker", BACKEND, "web", &[20_001]);
            world.containers.start(&spec).await?;
            std::future::pending::<()>().await;
            Ok(())
        });
        sim.client("user", async {
            let world = world(&SimHost::new("user", 1));
            let answer = loop {
                if let Ok(answer) = get(&world, "n1:20001").await {
                    break answer;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            };
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            let body = "\r\n\r\nthis is httpbackendservice, version: v1.0.0\n";
            assert!(answer.ends_with(body), "{answer}");
            Ok(())
        });
        sim.run().expect("the backend answers");
    }

    #[test]
    fn a_crash_takes_the_containers_and_leaves_the_files() {
        let host = SimHost::new("n1", 3);
        let machine = host.clone();
        let mut sim = simulation(3);
        sim.host("n1", move || {
            let machine = machine.clone();
            async move {
                let world = world(&machine);
                let spec = spec("docker", BACKEND, "web", &[20_001]);
                if machine.boots() == 1 {
                    world.disk.write("state", b"kept".to_vec()).await?;
                    world.containers.start(&spec).await?;
                } else {
                    assert_eq!(world.disk.read("state").await?, b"kept");
                    assert!(!world.containers.reattach(&spec).await?);
                    assert!(world.machine.ports_in_use().is_empty());
                }
                std::future::pending::<()>().await;
                Ok(())
            }
        });
        let steps = |sim: &mut turmoil::Sim<'_>| {
            for _ in 0..2000 {
                sim.step().expect("the host goes on");
            }
        };
        steps(&mut sim);
        assert_eq!(host.running().len(), 1);
        sim.crash("n1");
        assert_eq!(host.running(), []);
        assert!(!host.is_up());
        sim.bounce("n1");
        steps(&mut sim);
        assert_eq!(host.boots(), 2);
        assert_eq!(host.running(), []);
    }

    #[test]
    fn a_restarted_agent_finds_its_containers_running() {
        let mut sim = simulation(4);
        sim.client("n1", async {
            let host = SimHost::new("n1", 4);
            host.boot();
            let spec = spec("docker", BACKEND, "web", &[20_001]);
            let agent = tokio::task::LocalSet::new();
            let (machine, task) = (host.clone(), spec.clone());
            let first_run = async move { world(&machine).containers.start(&task).await };
            agent.run_until(first_run).await?;
            drop(agent);
            let world = world(&host);
            assert!(world.containers.reattach(&spec).await?);
            assert!(get(&world, "127.0.0.1:20001").await?.contains("v1.0.0"));
            assert!(host.kill_container(&spec.key));
            let exit = world.containers.wait(&spec.key).await;
            assert_eq!(
                exit,
                Exit {
                    code: 137,
                    ..Exit::default()
                }
            );
            Ok(())
        });
        sim.run().expect("the container outlives the agent");
    }

    /// What a machine does with a task that crashes, when, down to the microsecond.
    fn trace(seed: u64) -> Vec<String> {
        let trace = Arc::new(Mutex::new(Vec::new()));
        let lines = trace.clone();
        let mut sim = simulation(seed);
        sim.client("n1", async move {
            let world = world(&SimHost::new("n1", seed));
            let note = |what: String| {
                let line = format!("{:?} {what}", world.clock.monotonic());
                lock(&lines).push(line);
            };
            note(world.random.uuid());
            let spec = spec("docker", "crashy", "web", &[]);
            for _ in 0..3 {
                note(format!("{:?}", world.containers.prepare(&spec).await));
                note(format!("{:?}", world.containers.start(&spec).await));
                note(format!("{:?}", world.containers.wait(&spec.key).await));
                world.disk.write("state", vec![1]).await?;
                note("written".to_owned());
            }
            Ok(())
        });
        sim.run().expect("the task crashes, not the simulation");
        std::mem::take(&mut *lock(&trace))
    }

    #[test]
    fn a_seed_decides_everything() {
        assert_eq!(trace(7).len(), 13);
        for seed in 0..10 {
            assert_eq!(trace(seed), trace(seed));
            assert_ne!(trace(seed), trace(seed + 1));
        }
    }

    #[test]
    fn clocks_can_be_off_and_stand_still() {
        let mut sim = simulation(5);
        sim.client("n1", async {
            let host = SimHost::new("n1", 5);
            let clock = world(&host).clock;
            let start = clock.now();
            host.set_skew(-5_000_000_000);
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(clock.now().0 - start.0, -2_000_000_000);
            host.freeze_clock(true);
            let frozen = clock.now();
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(clock.now(), frozen);
            host.freeze_clock(false);
            assert_eq!(clock.now().since(frozen), Duration::from_secs(3));
            Ok(())
        });
        sim.run().expect("the calendar follows the scenario");
    }
}

//! An agent is killed while its machine goes on: what it ran runs on, and it takes it up again,
//! with servers or without, with its files or without.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::state::State;
use anyhow::{Context, Result, ensure};
use logic::config::AgentConfig;
use logic::model::Allocation;
use ports::{LogStream, Random, TaskKey, World};
use sim::cluster::Size;
use sim::sight::Sight;
use sim::trace::Trace;
use sim::user::{User, only_task};
use sim::{SimHost, world};
use tokio::sync::Notify;

const JOB: &str = include_str!("../../docs/jobs/walkthrough/httpbackend-2.nomad");
const SERVICE: &str = "httpbackend.service.dc1.consul.";
const CLIENT: &str = "client-1";
const SERVER: &str = "server-1";
const SOON: Duration = Duration::from_secs(15);
/// A restart waits 15 s, and up to a quarter longer.
const RESTARTED_WITHIN: Duration = Duration::from_millis(18_750 + 3_000);

type Shared<T> = Arc<Mutex<T>>;

/// What the story asks of fate.
#[derive(Clone, Copy)]
enum Order {
    CrashServer,
    BounceServer,
}

/// The handles a story holds.
#[derive(Clone)]
struct Scene {
    user: User,
    machine: SimHost,
    kill: Arc<Notify>,
    start: Arc<Notify>,
    orders: Shared<Vec<Order>>,
    server: Shared<Option<State>>,
    /// From now on the catalog must name this many healthy instances at every moment.
    guarded: Shared<Option<usize>>,
}

fn config(name: &str) -> AgentConfig {
    let mut config = AgentConfig {
        name: name.to_owned(),
        data_dir: "/var/lib/drover".to_owned(),
        bind_addr: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        advertise_addr: Some(turmoil::lookup(name)),
        ..AgentConfig::default()
    };
    if name == SERVER {
        config.server.enabled = true;
    } else {
        config.client.enabled = true;
        config.client.servers = vec![SERVER.to_owned()];
    }
    config
}

/// Plays a story on one server and one client whose agent can be killed alone.
fn play<F>(seed: u64, story: impl FnOnce(Scene) -> F)
where
    F: Future<Output = Result<()>> + 'static,
{
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(600))
        .tick_duration(Duration::from_millis(2))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(10))
        .tcp_capacity(4_096)
        .build();
    let scene = Scene {
        user: User {
            sight: Sight::default(),
            trace: Trace::default(),
            random: Random::seeded(seed),
            size: Size {
                good_network: true,
                servers: 1,
                clients: 1,
                snapshot_after: None,
                consul: false,
            },
        },
        machine: SimHost::new(CLIENT, seed),
        kill: Arc::default(),
        start: Arc::default(),
        orders: Arc::default(),
        server: Arc::default(),
        guarded: Arc::default(),
    };
    add_server(&mut sim, &scene, seed);
    add_client(&mut sim, &scene);
    sim.client("user", async_story(story(scene.clone())));
    while !sim.step().expect("the story goes well") {
        scene.carry_out_orders(&mut sim);
        let guarded = *scene.guarded.lock().expect("not poisoned");
        let state = scene.server.lock().expect("not poisoned").clone();
        if let (Some(wanted), Some(state)) = (guarded, state) {
            let healthy = healthy(&state);
            assert_eq!(healthy, wanted, "instances at {:?}", sim.elapsed());
        }
    }
}

fn add_server(sim: &mut turmoil::Sim<'_>, scene: &Scene, seed: u64) {
    let (machine, state) = (SimHost::new(SERVER, seed), scene.server.clone());
    let sight = scene.user.sight.clone();
    sim.host(SERVER, move || {
        let (machine, state, sight) = (machine.clone(), state.clone(), sight.clone());
        async move {
            let agent = agent::start(world(&machine), config(SERVER)).await?;
            sight.agent_runs(SERVER, &agent);
            *state.lock().expect("not poisoned") =
                agent.server.as_ref().map(|server| server.state.clone());
            std::future::pending::<()>().await;
            Ok(())
        }
    });
}

/// A machine whose agent can be killed without it.
fn add_client(sim: &mut turmoil::Sim<'_>, scene: &Scene) {
    let there = scene.clone();
    sim.host(CLIENT, move || {
        let scene = there.clone();
        async move {
            scene.machine.boot();
            loop {
                // All of the agent's tasks live in here, and nothing of the machine's.
                let life = tokio::task::LocalSet::new();
                let running = async {
                    let agent = agent::start(world(&scene.machine), config(CLIENT)).await;
                    scene.kill.notified().await;
                    agent.map(drop)
                };
                life.run_until(Box::pin(running)).await?;
                drop(life);
                scene.start.notified().await;
            }
        }
    });
}

async fn async_story(story: impl Future<Output = Result<()>>) -> turmoil::Result {
    story.await.map_err(|error| format!("{error:#}").into())
}

fn healthy(state: &State) -> usize {
    let view = logic::catalog::View::new(state.now().catalog("dc1"));
    let instances = view.instances("httpbackend").iter();
    instances.filter(|instance| instance.passing()).count()
}

impl Scene {
    fn carry_out_orders(&self, sim: &mut turmoil::Sim<'_>) {
        for order in std::mem::take(&mut *self.orders.lock().expect("not poisoned")) {
            match order {
                Order::CrashServer => {
                    sim.partition(SERVER, CLIENT);
                    sim.crash(SERVER);
                    self.user.sight.agent_gone(SERVER);
                    self.server.lock().expect("not poisoned").take();
                }
                Order::BounceServer => {
                    sim.repair(SERVER, CLIENT);
                    sim.bounce(SERVER);
                }
            }
        }
    }

    fn order(&self, order: Order) {
        self.orders.lock().expect("not poisoned").push(order);
    }

    fn guard(&self, instances: Option<usize>) {
        *self.guarded.lock().expect("not poisoned") = instances;
    }

    /// The machine, seen from outside of its agent.
    fn outside(&self) -> World {
        world(&self.machine)
    }

    async fn starts(&self, key: &TaskKey) -> Result<usize> {
        let containers = self.outside().containers;
        let log = containers
            .read_log(key, LogStream::Stdout, 0, usize::MAX)
            .await?;
        let log = String::from_utf8_lossy(&log.data).into_owned();
        Ok(log
            .lines()
            .filter(|line| line.ends_with(" started"))
            .count())
    }

    async fn two_run(&self) -> Result<Vec<Allocation>> {
        self.user
            .eventually("two allocations run", SOON, || async {
                let running = self.user.running("httpbackend").await?;
                ensure!(running.len() == 2, "{} run", running.len());
                Ok(running)
            })
            .await
    }

    async fn two_are_healthy(&self) -> Result<()> {
        self.user
            .eventually("two instances are healthy", SOON, || async {
                let state = self.server.lock().expect("not poisoned").clone();
                let count = healthy(&state.context("there is no server")?);
                ensure!(count == 2, "{count} are");
                Ok(())
            })
            .await
    }

    async fn job(&self) -> Result<BTreeMap<TaskKey, Allocation>> {
        self.user
            .eventually("a node is ready", SOON, || async {
                let ready = self.user.ready_nodes().await?.len();
                ensure!(ready == 1, "{ready} are");
                Ok(())
            })
            .await?;
        self.user.run_job("httpbackend-2.nomad", JOB).await?;
        let running = self.two_run().await?;
        self.two_are_healthy().await?;
        // A while later everything that was to be written is.
        self.pass(Duration::from_secs(6)).await;
        running
            .into_iter()
            .map(|alloc| Ok((only_task(&alloc)?, alloc)))
            .collect()
    }

    async fn pass(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    /// The agent is killed, and started again `after` that; returns when it answers.
    async fn restart_agent(&self, after: Duration) -> Result<()> {
        self.kill.notify_one();
        self.pass(after).await;
        self.start.notify_one();
        let address = format!("{CLIENT}:4646");
        self.user
            .eventually("the agent is back", SOON, || async {
                let path = "/v1/agent/health?type=client";
                let http = self.user.http(&address, "GET", path, &address, None);
                http.await.map(drop)
            })
            .await
    }

    /// Without a moment's patience.
    async fn names_and_routes_both(&self) -> Result<()> {
        let named = self.user.srv(CLIENT, SERVICE).await?;
        ensure!(named.len() == 2, "DNS names {named:?}");
        for _ in 0..4 {
            let answer = self.user.through_edge(CLIENT, "mysite.com:9999").await?;
            ensure!(answer.status == 200, "the edge answers {answer:?}");
        }
        Ok(())
    }

    /// Flips a bit in each file the agent keeps of its allocations.
    async fn damage_files(&self) -> Result<usize> {
        let disk = self.outside().disk;
        let names = disk.list("client/allocs").await?;
        for name in &names {
            let path = format!("client/allocs/{name}");
            let mut bytes = disk.read(&path).await?;
            let at = bytes.len() / 2;
            bytes[at] ^= 4;
            disk.write(&path, bytes).await?;
        }
        Ok(names.len())
    }
}

fn ids(tasks: &BTreeMap<TaskKey, Allocation>) -> Vec<TaskKey> {
    tasks.keys().cloned().collect()
}

#[test]
fn a_restarted_agent_goes_on_without_servers() {
    for seed in 0..3 {
        play(seed, async |scene| {
            let tasks = scene.job().await?;
            let victim = ids(&tasks)[0].clone();
            scene.order(Order::CrashServer);
            scene.restart_agent(Duration::from_secs(2)).await?;
            scene.pass(Duration::from_secs(10)).await;
            ensure!(scene.machine.running() == ids(&tasks), "all run on");
            scene.names_and_routes_both().await?;

            // It supervises them: what ends is started again after its delay.
            ensure!(scene.machine.kill_container(&victim), "it runs");
            scene.pass(Duration::from_secs(5)).await;
            ensure!(scene.machine.running().len() == 1, "its delay isn't over");
            // Also a second restart doesn't make it forget the delay.
            scene.restart_agent(Duration::from_secs(1)).await?;
            scene.pass(Duration::from_secs(5)).await;
            ensure!(scene.machine.running().len() == 1, "its delay isn't over");
            let restarted =
                scene
                    .user
                    .eventually("it is started again", RESTARTED_WITHIN, || async {
                        ensure!(scene.machine.running() == ids(&tasks), "not all run");
                        Ok(())
                    });
            restarted.await?;

            scene.order(Order::BounceServer);
            scene.two_are_healthy().await?;
            scene.guard(Some(2));
            scene.pass(Duration::from_secs(20)).await;
            for alloc in scene.two_run().await? {
                let key = only_task(&alloc)?;
                ensure!(tasks.contains_key(&key), "{key} is another allocation's");
                let expected = if key == victim { 2 } else { 1 };
                let starts = scene.starts(&key).await?;
                ensure!(starts == expected, "{key} was started {starts} times");
                let restarts = alloc.task_states[&key.task].restarts;
                ensure!(restarts + 1 == starts as u64, "{restarts} restarts");
            }
            Ok(())
        });
    }
}

#[test]
fn the_catalog_keeps_every_instance_over_a_restart_of_the_agent() {
    for seed in 0..3 {
        play(seed, async |scene| {
            let tasks = scene.job().await?;
            scene.guard(Some(2));
            for after in [0, 100, 2_000] {
                scene.restart_agent(Duration::from_millis(after)).await?;
                scene.names_and_routes_both().await?;
                scene.pass(Duration::from_secs(8)).await;
            }
            for key in tasks.keys() {
                let starts = scene.starts(key).await?;
                ensure!(starts == 1, "{key} was started {starts} times");
            }
            Ok(())
        });
    }
}

#[test]
fn tasks_are_taken_up_though_their_engine_cannot_be_reached() {
    play(11, async |scene| {
        let tasks = scene.job().await?;
        scene.guard(Some(2));
        scene.machine.set_engine_reachable(false);
        scene.restart_agent(Duration::from_secs(1)).await?;
        scene.pass(Duration::from_secs(30)).await;
        scene.machine.set_engine_reachable(true);
        scene.pass(Duration::from_secs(10)).await;
        scene.guard(None);
        let victim = ids(&tasks)[0].clone();
        ensure!(scene.machine.kill_container(&victim), "it runs");
        let again = scene
            .user
            .eventually("it is started again", RESTARTED_WITHIN, || async {
                let starts = scene.starts(&victim).await?;
                ensure!(starts == 2, "{starts} starts");
                Ok(())
            });
        again.await?;
        let starts = scene.starts(&ids(&tasks)[1]).await?;
        ensure!(starts == 1, "the other was started {starts} times");
        Ok(())
    });
}

#[test]
fn tasks_that_could_not_be_stopped_end_once_their_engine_answers() {
    play(13, async |scene| {
        let tasks = scene.job().await?;
        let victim = ids(&tasks)[0].clone();
        scene.machine.set_engine_reachable(false);
        let api = scene.user.api("DELETE", "/v1/job/httpbackend", None);
        api.await?;
        scene.pass(Duration::from_secs(5)).await;
        ensure!(scene.machine.kill_container(&victim), "nothing stops it");
        scene.pass(Duration::from_secs(5)).await;
        let running = scene.machine.running();
        ensure!(running == ids(&tasks)[1..], "{running:?} run");
        let containers = scene.outside().containers;
        ensure!(containers.list().await?.len() == 2, "none can be removed");
        scene.machine.set_engine_reachable(true);
        let gone = scene.user.eventually("nothing is left", SOON, || async {
            let left = containers.list().await?;
            ensure!(left.is_empty(), "{left:?} are");
            Ok(())
        });
        gone.await
    });
}

#[test]
fn an_agent_whose_clock_went_back_is_still_heard() {
    play(17, async |scene| {
        let tasks = scene.job().await?;
        let hour = i64::try_from(Duration::from_secs(3_600).as_nanos())?;
        scene.machine.set_skew(-hour);
        scene.restart_agent(Duration::from_secs(1)).await?;
        scene.two_are_healthy().await?;
        let (victim, alloc) = tasks.iter().next().context("one of them")?;
        ensure!(scene.machine.kill_container(victim), "it runs");
        let heard = scene.user.eventually("its end is known", SOON, || async {
            let state = scene.server.lock().expect("not poisoned").clone();
            let state = state.context("there is no server")?;
            let known = state.now().alloc(&alloc.id).cloned();
            let status = known.context("it is forgotten")?.client_status.clone();
            ensure!(status == "pending", "it is {status}");
            let count = healthy(&state);
            ensure!(count == 1, "{count} are healthy");
            Ok(())
        });
        heard.await
    });
}

#[test]
fn with_damaged_files_tasks_run_on_until_a_server_says_what_is_wanted() {
    for seed in 0..3 {
        play(seed, async |scene| {
            let tasks = scene.job().await?;
            scene.order(Order::CrashServer);
            ensure!(scene.damage_files().await? == 2, "a file for each");
            scene.restart_agent(Duration::from_secs(1)).await?;
            scene.pass(Duration::from_secs(60)).await;
            ensure!(scene.machine.running() == ids(&tasks), "all run on");
            let names = scene.outside().disk.list("client/allocs").await?;
            ensure!(
                names.len() == 2 && names.iter().all(|name| name.contains(".damaged-")),
                "set aside: {names:?}"
            );

            scene.guard(Some(2));
            scene.order(Order::BounceServer);
            scene.pass(Duration::from_secs(20)).await;
            let running = scene.two_run().await?;
            for alloc in &running {
                let key = only_task(alloc)?;
                ensure!(tasks.contains_key(&key), "{key} is another allocation's");
                let starts = scene.starts(&key).await?;
                ensure!(starts == 1, "{key} was started {starts} times");
            }
            Ok(())
        });
    }
}

#[test]
fn what_was_stopped_while_the_agent_was_away_ends() {
    for damaged in [false, true] {
        play(7, async move |scene| {
            let tasks = scene.job().await?;
            scene.kill.notify_one();
            if damaged {
                scene.damage_files().await?;
            }
            let api = scene.user.api("DELETE", "/v1/job/httpbackend", None);
            api.await?;
            scene.pass(Duration::from_secs(1)).await;
            ensure!(scene.machine.running() == ids(&tasks), "nobody stops them");
            scene.start.notify_one();
            let ended = scene.user.eventually("they end", SOON, || async {
                let left = scene.machine.running();
                ensure!(left.is_empty(), "{left:?} run");
                for alloc in tasks.values() {
                    let path = format!("/v1/allocation/{}", alloc.id);
                    let now = scene.user.api("GET", &path, None).await?;
                    let status = now["ClientStatus"].as_str().unwrap_or_default().to_owned();
                    ensure!(status == "complete", "{}: {status}", alloc.id);
                }
                Ok(())
            });
            ended.await
        });
    }
}

#[test]
fn a_machine_that_lost_power_starts_nothing_before_a_server_wants_it() {
    play(3, async |scene| {
        let tasks = scene.job().await?;
        scene.order(Order::CrashServer);
        scene.kill.notify_one();
        for key in tasks.keys() {
            // As after a boot: nothing is left of the containers.
            scene.outside().containers.remove(key).await?;
        }
        scene.start.notify_one();
        scene.pass(Duration::from_secs(60)).await;
        ensure!(scene.machine.running().is_empty(), "nobody wanted them");
        scene.order(Order::BounceServer);
        let back = scene.user.eventually("they run again", SOON, || async {
            ensure!(scene.machine.running() == ids(&tasks), "not yet");
            Ok(())
        });
        back.await?;
        scene.two_are_healthy().await
    });
}

//! Gossip among simulated machines: who is found dead, how fast, and who isn't.
#![expect(clippy::print_stderr, reason = "tests tell how long it took")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent::gossip::Gossip;
use agent::published::Subscriber;
use logic::config::AgentConfig;
use logic::membership::{Member, MemberStatus, Members};
use ports::errors::NetworkError;
use ports::{Asked, Datagrams, Listener, Network, Random, Stream, World};
use sim::{SimHost, world};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use MemberStatus::{Alive, Failed, Left};

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const OTHER_KEY: &str = "EEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEEE=";

const NAMES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

/// What a scenario has an agent do.
enum Order {
    Join(Vec<String>),
    ForceLeave(String),
    Leave,
}

/// What can be seen from outside of the simulation.
#[derive(Default)]
struct Seen {
    members: BTreeMap<String, Subscriber<Arc<Members>>>,
    /// Answers to orders, and errors of starts, by host.
    answers: Vec<(String, Result<usize, String>)>,
}

type Sight = Arc<Mutex<Seen>>;

struct Cluster {
    seed: u64,
    loses_percent: u64,
    sim: turmoil::Sim<'static>,
    sight: Sight,
    orders: BTreeMap<String, Arc<Mutex<Option<UnboundedSender<Order>>>>>,
    /// What each host published last, and the statuses in it.
    published: BTreeMap<String, Arc<Members>>,
    last: BTreeMap<(String, String), MemberStatus>,
    /// Every change of a status, and when and where it was seen.
    changes: Vec<String>,
    names: Vec<String>,
}

fn network(seed: u64) -> turmoil::Builder {
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(3_600))
        .tick_duration(Duration::from_millis(5))
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(5))
        .udp_capacity(4_096);
    builder
}

fn member(world: &World, name: &str) -> Member {
    let number: u64 = name.trim_start_matches('n').parse().expect("a number");
    Member {
        id: format!("00000000-0000-4000-8000-{number:012}"),
        name: name.to_owned(),
        region: "global".to_owned(),
        datacenter: "dc1".to_owned(),
        address: turmoil::lookup(name),
        serf_port: 4648,
        rpc_port: 4647,
        http_port: 4646,
        server: true,
        bootstrap_expect: 3,
        version: "0.1.0".to_owned(),
        generation: u64::try_from(world.clock.now().0).expect("after 1970"),
    }
}

/// A network that loses some of the datagrams, each for itself.
struct Lossy {
    network: Arc<dyn Network>,
    random: Random,
    loses_percent: u64,
}

struct LossyDatagrams {
    socket: Box<dyn Datagrams>,
    random: Random,
    loses_percent: u64,
}

impl Network for Lossy {
    fn listen(&self, address: SocketAddr) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        self.network.listen(address)
    }

    fn listen_shared(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        self.network.listen_shared(address)
    }

    fn connect(&self, address: String) -> Asked<'_, Result<Box<dyn Stream>, NetworkError>> {
        self.network.connect(address)
    }

    fn datagrams(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Datagrams>, NetworkError>> {
        Box::pin(async move {
            Ok(Box::new(LossyDatagrams {
                socket: self.network.datagrams(address).await?,
                random: self.random.clone(),
                loses_percent: self.loses_percent,
            }) as Box<dyn Datagrams>)
        })
    }

    fn resolve(&self, host: String) -> Asked<'_, Result<Vec<IpAddr>, NetworkError>> {
        self.network.resolve(host)
    }
}

impl Datagrams for LossyDatagrams {
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> Asked<'a, Result<(usize, SocketAddr), NetworkError>> {
        self.socket.receive(buffer)
    }

    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> Asked<'a, Result<(), NetworkError>> {
        assert!(bytes.len() <= 1_400, "a datagram of {} bytes", bytes.len());
        if self.random.below(100) < self.loses_percent {
            return Box::pin(async { Ok(()) });
        }
        self.socket.send(bytes, to)
    }

    fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr()
    }
}

impl Cluster {
    fn empty(seed: u64, network: &turmoil::Builder) -> Self {
        Self {
            seed,
            loses_percent: 0,
            sim: network.build(),
            sight: Sight::default(),
            orders: BTreeMap::new(),
            published: BTreeMap::new(),
            last: BTreeMap::new(),
            changes: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Five machines of which all but the first join the first.
    fn five(seed: u64, network: &turmoil::Builder) -> Self {
        Self::empty(seed, network).of_five()
    }

    fn of_five(mut self) -> Self {
        for name in NAMES {
            let join: &[&str] = if name == "n1" { &[] } else { &["n1"] };
            self.add(name, join, "");
        }
        self.until(10, |all| all.everybody_sees(&NAMES, Alive));
        self
    }

    fn add(&mut self, name: &str, join: &[&str], key: &str) -> SimHost {
        let machine = SimHost::new(name, self.seed);
        let config = AgentConfig {
            join: join.iter().map(|&host| host.to_owned()).collect(),
            encrypt: key.to_owned(),
            ..AgentConfig::default()
        };
        self.start(&machine, config);
        machine
    }

    fn start(&mut self, machine: &SimHost, config: AgentConfig) {
        let orders = Arc::new(Mutex::new(None));
        let name = machine.name().to_owned();
        self.names.push(name.clone());
        self.orders.insert(name.clone(), Arc::clone(&orders));
        let (machine, sight) = (machine.clone(), Arc::clone(&self.sight));
        let loses_percent = self.loses_percent;
        self.sim.host(name.clone(), move || {
            let (machine, sight, config) = (machine.clone(), sight.clone(), config.clone());
            let (sender, queue) = unbounded_channel();
            *orders.lock().expect("no panic") = Some(sender);
            let name = name.clone();
            async move {
                let mut world = world(&machine);
                world.network = Arc::new(Lossy {
                    network: world.network.clone(),
                    random: Random::seeded(world.random.next_u64()),
                    loses_percent,
                });
                match Gossip::start(&world, &config, member(&world, &name)).await {
                    Ok(gossip) => run(&name, gossip, queue, &sight).await,
                    Err(error) => {
                        let answer = (name, Err(error.to_string()));
                        sight.lock().expect("no panic").answers.push(answer);
                    }
                }
                std::future::pending::<()>().await;
                Ok(())
            }
        });
    }

    fn order(&self, host: &str, order: Order) {
        let sender = self.orders[host].lock().expect("no panic");
        let sent = sender.as_ref().expect("it runs").send(order);
        assert!(sent.is_ok(), "{host} takes no orders");
    }

    fn answer(&mut self, host: &str) -> Result<usize, String> {
        self.until(20, |all| all.answer_of(host).is_some());
        let mut seen = self.sight.lock().expect("no panic");
        let at = seen.answers.iter().position(|(from, _)| from == host);
        seen.answers.remove(at.expect("an answer")).1
    }

    fn step(&mut self) {
        self.sim.step().expect("nothing panics");
        let seen = self.sight.lock().expect("no panic");
        for (host, members) in &seen.members {
            let members = members.borrow().clone();
            let before = self.published.insert(host.clone(), members.clone());
            if before.is_some_and(|before| Arc::ptr_eq(&before, &members)) {
                continue;
            }
            for known in members.iter() {
                let of = (host.clone(), known.member.name.clone());
                if self.last.get(&of) != Some(&known.status) {
                    let (at, status) = (self.sim.elapsed(), known.status.name());
                    self.changes
                        .push(format!("{at:?} {host}: {} {status}", of.1));
                    self.last.insert(of, known.status);
                }
            }
        }
    }

    /// Steps until it holds, for at most so many simulated seconds; how long it took.
    fn until(&mut self, seconds: u64, holds: impl Fn(&Self) -> bool) -> Duration {
        let start = self.sim.elapsed();
        while !holds(self) {
            let passed = self.sim.elapsed().saturating_sub(start);
            assert!(
                passed < Duration::from_secs(seconds),
                "not after {passed:?}: {}",
                self.changes.join("\n")
            );
            self.step();
        }
        self.sim.elapsed().saturating_sub(start)
    }

    fn run_for(&mut self, seconds: u64) {
        let end = self.sim.elapsed() + Duration::from_secs(seconds);
        while self.sim.elapsed() < end {
            self.step();
        }
    }

    fn answer_of(&self, host: &str) -> Option<Result<usize, String>> {
        let seen = self.sight.lock().expect("no panic");
        let mut answers = seen.answers.iter();
        let (_, answer) = answers.find(|(from, _)| from == host)?;
        Some(answer.clone())
    }

    fn sees(&self, host: &str, other: &str) -> Option<MemberStatus> {
        let seen = self.sight.lock().expect("no panic");
        let members = seen.members.get(host)?.borrow().clone();
        let mut all = members.iter();
        let known = all.find(|known| known.member.name == other)?;
        Some(known.status)
    }

    /// These machines see each other so.
    fn everybody_sees(&self, names: &[&str], status: MemberStatus) -> bool {
        names.iter().all(|host| self.all_see(names, host, status))
    }

    fn all_see(&self, observers: &[&str], other: &str, status: MemberStatus) -> bool {
        let mut observers = observers.iter();
        observers.all(|host| self.sees(host, other) == Some(status))
    }

    /// Power off: the machine doesn't say a word more.
    fn crash(&mut self, host: &str) {
        for other in self.names.iter().filter(|name| *name != host) {
            self.sim.partition(host, other.as_str());
        }
        self.sim.crash(host);
        self.sight.lock().expect("no panic").members.remove(host);
    }

    fn bounce(&mut self, host: &str) {
        for other in self.names.iter().filter(|name| *name != host) {
            self.sim.repair(host, other.as_str());
        }
        self.sim.bounce(host);
    }

    fn cut(&mut self, one: &[&str], other: &[&str]) {
        for a in one {
            for b in other {
                self.sim.partition(*a, *b);
            }
        }
    }

    fn heal(&mut self, one: &[&str], other: &[&str]) {
        for a in one {
            for b in other {
                self.sim.repair(*a, *b);
            }
        }
    }

    fn ever(&self, status: MemberStatus) -> bool {
        let word = format!(" {}", status.name());
        self.changes.iter().any(|change| change.ends_with(&word))
    }
}

/// An agent's gossip, which obeys orders.
async fn run(name: &str, gossip: Gossip, mut orders: UnboundedReceiver<Order>, sight: &Sight) {
    let members = gossip.members();
    let seen = |seen: &mut Seen| seen.members.insert(name.to_owned(), members);
    seen(&mut sight.lock().expect("no panic"));
    while let Some(order) = orders.recv().await {
        let answer = match order {
            Order::Join(addresses) => gossip.join(addresses).await,
            Order::ForceLeave(name) => gossip.force_leave(&name).await.map(|()| 0),
            Order::Leave => {
                gossip.leave().await;
                Ok(0)
            }
        };
        let answer = (name.to_owned(), answer);
        sight.lock().expect("no panic").answers.push(answer);
    }
}

#[test]
fn a_crashed_machine_is_failed_everywhere_within_three_seconds_and_back_after_its_start() {
    let mut failed_after = Vec::new();
    let mut back_after = Vec::new();
    for seed in 0..20 {
        let mut cluster = Cluster::five(seed, &network(seed));
        cluster.run_for(2 + seed % 3);
        assert!(!cluster.ever(Failed), "{}", cluster.changes.join("\n"));
        // The first one joins nobody: others must find it again.
        let victim = NAMES[usize::try_from(seed).expect("small") % 5];
        let others: Vec<_> = NAMES.into_iter().filter(|name| *name != victim).collect();
        cluster.crash(victim);
        let took = cluster.until(3, |all| all.all_see(&others, victim, Failed));
        failed_after.push(took);
        cluster.run_for(seed % 4);
        assert!(cluster.everybody_sees(&others, Alive));
        cluster.bounce(victim);
        let took = cluster.until(3, |all| all.everybody_sees(&NAMES, Alive));
        back_after.push(took);
    }
    for (what, mut took) in [("failed", failed_after), ("back", back_after)] {
        took.sort();
        eprintln!(
            "{what} after {:?} / {:?} / {:?}",
            took[0], took[10], took[19]
        );
    }
}

#[test]
fn a_machine_that_is_cut_off_is_failed_and_two_halves_find_each_other_again() {
    for seed in 0..5 {
        let mut cluster = Cluster::five(seed, &network(seed));
        let (few, many) = (["n1", "n2"], ["n3", "n4", "n5"]);
        cluster.cut(&few, &many);
        let apart = cluster.until(6, |all| {
            few.iter().all(|host| all.all_see(&many, host, Failed))
                && many.iter().all(|host| all.all_see(&few, host, Failed))
        });
        assert!(cluster.everybody_sees(&few, Alive) && cluster.everybody_sees(&many, Alive));
        cluster.run_for(seed * 5);
        cluster.heal(&few, &many);
        let together = cluster.until(4, |all| all.everybody_sees(&NAMES, Alive));
        eprintln!("apart after {apart:?}, together after {together:?}");
        cluster.changes.clear();
        cluster.run_for(10);
        assert!(!cluster.ever(Failed), "{}", cluster.changes.join("\n"));
    }
}

fn nobody_fails_in_a_minute(mut cluster: Cluster) {
    cluster.run_for(60);
    assert!(!cluster.ever(Failed), "{}", cluster.changes.join("\n"));
    assert!(cluster.everybody_sees(&NAMES, Alive));
}

#[test]
fn a_network_that_is_sometimes_slow_and_broken_makes_nobody_fail() {
    for seed in 0..2 {
        let mut network = network(seed);
        // Turmoil loses all that is on its way between two hosts, every time that one gets lost.
        network
            .max_message_latency(Duration::from_millis(200))
            .fail_rate(0.1);
        nobody_fails_in_a_minute(Cluster::five(seed, &network));
    }
}

#[test]
fn a_network_that_is_always_slow_and_loses_every_tenth_message_makes_nobody_fail() {
    for seed in 0..2 {
        let mut network = network(seed);
        network
            .max_message_latency(Duration::from_millis(200))
            .min_message_latency(Duration::from_millis(200));
        let mut cluster = Cluster::empty(seed, &network);
        cluster.loses_percent = 10;
        nobody_fails_in_a_minute(cluster.of_five());
    }
}

#[test]
fn agents_with_another_key_or_none_never_become_members() {
    let mut cluster = Cluster::empty(1, &network(1));
    cluster.add("n1", &[], KEY);
    cluster.add("n2", &["n1"], KEY);
    cluster.add("n3", &["n1"], OTHER_KEY);
    cluster.add("n4", &["n1"], "");
    cluster.add("n5", &[], "");
    cluster.until(5, |all| all.everybody_sees(&["n1", "n2"], Alive));
    cluster.order("n3", Order::Join(vec!["n2".to_owned()]));
    let refused = cluster.answer("n3").expect_err("another key");
    assert!(
        refused.contains("n2:4648") && refused.contains("key"),
        "{refused}"
    );
    cluster.order("n5", Order::Join(vec!["n1".to_owned(), "n4".to_owned()]));
    assert_eq!(cluster.answer("n5"), Ok(1));
    cluster.order("n1", Order::Join(vec!["n5:4648".to_owned()]));
    let refused = cluster.answer("n1").expect_err("no key");
    assert!(
        refused.contains("another key (encrypt) or none"),
        "{refused}"
    );
    cluster.order("n5", Order::Join(vec!["nobody".to_owned()]));
    let refused = cluster.answer("n5").expect_err("no such host");
    assert!(refused.contains("no such host"), "{refused}");
    cluster.run_for(20);
    let groups: [&[&str]; 3] = [&["n1", "n2"], &["n3"], &["n4", "n5"]];
    for group in groups {
        assert!(cluster.everybody_sees(group, Alive));
        for stranger in NAMES.iter().filter(|name| !group.contains(name)) {
            assert!(
                group
                    .iter()
                    .all(|host| cluster.sees(host, stranger).is_none())
            );
        }
    }
}

#[test]
fn who_says_goodbye_has_left_and_may_come_back() {
    for seed in 0..5 {
        let mut cluster = Cluster::five(seed, &network(seed));
        cluster.order("n2", Order::Leave);
        assert_eq!(cluster.answer("n2"), Ok(0));
        let others = ["n1", "n3", "n4", "n5"];
        cluster.until(2, |all| all.all_see(&others, "n2", Left));
        assert_eq!(cluster.sees("n2", "n2"), Some(Left));
        cluster.crash("n2");
        cluster.run_for(10);
        assert!(!cluster.ever(Failed), "{}", cluster.changes.join("\n"));
        cluster.bounce("n2");
        cluster.until(3, |all| all.everybody_sees(&NAMES, Alive));
    }
}

#[test]
fn a_failed_member_can_be_made_to_leave_and_only_such_a_one() {
    for (seed, name) in ["n5", "n5.global", "00000000-0000-4000-8000-000000000005"]
        .into_iter()
        .enumerate()
    {
        let mut cluster = Cluster::five(seed as u64, &network(seed as u64));
        cluster.order("n2", Order::ForceLeave(name.to_owned()));
        let refused = cluster.answer("n2").expect_err("it is alive");
        assert!(refused.contains("is alive"), "{refused}");
        cluster.order("n2", Order::ForceLeave("n6".to_owned()));
        let refused = cluster.answer("n2").expect_err("nobody");
        assert_eq!(refused, "no member is called n6");
        let others = ["n1", "n2", "n3", "n4"];
        cluster.crash("n5");
        cluster.until(3, |all| all.all_see(&others, "n5", Failed));
        cluster.order("n2", Order::ForceLeave(name.to_owned()));
        assert_eq!(cluster.answer("n2"), Ok(0));
        cluster.until(2, |all| all.all_see(&others, "n5", Left));
        cluster.changes.clear();
        cluster.run_for(20);
        assert!(!cluster.ever(Failed), "{}", cluster.changes.join("\n"));
        assert!(cluster.all_see(&others, "n5", Left));
        cluster.bounce("n5");
        cluster.until(3, |all| all.everybody_sees(&NAMES, Alive));
    }
}

#[test]
fn newcomers_hear_of_the_dead_and_a_clock_that_was_set_back_hides_nobody() {
    let mut cluster = Cluster::empty(3, &network(3));
    cluster.add("n1", &[], "");
    let machine = cluster.add("n2", &["n1"], "");
    cluster.until(5, |all| all.everybody_sees(&["n1", "n2"], Alive));
    cluster.crash("n2");
    cluster.until(3, |all| all.sees("n1", "n2") == Some(Failed));
    cluster.add("n3", &["n1"], "");
    cluster.sim.partition("n2", "n3");
    cluster.until(3, |all| all.sees("n3", "n2") == Some(Failed));
    machine.set_skew(-3_600_000_000_000);
    cluster.bounce("n2");
    cluster.until(3, |all| all.everybody_sees(&["n1", "n2", "n3"], Alive));
}

#[test]
fn agents_that_start_together_know_each_other_at_once() {
    let mut cluster = Cluster::empty(1, &network(1));
    cluster.add("n2", &["n1"], "");
    cluster.step();
    cluster.add("n1", &[], "");
    let took = cluster.until(10, |all| all.everybody_sees(&["n1", "n2"], Alive));
    // The first greeting finds nobody.
    assert!(took < Duration::from_millis(300), "{took:?}");
}

#[test]
fn start_join_needs_somebody_to_answer() {
    let mut cluster = Cluster::empty(4, &network(4));
    let config = AgentConfig {
        start_join: vec!["n2".to_owned()],
        ..AgentConfig::default()
    };
    cluster.start(&SimHost::new("n1", 4), config);
    let nobody = cluster.answer("n1").expect_err("n2 doesn't exist");
    assert!(nobody.starts_with("start_join: "), "{nobody}");
    assert!(nobody.contains("no such host"), "{nobody}");
    cluster.add("n2", &[], "");
    cluster.sim.crash("n1");
    cluster.sim.bounce("n1");
    cluster.until(5, |all| all.everybody_sees(&["n1", "n2"], Alive));
}

/// Every change of a status over a crash, a partition and a goodbye.
fn history(seed: u64) -> Vec<String> {
    let mut network = network(seed);
    network
        .max_message_latency(Duration::from_millis(100))
        .fail_rate(0.02);
    let mut cluster = Cluster::five(seed, &network);
    cluster.crash("n3");
    cluster.run_for(5);
    cluster.bounce("n3");
    cluster.cut(&["n1", "n2"], &["n3", "n4", "n5"]);
    cluster.run_for(8);
    cluster.heal(&["n1", "n2"], &["n3", "n4", "n5"]);
    cluster.run_for(5);
    cluster.order("n4", Order::Leave);
    cluster.run_for(5);
    cluster.changes
}

#[test]
fn a_seed_decides_every_change() {
    let (one, other) = (history(7), history(7));
    assert!(one.len() > 40, "{}", one.join("\n"));
    assert_eq!(one, other);
    assert_ne!(one, history(8));
}

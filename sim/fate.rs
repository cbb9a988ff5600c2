//! Faults drawn from the seed: which, whom, when and for how long. All of them end.

use std::time::Duration;

use anyhow::Result;

use crate::order::Order;
use crate::user::User;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A machine loses power, and gets it back.
    PowerCut,
    /// An agent dies, and is started again.
    AgentDies,
    /// A machine is cut off from all others.
    Isolation,
    /// The machines fall into two groups.
    Split,
    /// A machine hears the others, or is heard by them, but not both.
    OneWay,
    /// Two machines' messages wait.
    Hold,
    /// Two machines' messages take long.
    Latency,
    Loss,
    SlowDisk,
    FullDisk,
    /// A calendar jumps.
    Skew,
    FrozenClock,
    /// A container is killed.
    ContainerDies,
    /// An image can't be pulled.
    NoPull,
}

/// How often each fault is drawn, relative to the others.
pub type Weights = &'static [(Fault, u64)];

pub const EVERYTHING: Weights = &[
    (Fault::PowerCut, 4),
    (Fault::AgentDies, 4),
    (Fault::Isolation, 3),
    (Fault::Split, 2),
    (Fault::OneWay, 2),
    (Fault::Hold, 2),
    (Fault::Latency, 2),
    (Fault::Loss, 2),
    (Fault::SlowDisk, 2),
    (Fault::FullDisk, 1),
    (Fault::Skew, 1),
    (Fault::FrozenClock, 1),
    (Fault::ContainerDies, 4),
    (Fault::NoPull, 1),
];

/// Pauses between two faults, in milliseconds.
const PAUSE: (u64, u64) = (200, 4_000);
/// How long a fault lasts, in milliseconds.
const LASTS: (u64, u64) = (300, 12_000);
const LATENCY_MILLIS: u64 = 400;
/// The most datagrams a machine loses, in thousandths.
const LOSS_PERMILLE: u64 = 200;
const SKEW_MILLIS: u64 = 120_000;

/// Plays for a while; then everything is healed.
pub async fn play(user: &User, weights: Weights, lasting: Duration) -> Result<()> {
    let end = user.now() + lasting;
    let mut fate = Fate {
        user: user.clone(),
        hosts: [user.size.server_names(), user.size.client_names()].concat(),
        network_until: None,
        undo: Vec::new(),
    };
    while user.now() < end {
        let pause = between(user, PAUSE);
        fate.wait(user.now() + pause).await;
        fate.strike(draw(user, weights))?;
    }
    fate.heal();
    Ok(())
}

fn between(user: &User, (from, to): (u64, u64)) -> Duration {
    Duration::from_millis(from + user.random.below(to - from))
}

fn draw(user: &User, weights: Weights) -> Fault {
    let all = weights.iter().map(|(_, weight)| weight).sum();
    let mut ball = user.random.below(all);
    for (fault, weight) in weights {
        if ball < *weight {
            return *fault;
        }
        ball -= weight;
    }
    Fault::ContainerDies
}

struct Fate {
    user: User,
    hosts: Vec<String>,
    /// The network has one fault at a time: they are healed together.
    network_until: Option<Duration>,
    /// What ends the faults that last, and when.
    undo: Vec<(Duration, Vec<Order>)>,
}

impl Fate {
    fn host(&self) -> String {
        let picked = self.hosts.get(self.user.pick(self.hosts.len()));
        picked.cloned().unwrap_or_default()
    }

    fn others(&self, host: &str) -> Vec<String> {
        let mut others = self.hosts.clone();
        others.retain(|other| other != host);
        others
    }

    /// Waits, and ends the faults whose time is over.
    async fn wait(&mut self, until: Duration) {
        loop {
            let next = self.undo.iter().map(|(at, _)| *at).min();
            let at = next.map_or(until, |next| next.min(until));
            tokio::time::sleep(at.saturating_sub(self.user.now())).await;
            let now = self.user.now();
            for (_, orders) in self.undo.extract_if(.., |(end, _)| *end <= now) {
                for order in orders {
                    self.user.order(order);
                }
            }
            if self.network_until.is_some_and(|end| end <= now) {
                self.network_until = None;
            }
            if now >= until {
                return;
            }
        }
    }

    fn strike(&mut self, fault: Fault) -> Result<()> {
        let lasts = between(&self.user, LASTS);
        let end = self.user.now() + lasts;
        let host = self.host();
        let what = format!("fate: {fault:?} on {host}, for {lasts:?}");
        let network = self.network_fault(fault, &host);
        if let Some(order) = network {
            if self.network_until.is_none() {
                self.user.say(&what);
                self.user.order(order);
                self.network_until = Some(end);
                self.undo.push((end, vec![Order::Heal]));
            }
            return Ok(());
        }
        let Some((order, undo)) = self.machine_fault(fault, host)? else {
            return Ok(());
        };
        self.user.say(&what);
        self.user.order(order);
        self.undo.push((end, undo));
        Ok(())
    }

    /// What befalls a machine, and what puts it right again.
    fn machine_fault(&self, fault: Fault, host: String) -> Result<Option<(Order, Vec<Order>)>> {
        let faulty = match fault {
            Fault::PowerCut => (Order::Crash(host.clone()), vec![Order::Bounce(host)]),
            Fault::AgentDies => (
                Order::KillAgent(host.clone()),
                vec![Order::StartAgent(host)],
            ),
            Fault::SlowDisk => {
                let disk = |slow| Order::SlowDisk {
                    host: host.clone(),
                    slow,
                };
                (disk(true), vec![disk(false)])
            }
            Fault::FullDisk => {
                let disk = |full| Order::DiskFull {
                    host: host.clone(),
                    full,
                };
                (disk(true), vec![disk(false)])
            }
            Fault::Skew => {
                let skew = |millis| Order::Skew {
                    host: host.clone(),
                    millis,
                };
                let far = self.user.random.below(2 * SKEW_MILLIS);
                let far = i64::try_from(far).unwrap_or(0) - i64::try_from(SKEW_MILLIS)?;
                (skew(far), vec![skew(0)])
            }
            Fault::FrozenClock => {
                let clock = |frozen| Order::FreezeClock {
                    host: host.clone(),
                    frozen,
                };
                (clock(true), vec![clock(false)])
            }
            Fault::NoPull => {
                let pull = |failing| Order::PullFails {
                    host: host.clone(),
                    image: "idle".to_owned(),
                    failing,
                };
                (pull(true), vec![pull(false)])
            }
            Fault::ContainerDies => {
                let running = self.user.sight.machine(&host)?.running();
                let Some(key) = running.get(self.user.pick(running.len())) else {
                    return Ok(None);
                };
                let key = key.clone();
                (Order::Kill { host, key }, Vec::new())
            }
            Fault::Isolation
            | Fault::Split
            | Fault::OneWay
            | Fault::Hold
            | Fault::Latency
            | Fault::Loss => return Ok(None),
        };
        Ok(Some(faulty))
    }

    fn network_fault(&self, fault: Fault, host: &str) -> Option<Order> {
        let random = &self.user.random;
        let (a, others) = (host.to_owned(), self.others(host));
        let b = others.get(self.user.pick(others.len())).cloned()?;
        match fault {
            Fault::Isolation => Some(Order::Partition {
                a: vec![a],
                b: others,
            }),
            Fault::Split => {
                let side = |_: &String| random.below(2) == 0;
                let (a, b) = self.hosts.iter().cloned().partition(side);
                Some(Order::Partition { a, b })
            }
            Fault::OneWay if random.below(2) == 0 => Some(Order::PartitionOneWay {
                from: vec![a],
                to: others,
            }),
            Fault::OneWay => Some(Order::PartitionOneWay {
                from: others,
                to: vec![a],
            }),
            Fault::Hold => Some(Order::Hold { a, b }),
            Fault::Latency => Some(Order::Latency {
                a,
                b,
                up_to: Duration::from_millis(50 + random.below(LATENCY_MILLIS)),
            }),
            Fault::Loss => Some(Order::Loss {
                host: a,
                permille: random.below(LOSS_PERMILLE),
            }),
            Fault::PowerCut
            | Fault::AgentDies
            | Fault::SlowDisk
            | Fault::FullDisk
            | Fault::Skew
            | Fault::FrozenClock
            | Fault::ContainerDies
            | Fault::NoPull => None,
        }
    }

    fn heal(&mut self) {
        self.user.say("fate: all is healed");
        for (_, orders) in std::mem::take(&mut self.undo) {
            for order in orders {
                self.user.order(order);
            }
        }
        self.user.order(Order::Heal);
    }
}

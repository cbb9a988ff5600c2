//! What a scenario asks of fate.

use std::time::Duration;

use ports::TaskKey;

/// Something that befalls a machine or the network; carried out between two steps. One that makes
/// no sense at the moment, such as killing an agent on a machine without power, changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Power off: everything on the machine ends at once, and nobody is told.
    Crash(String),
    /// Power on again, with an agent that starts.
    Bounce(String),
    /// The agent alone dies; its machine closes its sockets, containers go on.
    KillAgent(String),
    /// The agent says goodbye and ends.
    LeaveAgent(String),
    StartAgent(String),
    /// No message passes between a machine of `a` and one of `b`.
    Partition {
        a: Vec<String>,
        b: Vec<String>,
    },
    /// No message passes from a machine of `from` to one of `to`; the other way they do.
    PartitionOneWay {
        from: Vec<String>,
        to: Vec<String>,
    },
    /// Messages between two machines wait until all is healed.
    Hold {
        a: String,
        b: String,
    },
    /// Messages between two machines take up to so long.
    Latency {
        a: String,
        b: String,
        up_to: Duration,
    },
    /// A machine loses so many thousandths of its datagrams; on its connections, where lost
    /// segments are sent again, messages take up to 400 ms instead.
    Loss {
        host: String,
        permille: u64,
    },
    /// Ends partitions, holds, latencies and losses.
    Heal,
    SlowDisk {
        host: String,
        slow: bool,
    },
    DiskFull {
        host: String,
        full: bool,
    },
    /// A machine's calendar is off by so many milliseconds.
    Skew {
        host: String,
        millis: i64,
    },
    FreezeClock {
        host: String,
        frozen: bool,
    },
    /// Kill a container from outside.
    Kill {
        host: String,
        key: TaskKey,
    },
    /// An image's registry stops answering a machine, or answers again.
    PullFails {
        host: String,
        image: String,
        failing: bool,
    },
}

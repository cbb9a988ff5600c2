//! Processes as /proc shows them, and signals.

use std::fs;

use ports::errors::ContainersError;
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

/// A process, told apart from a later one that got the same number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub(crate) pid: i32,
    /// Clock ticks after boot.
    started: u64,
    boot: String,
}

fn boot_id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

impl ProcessId {
    /// None if there is no such process.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let pid = i32::try_from(pid).ok()?;
        Some(Self {
            pid,
            started: Stat::of(pid)?.started,
            boot: boot_id(),
        })
    }

    /// Whether that very process exists; one that has ended but wasn't waited for doesn't.
    pub(crate) fn alive(&self) -> bool {
        boot_id() == self.boot
            && Stat::of(self.pid)
                .is_some_and(|found| found.started == self.started && found.state != "Z")
    }

    pub(crate) fn pid(&self) -> Option<Pid> {
        Pid::from_raw(self.pid)
    }

    /// Signals all processes of the group this process leads. The group may outlive its leader.
    pub(crate) fn signal_group(&self, signal: Signal) {
        if boot_id() != self.boot {
            return;
        }
        let reused = Stat::of(self.pid).is_some_and(|found| found.started != self.started);
        if let Some(pid) = self.pid()
            && !reused
        {
            // Fails only if the group is gone, which is what a signal is for.
            let _ = rustix::process::kill_process_group(pid, signal);
        }
    }
}

/// The part of /proc/PID/stat we need.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: String,
    pub(crate) group: i32,
    pub(crate) cpu_ticks: u64,
    pub(crate) resident_pages: u64,
    pub(crate) started: u64,
}

impl Stat {
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The command's name stands in parentheses and may itself contain some.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            state: (*fields.first()?).to_owned(),
            group: fields.get(2)?.parse().ok()?,
            cpu_ticks: number(11)? + number(12)?,
            started: number(19)?,
            resident_pages: number(21)?,
        })
    }

    /// All processes of a group.
    pub(crate) fn of_group(group: i32) -> Vec<Self> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter_map(Self::of)
            .filter(|found| found.group == group)
            .collect()
    }
}

/// A signal by its name, `SIGINT` or `INT`, or its number; empty: `default`.
pub(crate) fn signal(name: &str, default: Signal) -> Result<Signal, ContainersError> {
    let upper = name.trim().to_uppercase();
    let signal = match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "" => default,
        "HUP" | "1" => Signal::HUP,
        "INT" | "2" => Signal::INT,
        "QUIT" | "3" => Signal::QUIT,
        "ABRT" | "6" => Signal::ABORT,
        "KILL" | "9" => Signal::KILL,
        "USR1" | "10" => Signal::USR1,
        "USR2" | "12" => Signal::USR2,
        "PIPE" | "13" => Signal::PIPE,
        "ALRM" | "14" => Signal::ALARM,
        "TERM" | "15" => Signal::TERM,
        "CHLD" | "17" => Signal::CHILD,
        "CONT" | "18" => Signal::CONT,
        "STOP" | "19" => Signal::STOP,
        "TSTP" | "20" => Signal::TSTP,
        "TTIN" | "21" => Signal::TTIN,
        "TTOU" | "22" => Signal::TTOU,
        "WINCH" | "28" => Signal::WINCH,
        _ => {
            return Err(ContainersError::Refused(format!(
                "`{name}` is not a signal: use a name such as SIGINT or SIGTERM"
            )));
        }
    };
    Ok(signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_may_have_parentheses_in_its_name() {
        let text = "42 (a) b (c)) S 1 7 42 0 -1 0 0 0 0 0 5 6 0 0 20 0 1 0 777 1000 33 0";
        assert_eq!(
            Stat::parse(text),
            Some(Stat {
                state: "S".to_owned(),
                group: 7,
                cpu_ticks: 11,
                started: 777,
                resident_pages: 33,
            })
        );
    }

    #[test]
    fn a_process_is_alive_until_its_number_means_another() {
        let ours = ProcessId::of(std::process::id()).expect("we exist");
        assert!(ours.alive());
        let earlier = ProcessId {
            started: ours.started - 1,
            ..ours.clone()
        };
        assert!(!earlier.alive());
        let before_boot = ProcessId {
            boot: "another".to_owned(),
            ..ours
        };
        assert!(!before_boot.alive());
    }

    #[test]
    fn signals_are_known_by_name_and_number() {
        let table = [
            ("SIGINT", Some(Signal::INT)),
            ("int", Some(Signal::INT)),
            ("15", Some(Signal::TERM)),
            ("", Some(Signal::USR1)),
            ("SIGNAL", None),
        ];
        for (name, expected) in table {
            assert_eq!(signal(name, Signal::USR1).ok(), expected, "{name}");
        }
    }
}

//! Single facts about the machine, named as job files know them.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

/// A core's frequency if nothing tells it.
const FALLBACK_MHZ: i64 = 1000;

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

pub(super) fn attributes() -> BTreeMap<String, String> {
    let kernel = rustix::system::uname();
    let release = read("/etc/os-release");
    let os = os_name(&release);
    let facts = [
        ("cpu.arch", arch().to_owned()),
        ("cpu.frequency", mhz_per_core().to_string()),
        ("cpu.modelname", cpu_model(&read("/proc/cpuinfo"))),
        ("cpu.numcores", cores().to_string()),
        (
            "kernel.name",
            kernel.sysname().to_string_lossy().to_lowercase(),
        ),
        (
            "kernel.version",
            kernel.release().to_string_lossy().into_owned(),
        ),
        ("os.version", os_version(&os, &release)),
        ("os.name", os),
        (
            "unique.hostname",
            kernel.nodename().to_string_lossy().into_owned(),
        ),
    ];
    facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

pub(super) fn cores() -> i64 {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    i64::try_from(cores).unwrap_or(1)
}

pub(crate) fn mhz_per_core() -> i64 {
    let khz = read("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq");
    let from_sys = khz.trim().parse::<i64>().map(|khz| khz / 1000).ok();
    from_sys
        .or_else(|| cpuinfo_mhz(&read("/proc/cpuinfo")))
        .filter(|mhz| *mhz > 0)
        .unwrap_or(FALLBACK_MHZ)
}

fn cpuinfo<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
}

fn cpuinfo_mhz(text: &str) -> Option<i64> {
    let whole = cpuinfo(text, "cpu MHz")?.split('.').next()?;
    whole.parse().ok()
}

fn cpu_model(text: &str) -> String {
    cpuinfo(text, "model name").unwrap_or_default().to_owned()
}

fn os_release<'a>(text: &'a str, name: &str) -> &'a str {
    text.lines()
        .filter_map(|line| line.split_once('='))
        .find(|(key, _)| *key == name)
        .map_or("", |(_, value)| value.trim_matches('"'))
}

fn os_name(release: &str) -> String {
    match os_release(release, "ID") {
        "" => std::env::consts::OS.to_owned(),
        id => id.to_owned(),
    }
}

/// Debian's os-release only tells the major version.
fn os_version(os: &str, release: &str) -> String {
    let exact = if os == "debian" {
        read("/etc/debian_version")
    } else {
        String::new()
    };
    match exact.trim() {
        "" => os_release(release, "VERSION_ID").to_owned(),
        exact => exact.to_owned(),
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct Memory {
    pub(super) total: u64,
    pub(super) available: u64,
}

pub(super) fn memory() -> Memory {
    parse_meminfo(&read("/proc/meminfo"))
}

fn parse_meminfo(text: &str) -> Memory {
    let bytes = |name| {
        let kib = cpuinfo(text, name)?.strip_suffix(" kB")?;
        kib.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Memory {
        total: bytes("MemTotal").unwrap_or_default(),
        available: bytes("MemAvailable").unwrap_or_default(),
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct Space {
    pub(super) total: u64,
    pub(super) free: u64,
}

pub(super) fn disk(path: &Path) -> Space {
    match rustix::fs::statvfs(path) {
        Ok(found) => Space {
            total: found.f_blocks.saturating_mul(found.f_frsize),
            free: found.f_bavail.saturating_mul(found.f_frsize),
        },
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "can't tell how much disk there is");
            Space::default()
        }
    }
}

/// The device that holds `path`.
pub(super) fn volume(path: &Path) -> String {
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    volume_in(&read("/proc/self/mounts"), &real)
}

fn volume_in(mounts: &str, path: &Path) -> String {
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(_, mounted_at)| path.starts_with(mounted_at))
        .max_by_key(|(_, mounted_at)| mounted_at.len())
        .map_or(String::new(), |(device, _)| device.to_owned())
}

pub(super) fn uptime_secs() -> u64 {
    read("/proc/uptime")
        .split('.')
        .next()
        .and_then(|secs| secs.parse().ok())
        .unwrap_or_default()
}

/// Clock ticks since boot, over all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CpuTimes {
    idle: u64,
    total: u64,
}

impl CpuTimes {
    #[expect(clippy::cast_precision_loss, reason = "only their quotient matters")]
    pub(super) fn busy_share_since(self, earlier: Self) -> f64 {
        let total = self.total.saturating_sub(earlier.total);
        let idle = self.idle.saturating_sub(earlier.idle).min(total);
        if total == 0 {
            return 0.0;
        }
        (total - idle) as f64 / total as f64
    }
}

pub(super) fn cpu_times() -> CpuTimes {
    parse_cpu_times(&read("/proc/stat"))
}

/// user nice system idle iowait irq softirq steal; guest times are part of user's.
fn parse_cpu_times(stat: &str) -> CpuTimes {
    let times: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .take(8)
        .filter_map(|field| field.parse().ok())
        .collect();
    CpuTimes {
        idle: times.iter().skip(3).take(2).sum(),
        total: times.iter().sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_read_from_cpuinfo() {
        let text = "processor\t: 0\nmodel name\t: Intel(R) Xeon(R)\ncpu MHz\t\t: 2599.996\n";
        assert_eq!(cpuinfo_mhz(text), Some(2599));
        assert_eq!(cpu_model(text), "Intel(R) Xeon(R)");
        assert_eq!(cpuinfo_mhz("processor : 0\nBogoMIPS : 243.75\n"), None);
    }

    #[test]
    fn memory_is_read_from_meminfo() {
        let memory = parse_meminfo("MemTotal:  2000 kB\nMemFree: 1 kB\nMemAvailable:  500 kB\n");
        assert_eq!((memory.total, memory.available), (2_048_000, 512_000));
    }

    #[test]
    fn cpu_time_is_counted_between_two_looks() {
        let earlier = parse_cpu_times("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1 1 1 1\n");
        let later = parse_cpu_times("cpu  30 0 20 140 10 0 0 0 0 0\n");
        assert_eq!(
            earlier,
            CpuTimes {
                idle: 80,
                total: 100
            }
        );
        let busy = later.busy_share_since(earlier);
        assert!((busy - 0.3).abs() < 1e-9, "{busy}");
    }

    #[test]
    fn the_innermost_mount_holds_a_path() {
        let mounts = "/dev/vda / ext4 rw 0 0\n/dev/vdb /var/lib ext4 rw 0 0\n/dev/vdc /var/libx ext4 rw 0 0\n";
        assert_eq!(
            volume_in(mounts, Path::new("/var/lib/drover/alloc")),
            "/dev/vdb"
        );
        assert_eq!(volume_in(mounts, Path::new("/home")), "/dev/vda");
    }

    #[test]
    fn distributions_are_named_by_their_id() {
        let release = "NAME=\"Ubuntu\"\nID=ubuntu\nVERSION_ID=\"24.04\"\n";
        assert_eq!(os_name(release), "ubuntu");
        assert_eq!(os_version("ubuntu", release), "24.04");
    }
}

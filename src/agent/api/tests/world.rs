//! A world of one process for these tests: connections in memory, output from a map.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use logic::model::DriverInfo;
use logic::time::Time;
use ports::errors::{ContainersError, DiskError, NetworkError};
use ports::{
    Accepted, Asked, BlockingWork, Clock, Containers, Datagrams, Disk, Exit, File, FileInfo,
    Fingerprint, Found, Listener, LogChunk, LogStream, Machine, MachineUsage, Network, Random,
    Stream, TaskKey, TaskSpec, TaskUsage, WorkerTask, Workers, World,
};
use tokio::sync::mpsc;

/// A world, and what a test may do to it.
#[derive(Clone)]
pub(crate) struct TestWorld {
    pub(crate) world: World,
    pub(super) tasks: Arc<Tasks>,
    pub(super) clock: Arc<Hands>,
}

impl TestWorld {
    pub(crate) fn new() -> Self {
        Self::beside(Arc::new(Wires::default()))
    }

    /// Another machine on the same network.
    pub(super) fn beside(network: Arc<dyn Network>) -> Self {
        let (tasks, clock) = (Arc::new(Tasks::default()), Arc::new(Hands::default()));
        let world = World {
            network,
            containers: Arc::<Tasks>::clone(&tasks),
            disk: Arc::new(Nothing),
            machine: Arc::new(Nothing),
            clock: Arc::<Hands>::clone(&clock),
            random: Random::seeded(7),
            workers: Arc::new(Nothing),
        };
        Self {
            world,
            tasks,
            clock,
        }
    }
}

/// Connections that are pairs of buffers.
#[derive(Default)]
pub(super) struct Wires(Mutex<BTreeMap<String, mpsc::UnboundedSender<Box<dyn Stream>>>>);

struct Ear {
    address: SocketAddr,
    calls: mpsc::UnboundedReceiver<Box<dyn Stream>>,
}

impl Listener for Ear {
    fn accept(&mut self) -> Asked<'_, Result<Accepted, NetworkError>> {
        Box::pin(async move {
            match self.calls.recv().await {
                Some(stream) => Ok((stream, self.address)),
                None => std::future::pending().await,
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

impl Network for Wires {
    fn listen(&self, address: SocketAddr) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        let (sender, calls) = mpsc::unbounded_channel();
        self.0.lock().unwrap().insert(address.to_string(), sender);
        Box::pin(async move { Ok(Box::new(Ear { address, calls }) as Box<dyn Listener>) })
    }

    fn listen_shared(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        self.listen(address)
    }

    fn connect(&self, address: String) -> Asked<'_, Result<Box<dyn Stream>, NetworkError>> {
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(1 << 16);
            let listeners = self.0.lock().unwrap();
            match listeners
                .get(&address)
                .map(|calls| calls.send(Box::new(far)))
            {
                Some(Ok(())) => Ok(Box::new(near) as Box<dyn Stream>),
                Some(Err(_)) | None => Err(NetworkError::Refused { address }),
            }
        })
    }

    fn datagrams(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Datagrams>, NetworkError>> {
        let address = address.to_string();
        Box::pin(async move { Err(NetworkError::Denied { address }) })
    }
}

/// Tasks that do nothing but have output.
#[derive(Default)]
pub(super) struct Tasks {
    output: Mutex<BTreeMap<TaskKey, Vec<u8>>>,
}

impl Tasks {
    /// Lets a task write to its standard output.
    pub(super) fn write(&self, alloc_id: &str, task: &str, text: &str) {
        let key = TaskKey {
            alloc_id: alloc_id.to_owned(),
            task: task.to_owned(),
        };
        self.output
            .lock()
            .unwrap()
            .entry(key)
            .or_default()
            .extend(text.as_bytes());
    }

    /// The only files are what tasks have written.
    fn found(&self, alloc_id: &str, path: &str) -> Result<Found, ContainersError> {
        let output = self.output.lock().unwrap();
        let own = output.iter().filter(|(key, _)| key.alloc_id == alloc_id);
        let mut files = own.map(|(key, written)| FileInfo {
            name: format!("{}.stdout.0", key.task),
            size: written.len() as u64,
            ..FileInfo::default()
        });
        let Some(rest) = path.trim_matches('/').strip_prefix("alloc/logs") else {
            let text = format!("there is no `{path}`");
            return Err(ContainersError::Missing(text));
        };
        if rest.is_empty() {
            return Ok(Found::Folder(FileInfo::default(), files.collect()));
        }
        let found = files.find(|file| rest[1..] == file.name);
        let missing = || ContainersError::Missing(format!("there is no `{path}`"));
        found.map(Found::File).ok_or_else(missing)
    }
}

fn refused<T>() -> Result<T, ContainersError> {
    Err(ContainersError::Refused(
        "nothing runs in this world".to_owned(),
    ))
}

impl Containers for Tasks {
    fn drivers(&self) -> Asked<'_, BTreeMap<String, DriverInfo>> {
        Box::pin(async { BTreeMap::new() })
    }

    fn prepare<'a>(&'a self, _: &'a TaskSpec) -> Asked<'a, Result<Vec<String>, ContainersError>> {
        Box::pin(async { refused() })
    }

    fn start<'a>(&'a self, _: &'a TaskSpec) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(async { refused() })
    }

    fn reattach<'a>(&'a self, _: &'a TaskSpec) -> Asked<'a, Result<bool, ContainersError>> {
        Box::pin(async { refused() })
    }

    fn wait<'a>(&'a self, _: &'a TaskKey) -> Asked<'a, Exit> {
        Box::pin(std::future::pending())
    }

    fn stop<'a>(
        &'a self,
        _: &'a TaskKey,
        _: &'a str,
        _: Duration,
    ) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(async { refused() })
    }

    fn remove<'a>(&'a self, _: &'a TaskKey) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(async { refused() })
    }

    fn forget<'a>(&'a self, _: &'a str) -> Asked<'a, Result<(), ContainersError>> {
        Box::pin(async { refused() })
    }

    fn read_log<'a>(
        &'a self,
        key: &'a TaskKey,
        stream: LogStream,
        offset: u64,
        max: usize,
    ) -> Asked<'a, Result<LogChunk, ContainersError>> {
        Box::pin(async move {
            let output = self.output.lock().unwrap();
            let missing = || ContainersError::Missing(format!("{key} never ran here"));
            let written = output.get(key).ok_or_else(missing)?;
            let written = if stream == LogStream::Stdout {
                written.as_slice()
            } else {
                &[]
            };
            let from = usize::try_from(offset).unwrap().min(written.len());
            let to = from.saturating_add(max).min(written.len());
            Ok(LogChunk {
                offset: from as u64,
                data: written[from..to].to_vec(),
                end: written.len() as u64,
            })
        })
    }

    fn look<'a>(
        &'a self,
        alloc_id: &'a str,
        path: &'a str,
    ) -> Asked<'a, Result<Found, ContainersError>> {
        Box::pin(async move { self.found(alloc_id, path) })
    }

    fn read_file<'a>(
        &'a self,
        alloc_id: &'a str,
        path: &'a str,
        offset: u64,
        max: usize,
    ) -> Asked<'a, Result<LogChunk, ContainersError>> {
        Box::pin(async move {
            let Found::File(file) = self.found(alloc_id, path)? else {
                return refused();
            };
            let task = file.name.trim_end_matches(".stdout.0").to_owned();
            let alloc_id = alloc_id.to_owned();
            let key = TaskKey { alloc_id, task };
            self.read_log(&key, LogStream::Stdout, offset, max).await
        })
    }

    fn list(&self) -> Asked<'_, Result<Vec<TaskKey>, ContainersError>> {
        Box::pin(async { Ok(self.output.lock().unwrap().keys().cloned().collect()) })
    }

    fn usage<'a>(&'a self, _: &'a TaskKey) -> Asked<'a, Result<TaskUsage, ContainersError>> {
        Box::pin(async {
            Ok(TaskUsage {
                cpu_mhz: 260.0,
                memory_bytes: 888_832,
            })
        })
    }
}

/// What these tests never touch, or only look at.
struct Nothing;

impl Disk for Nothing {
    fn prepare(&self) -> Result<(), DiskError> {
        Ok(())
    }

    fn open(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        Err(DiskError::Denied {
            path: path.to_owned(),
        })
    }

    fn read(&self, path: &str) -> Asked<'_, Result<Vec<u8>, DiskError>> {
        let path = path.to_owned();
        Box::pin(async move { Err(DiskError::Missing { path }) })
    }

    fn write(&self, path: &str, _: Vec<u8>) -> Asked<'_, Result<(), DiskError>> {
        let path = path.to_owned();
        Box::pin(async move { Err(DiskError::Denied { path }) })
    }

    fn remove(&self, _: &str) -> Asked<'_, Result<(), DiskError>> {
        Box::pin(async { Ok(()) })
    }

    fn list(&self, _: &str) -> Asked<'_, Result<Vec<String>, DiskError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl Machine for Nothing {
    fn fingerprint(&self) -> Fingerprint {
        let attributes = BTreeMap::from([("cpu.frequency".to_owned(), "2600".to_owned())]);
        Fingerprint {
            attributes,
            ..Fingerprint::default()
        }
    }

    fn ports_in_use(&self) -> BTreeSet<u16> {
        BTreeSet::new()
    }

    fn usage(&self) -> MachineUsage {
        MachineUsage {
            cpu_mhz: 520,
            memory_used_bytes: 1 << 30,
            memory_total_bytes: 4 << 30,
            disk_used_bytes: 10 << 30,
            disk_total_bytes: 40 << 30,
            uptime_secs: 90,
        }
    }
}

/// A clock that stands still until a test moves its hands.
#[derive(Default)]
pub(super) struct Hands(Mutex<Duration>);

impl Hands {
    pub(super) fn pass(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for Hands {
    fn now(&self) -> Time {
        Time(1_795_525_962_603_281_232).plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

impl Workers for Nothing {
    fn count(&self) -> usize {
        1
    }

    fn start_on_each(&self, _: &str, _: WorkerTask) {}

    fn run_blocking(&self, work: BlockingWork) -> Asked<'_, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
}

//! A world for this crate's tests: real sockets on loopback, and nothing else.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use logic::model::DriverInfo;
use ports::errors::{ContainersError, DiskError, NetworkError};
use ports::{
    Accepted, Asked, Containers, Datagrams, Disk, Exit, File, Listener, LogChunk, LogStream,
    Network, Random, Stream, TaskKey, TaskSpec, TaskUsage, WorkerTask, Workers, World,
};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use super::strict::differential::Still;

/// `workers` are tasks of the calling thread, as in the simulator.
pub(crate) fn world(workers: usize) -> World {
    World {
        network: Arc::new(Loopback),
        containers: Arc::new(Nothing),
        disk: Arc::new(Nothing),
        machine: Arc::new(Still),
        clock: Arc::new(Still),
        random: Random::seeded(1),
        workers: Arc::new(LocalWorkers(workers)),
    }
}

struct LocalWorkers(usize);

impl Workers for LocalWorkers {
    fn count(&self) -> usize {
        self.0
    }

    fn start_on_each(&self, _: &str, task: WorkerTask) {
        for number in 0..self.0 {
            tokio::task::spawn_local(task(number));
        }
    }

    fn run_blocking(&self, work: ports::BlockingWork) -> Asked<'_, ()> {
        work();
        Box::pin(std::future::ready(()))
    }
}

struct Loopback;

fn failed(address: &impl ToString, error: &std::io::Error) -> NetworkError {
    let address = address.to_string();
    match error.kind() {
        std::io::ErrorKind::AddrInUse => NetworkError::InUse { address },
        std::io::ErrorKind::ConnectionRefused => NetworkError::Refused { address },
        _ => NetworkError::Failed {
            address,
            reason: error.to_string(),
        },
    }
}

fn listen(address: SocketAddr, shared: bool) -> std::io::Result<Box<dyn Listener>> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    Ok(Box::new(LoopbackListener(socket.listen(128)?)))
}

impl Network for Loopback {
    fn listen(&self, address: SocketAddr) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        Box::pin(async move { listen(address, false).map_err(|error| failed(&address, &error)) })
    }

    fn listen_shared(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        Box::pin(async move { listen(address, true).map_err(|error| failed(&address, &error)) })
    }

    fn connect(&self, address: String) -> Asked<'_, Result<Box<dyn Stream>, NetworkError>> {
        Box::pin(async move {
            let stream = TcpStream::connect(&address).await;
            let stream = stream.map_err(|error| failed(&address, &error))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn datagrams(
        &self,
        address: SocketAddr,
    ) -> Asked<'_, Result<Box<dyn Datagrams>, NetworkError>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(address).await;
            let socket = socket.map_err(|error| failed(&address, &error))?;
            Ok(Box::new(LoopbackDatagrams(socket)) as Box<dyn Datagrams>)
        })
    }
}

struct LoopbackListener(TcpListener);

impl Listener for LoopbackListener {
    fn accept(&mut self) -> Asked<'_, Result<Accepted, NetworkError>> {
        Box::pin(async move {
            let accepted = self.0.accept().await;
            let (stream, from) = accepted.map_err(|error| failed(&"accept", &error))?;
            Ok((Box::new(stream) as Box<dyn Stream>, from))
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket")
    }
}

struct LoopbackDatagrams(UdpSocket);

impl Datagrams for LoopbackDatagrams {
    fn receive<'a>(
        &'a self,
        buffer: &'a mut [u8],
    ) -> Asked<'a, Result<(usize, SocketAddr), NetworkError>> {
        Box::pin(async move {
            let received = self.0.recv_from(buffer).await;
            received.map_err(|error| failed(&"receive", &error))
        })
    }

    fn send<'a>(&'a self, bytes: &'a [u8], to: SocketAddr) -> Asked<'a, Result<(), NetworkError>> {
        Box::pin(async move {
            let sent = self.0.send_to(bytes, to).await;
            sent.map(drop).map_err(|error| failed(&to, &error))
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.0.local_addr().expect("a bound socket")
    }
}

/// No disk, and no containers.
struct Nothing;

fn no_file<T>(path: &str) -> Result<T, DiskError> {
    Err(DiskError::Missing {
        path: path.to_owned(),
    })
}

impl Disk for Nothing {
    fn prepare(&self) -> Result<(), DiskError> {
        no_file("")
    }

    fn open(&self, path: &str) -> Result<Arc<dyn File>, DiskError> {
        no_file(path)
    }

    fn read(&self, path: &str) -> Asked<'_, Result<Vec<u8>, DiskError>> {
        let missing = no_file(path);
        Box::pin(async { missing })
    }

    fn write(&self, path: &str, _: Vec<u8>) -> Asked<'_, Result<(), DiskError>> {
        let missing = no_file(path);
        Box::pin(async { missing })
    }

    fn remove(&self, _: &str) -> Asked<'_, Result<(), DiskError>> {
        Box::pin(async { Ok(()) })
    }

    fn list(&self, _: &str) -> Asked<'_, Result<Vec<String>, DiskError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn refused<'a, T: Send + 'a>() -> Asked<'a, Result<T, ContainersError>> {
    let refused = ContainersError::Refused("this world runs no tasks".into());
    Box::pin(async { Err(refused) })
}

impl Containers for Nothing {
    fn drivers(&self) -> Asked<'_, BTreeMap<String, DriverInfo>> {
        Box::pin(async { BTreeMap::new() })
    }

    fn prepare<'a>(&'a self, _: &'a TaskSpec) -> Asked<'a, Result<Vec<String>, ContainersError>> {
        refused()
    }

    fn start<'a>(&'a self, _: &'a TaskSpec) -> Asked<'a, Result<(), ContainersError>> {
        refused()
    }

    fn reattach<'a>(&'a self, _: &'a TaskSpec) -> Asked<'a, Result<bool, ContainersError>> {
        refused()
    }

    fn wait<'a>(&'a self, _: &'a TaskKey) -> Asked<'a, Exit> {
        Box::pin(async { Exit::default() })
    }

    fn stop<'a>(
        &'a self,
        _: &'a TaskKey,
        _: &'a str,
        _: Duration,
    ) -> Asked<'a, Result<(), ContainersError>> {
        refused()
    }

    fn remove<'a>(&'a self, _: &'a TaskKey) -> Asked<'a, Result<(), ContainersError>> {
        refused()
    }

    fn forget<'a>(&'a self, _: &'a str) -> Asked<'a, Result<(), ContainersError>> {
        refused()
    }

    fn read_log<'a>(
        &'a self,
        _: &'a TaskKey,
        _: LogStream,
        _: u64,
        _: usize,
    ) -> Asked<'a, Result<LogChunk, ContainersError>> {
        refused()
    }

    fn look<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
    ) -> Asked<'a, Result<ports::Found, ContainersError>> {
        refused()
    }

    fn read_file<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: u64,
        _: usize,
    ) -> Asked<'a, Result<LogChunk, ContainersError>> {
        refused()
    }

    fn list(&self) -> Asked<'_, Result<Vec<TaskKey>, ContainersError>> {
        refused()
    }

    fn usage<'a>(&'a self, _: &'a TaskKey) -> Asked<'a, Result<TaskUsage, ContainersError>> {
        refused()
    }
}

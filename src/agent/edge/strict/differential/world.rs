//! A worker with one upstream behind it that answers by a script, all in memory.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use logic::catalog::View;
use logic::config::{EdgeConfig, EdgeProtocol};
use logic::routes::{Overrides, Rules, Table};
use logic::time::Time;
use ports::errors::NetworkError;
use ports::{
    Asked, Clock, Datagrams, Fingerprint, Listener, Machine, MachineUsage, Network, Stream,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::edge::tls::TlsClient;
use crate::edge::worker::{Shared, Worker};
use crate::edge::{Counters, Settings};

const ROUTES: &str = r#"route add web / http://10.0.0.1:80/
route add cut /cut http://10.0.0.1:80/ opts "strip=/cut"
route add pre /pre http://10.0.0.1:80/ opts "prepend=/more"
route add far /far http://10.0.0.1:80/ opts "redirect=301,http://far.example/$path"
route add odd odd.example/ http://10.0.0.1:80/ opts "host=dst"
"#;

/// What the upstream does.
#[derive(Clone)]
pub(super) struct Script {
    pub(super) answer: Vec<u8>,
    /// It closes after each answer.
    pub(super) closes: bool,
    /// Its answer comes bit by bit.
    pub(super) by_pieces: bool,
}

/// How a worker is set up.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) hyper_only: bool,
    /// Otherwise every request is answered with a page that says that there is no route.
    pub(super) routed: bool,
}

type Seen = Arc<Mutex<Vec<Vec<u8>>>>;

/// A worker, and the requests that its upstream gets.
pub(super) fn worker(script: Script, way: Way) -> (Rc<Worker>, Seen) {
    let seen = Seen::default();
    let upstream = Upstream {
        script,
        seen: seen.clone(),
    };
    let overrides = Overrides {
        commands: if way.routed { ROUTES } else { "" }.to_owned(),
        no_route_page: "<p>nothing here".to_owned(),
    };
    let table = Table::build(&View::default(), &Rules::new("urlprefix-"), &overrides);
    let config = EdgeConfig::default();
    let clock: Arc<dyn Clock> = Arc::new(Still);
    let shared = Shared {
        table: Arc::new(ArcSwap::from_pointee(table)),
        lost: Arc::default(),
        network: Arc::new(upstream),
        clock: clock.clone(),
        counters: Arc::new(Counters::default()),
        settings: Settings {
            hyper_only: way.hyper_only,
            ..Settings::new(&config)
        },
        by: None,
        protocol: EdgeProtocol::Http,
        address: SocketAddr::from(([10, 0, 0, 9], 9999)),
        proxy_header: None,
        certificates: None,
        tls: Arc::new(TlsClient::of(Arc::new(Still), clock)),
    };
    (Rc::new(Worker::new(Arc::new(shared), 0, 1)), seen)
}

impl Worker {
    pub(super) async fn play(self: Rc<Self>, stream: Box<dyn Stream>) {
        let from = SocketAddr::from(([10, 1, 2, 3], 4711));
        self.serve(stream, from, None).await;
    }
}

struct Upstream {
    script: Script,
    seen: Seen,
}

fn no_such<'a, T: Send + 'a>() -> Asked<'a, Result<T, NetworkError>> {
    Box::pin(async {
        Err(NetworkError::Refused {
            address: String::new(),
        })
    })
}

impl Network for Upstream {
    fn listen(&self, _: SocketAddr) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        no_such()
    }

    fn listen_shared(&self, _: SocketAddr) -> Asked<'_, Result<Box<dyn Listener>, NetworkError>> {
        no_such()
    }

    fn connect(&self, _: String) -> Asked<'_, Result<Box<dyn Stream>, NetworkError>> {
        Box::pin(async {
            let (edge, upstream) = tokio::io::duplex(1 << 20);
            let (script, seen) = (self.script.clone(), self.seen.clone());
            tokio::task::spawn_local(answer(upstream, script, seen));
            Ok(Box::new(edge) as Box<dyn Stream>)
        })
    }

    fn datagrams(&self, _: SocketAddr) -> Asked<'_, Result<Box<dyn Datagrams>, NetworkError>> {
        no_such()
    }
}

/// Answers each whole request of one connection.
async fn answer(mut stream: DuplexStream, script: Script, seen: Seen) {
    let mut unread = Vec::new();
    loop {
        while let Some(length) = whole(&unread) {
            let request: Vec<u8> = unread.drain(..length).collect();
            if let Ok(mut seen) = seen.lock() {
                seen.push(request);
            }
            let piece = if script.by_pieces { 5 } else { usize::MAX };
            for (n, piece) in script.answer.chunks(piece).enumerate() {
                if n > 0 {
                    tokio::task::yield_now().await;
                }
                if stream.write_all(piece).await.is_err() {
                    return;
                }
            }
            if script.closes {
                return;
            }
        }
        if stream.read_buf(&mut unread).await.unwrap_or_default() == 0 {
            return;
        }
    }
}

/// The length of the request at the start, if all of it is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = request.parse(bytes) else {
        return None;
    };
    let value = |name: &str| {
        let mut headers = request.headers.iter();
        let found = headers.find(|header| header.name.eq_ignore_ascii_case(name));
        found.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    if value("transfer-encoding").is_some() {
        let end = b"0\r\n\r\n";
        let body = &bytes[head..];
        let last = body.windows(end.len()).position(|at| at == end)?;
        return Some(head + last + end.len());
    }
    let length = value("content-length").and_then(|length| length.parse().ok());
    let whole = head + length.unwrap_or(0);
    (whole <= bytes.len()).then_some(whole)
}

/// A machine with nothing on it, where no time passes.
pub(crate) struct Still;

impl Clock for Still {
    fn now(&self) -> Time {
        Time::from_secs(1_795_525_975)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

impl Machine for Still {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::default()
    }

    fn ports_in_use(&self) -> BTreeSet<u16> {
        BTreeSet::new()
    }

    fn usage(&self) -> MachineUsage {
        MachineUsage::default()
    }
}

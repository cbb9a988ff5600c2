//! The actor of the DNS port: a task for datagrams, a task a connection. They end with it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use logic::catalog::View;
use logic::config::CatalogConfig;
use logic::dns::Zone;
use ports::errors::NetworkError;
use ports::{Datagrams, Listener, Stream, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::recursors;
use super::wire::{self, Reply, Source, Transport};
use crate::published::Subscriber;

/// Questions are short; what is longer than this is cut off and then malformed.
const QUESTION_BYTES_MAX: usize = 4096;
/// How long a TCP client may take for its next question, or for taking an answer.
const TCP_IDLE: Duration = Duration::from_secs(10);
const TCP_CONNECTIONS_MAX: usize = 512;
/// Questions that are being passed on at a time; one more is refused.
const PASSED_ON_MAX: usize = 256;
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);

/// Tells where DNS is served.
#[derive(Debug, Message)]
#[rtype(result = "SocketAddr")]
pub struct DescribeAddress;

/// The configuration was read again.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Reconfigure(pub CatalogConfig);

pub struct DnsListener {
    address: SocketAddr,
    sockets: Option<(Box<dyn Datagrams>, Box<dyn Listener>)>,
    answerer: Rc<Answerer>,
    /// The tasks end with it.
    lives: watch::Sender<()>,
}

/// What every task needs to answer.
struct Answerer {
    world: World,
    settings: RefCell<Rc<Settings>>,
    view: Subscriber<Arc<View>>,
    /// Questions that are being passed on.
    passed_on: Rc<Cell<usize>>,
}

/// What answers are like, and who is asked about the rest of the world.
struct Settings {
    zone: Zone,
    recursors: Vec<SocketAddr>,
}

impl Settings {
    fn of(config: &CatalogConfig) -> Rc<Self> {
        let recursors = config.recursors.iter().filter_map(|text| {
            let parsed = recursors::address(text);
            parsed
                .inspect_err(|why| tracing::warn!("{why}: it isn't asked"))
                .ok()
        });
        Rc::new(Self {
            recursors: recursors.collect(),
            zone: Zone {
                domain: config.domain.trim_matches('.').to_lowercase(),
                config: config.dns.clone(),
            },
        })
    }
}

impl Answerer {
    fn settings(&self) -> Rc<Settings> {
        Rc::clone(&self.settings.borrow())
    }

    fn reply(&self, question: &[u8], transport: Transport) -> Option<Reply> {
        let view = self.view.borrow().clone();
        let settings = self.settings();
        let source = Source {
            zone: &settings.zone,
            view: &view,
            now: self.world.clock.now(),
            below: &mut |below| self.world.random.below(below),
            recursive: !settings.recursors.is_empty(),
        };
        wire::reply(question, transport, source)
    }

    /// Whether an answer is somebody else's to know, and somebody can be asked.
    fn is_to_be_passed_on(&self, reply: &Reply) -> bool {
        let outside = matches!(reply, Reply::Outside(_)) && !self.settings().recursors.is_empty();
        outside && self.passed_on.get() < PASSED_ON_MAX
    }

    async fn pass_on(&self, question: &[u8], transport: Transport, reply: Reply) -> Vec<u8> {
        let place = Place::take(&self.passed_on);
        let settings = self.settings();
        let within = logic::duration::to_std(settings.zone.config.recursor_timeout);
        let answer = recursors::ask(
            &self.world,
            &settings.recursors,
            within,
            question,
            transport,
        )
        .await;
        drop(place);
        answer.unwrap_or_else(|| wire::failed(reply.into_bytes()))
    }
}

impl DnsListener {
    pub(super) async fn bind(
        world: &World,
        config: &CatalogConfig,
        address: SocketAddr,
        view: Subscriber<Arc<View>>,
    ) -> Result<Self, NetworkError> {
        let streams = world.network.listen(address).await?;
        let address = streams.local_addr();
        let datagrams = world.network.datagrams(address).await?;
        tracing::info!(%address, domain = config.domain, "DNS listens");
        Ok(Self {
            address,
            sockets: Some((datagrams, streams)),
            answerer: Rc::new(Answerer {
                world: world.clone(),
                settings: RefCell::new(Settings::of(config)),
                view,
                passed_on: Rc::default(),
            }),
            lives: watch::Sender::new(()),
        })
    }

    /// Runs a task that ends when the actor does.
    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        spawn_while(self.lives.subscribe(), task);
    }
}

fn spawn_while(mut lives: watch::Receiver<()>, task: impl Future<Output = ()> + 'static) {
    tokio::task::spawn_local(async move {
        tokio::select! {
            biased;
            // Ends only with an error: nothing is ever sent.
            _ = lives.changed() => {}
            () = task => {}
        }
    });
}

impl Actor for DnsListener {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        if let Some((datagrams, streams)) = self.sockets.take() {
            let lives = self.lives.subscribe();
            let serving = serve_datagrams(datagrams, self.answerer.clone(), lives);
            self.spawn(serving);
            let lives = self.lives.subscribe();
            self.spawn(serve_streams(streams, self.answerer.clone(), lives));
        }
    }
}

impl Handler<DescribeAddress> for DnsListener {
    type Result = MessageResult<DescribeAddress>;

    fn handle(&mut self, _: DescribeAddress, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.address)
    }
}

impl Handler<Reconfigure> for DnsListener {
    type Result = ();

    fn handle(&mut self, Reconfigure(config): Reconfigure, _: &mut Context<Self>) {
        self.answerer.settings.replace(Settings::of(&config));
    }
}

async fn serve_datagrams(
    datagrams: Box<dyn Datagrams>,
    answerer: Rc<Answerer>,
    lives: watch::Receiver<()>,
) {
    let datagrams: Rc<dyn Datagrams> = Rc::from(datagrams);
    let mut buffer = vec![0; QUESTION_BYTES_MAX];
    loop {
        let (length, from) = match datagrams.receive(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::warn!(%error, "can't receive DNS questions");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
                continue;
            }
        };
        let question = buffer.get(..length).unwrap_or(&buffer);
        let Some(reply) = answerer.reply(question, Transport::Udp) else {
            continue;
        };
        if !answerer.is_to_be_passed_on(&reply) {
            send(&*datagrams, &reply.into_bytes(), from).await;
            continue;
        }
        let (datagrams, answerer) = (Rc::clone(&datagrams), Rc::clone(&answerer));
        let question = question.to_vec();
        spawn_while(lives.clone(), async move {
            let answer = answerer.pass_on(&question, Transport::Udp, reply).await;
            send(&*datagrams, &answer, from).await;
        });
    }
}

async fn send(datagrams: &dyn Datagrams, reply: &[u8], to: SocketAddr) {
    if let Err(error) = datagrams.send(reply, to).await {
        tracing::debug!(%error, %to, "can't send a DNS reply");
    }
}

async fn serve_streams(
    mut listener: Box<dyn Listener>,
    answerer: Rc<Answerer>,
    lives: watch::Receiver<()>,
) {
    let open = Rc::new(Cell::new(0));
    loop {
        match listener.accept().await {
            // One too many is closed at once.
            Ok(_) if open.get() >= TCP_CONNECTIONS_MAX => {}
            Ok((stream, _)) => {
                let place = Place::take(&open);
                let answerer = answerer.clone();
                spawn_while(lives.clone(), async move {
                    // A client that breaks off isn't told anything.
                    let _ = serve_stream(stream, &answerer).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// One of the connections that may be open at a time.
struct Place(Rc<Cell<usize>>);

impl Place {
    fn take(open: &Rc<Cell<usize>>) -> Self {
        open.set(open.get() + 1);
        Self(open.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Questions and replies, each after its length in two bytes, until the client has no more.
async fn serve_stream(mut stream: Box<dyn Stream>, answerer: &Answerer) -> std::io::Result<()> {
    loop {
        let mut question = Vec::new();
        timeout(TCP_IDLE, async {
            question.resize(usize::from(stream.read_u16().await?), 0);
            stream.read_exact(&mut question).await
        })
        .await??;
        let Some(reply) = answerer.reply(&question, Transport::Tcp) else {
            return Ok(());
        };
        let reply = if answerer.is_to_be_passed_on(&reply) {
            answerer.pass_on(&question, Transport::Tcp, reply).await
        } else {
            reply.into_bytes()
        };
        let Ok(length) = u16::try_from(reply.len()) else {
            return Ok(());
        };
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        timeout(TCP_IDLE, stream.write_all(&framed)).await??;
    }
}

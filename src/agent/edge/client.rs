//! One client connection as its worker keeps an eye on it: what it is doing and since when.
//!
//! Deadlines are looked after once a second for all connections of a worker, which is far
//! cheaper than a timer for each request.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing asked yet, or the last answer has gone out.
    AwaitingRequest,
    /// Asked; the upstream hasn't begun to answer.
    AwaitingUpstream,
    /// The answer is on its way.
    Streaming,
    /// Bytes flow both ways, or several requests are being answered: for as long as it takes.
    Passing,
}

/// How many ticks a connection may spend where.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the unit is part of the name")]
pub(super) struct Limits {
    /// From accepting, or the last answer, to a whole request head.
    pub(super) idle_ticks: u64,
    /// From a request's last byte to its answer's first.
    pub(super) upstream_ticks: u64,
    /// From an answer's first byte to its last.
    pub(super) answer_ticks: Option<u64>,
}

pub(super) struct Client {
    phase: Cell<Phase>,
    since: Cell<u64>,
    late: Cell<bool>,
    /// Where the request waits for an answer, until there is one.
    upstream: RefCell<Option<Rc<str>>>,
    lost: Cell<bool>,
    stopping: Cell<bool>,
    cut: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What the one who drives a connection must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Go,
    /// Take no further request.
    Finish,
    /// Close it now.
    Cut,
}

/// The upstream took too long to answer.
#[derive(Debug)]
pub(super) struct Late;

/// The upstream's machine can't be reached any more.
#[derive(Debug)]
pub(super) struct Lost;

impl Client {
    pub(super) fn new(now: u64) -> Self {
        Self {
            phase: Cell::new(Phase::AwaitingRequest),
            since: Cell::new(now),
            late: Cell::new(false),
            upstream: RefCell::new(None),
            lost: Cell::new(false),
            stopping: Cell::new(false),
            cut: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    pub(super) fn requested(&self, now: u64) {
        self.late.set(false);
        self.enter(Phase::AwaitingUpstream, now);
    }

    pub(super) fn streams(&self, now: u64) {
        self.enter(Phase::Streaming, now);
    }

    pub(super) fn passes(&self, now: u64) {
        self.enter(Phase::Passing, now);
    }

    pub(super) fn answered(&self, now: u64) {
        self.enter(Phase::AwaitingRequest, now);
    }

    /// The request's body goes on: the upstream can't be expected to answer yet.
    pub(super) fn progressed(&self, now: u64) {
        self.since.set(now);
    }

    fn enter(&self, phase: Phase, now: u64) {
        self.phase.set(phase);
        self.since.set(now);
        self.upstream.replace(None);
    }

    /// Acts on deadlines that have passed.
    pub(super) fn tick(&self, now: u64, limits: Limits) {
        let age = now.saturating_sub(self.since.get());
        match self.phase.get() {
            Phase::AwaitingRequest if age > limits.idle_ticks => self.cut(),
            Phase::AwaitingUpstream if age > limits.upstream_ticks => {
                self.late.set(true);
                self.wake();
            }
            Phase::Streaming if limits.answer_ticks.is_some_and(|most| age > most) => self.cut(),
            Phase::AwaitingRequest
            | Phase::AwaitingUpstream
            | Phase::Streaming
            | Phase::Passing => {}
        }
    }

    /// Where the request waits for an answer.
    pub(super) fn waits_at(&self) -> Option<Rc<str>> {
        self.upstream.borrow().clone()
    }

    /// The upstream it waits at will never answer.
    pub(super) fn give_up_upstream(&self) {
        self.lost.set(true);
        self.wake();
    }

    pub(super) fn finish(&self) {
        self.stopping.set(true);
        self.wake();
    }

    pub(super) fn cut(&self) {
        self.cut.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }

    /// What to do now; the task is woken when that changes.
    pub(super) fn order(&self, context: &Context<'_>) -> Order {
        let mut waker = self.waker.borrow_mut();
        if !waker
            .as_ref()
            .is_some_and(|known| known.will_wake(context.waker()))
        {
            *waker = Some(context.waker().clone());
        }
        if self.cut.get() {
            Order::Cut
        } else if self.stopping.get() {
            Order::Finish
        } else {
            Order::Go
        }
    }

    /// Runs a request's work until its deadline. It is part of the task that asks for orders,
    /// so it is polled again when that task is woken.
    pub(super) async fn in_time<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Late> {
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if self.late.get() => Poll::Ready(Err(Late)),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Waits for an upstream until it answers or is lost. Polled like `in_time`.
    pub(super) async fn unless_lost<T>(
        &self,
        upstream: &Rc<str>,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> Result<T, Lost> {
        self.lost.set(false);
        self.upstream.replace(Some(upstream.clone()));
        let ended = poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending if self.lost.get() => Poll::Ready(Err(Lost)),
            Poll::Pending => Poll::Pending,
        });
        let ended = ended.await;
        self.upstream.replace(None);
        ended
    }

    /// Has hyper serve a connection until it ends or is cut. How it ends it has told the client.
    pub(super) async fn serve<C: Future>(
        &self,
        mut connection: Pin<&mut C>,
        finish: impl Fn(Pin<&mut C>),
    ) {
        let mut finishing = false;
        poll_fn(|context| {
            match self.order(context) {
                Order::Go => {}
                Order::Cut => return Poll::Ready(()),
                Order::Finish => {
                    if !finishing {
                        finishing = true;
                        finish(connection.as_mut());
                    }
                }
            }
            connection.as_mut().poll(context).map(drop)
        })
        .await;
    }

    /// Runs something until it ends by itself, or the connection is cut: then there is nothing.
    pub(super) async fn until_cut<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| match self.order(context) {
            Order::Cut => Poll::Ready(None),
            Order::Go | Order::Finish => work.as_mut().poll(context).map(Some),
        })
        .await
    }
}

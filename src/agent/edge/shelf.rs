//! Idle connections to upstreams, kept for the next request for a while.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use logic::routes::Target;

use super::pool::Lease;

const IDLE_PER_UPSTREAM_MAX: usize = 256;
const IDLE_TICKS_MAX: u64 = 15;

/// What an idle connection is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fitness {
    Ready,
    /// Later perhaps: what it carried last isn't over.
    Busy,
    Closed,
}

/// A way to an upstream that can be kept.
pub(super) trait Kept {
    fn fitness(&mut self) -> Fitness;

    /// Says that nothing more will be sent.
    fn end(&mut self) {}
}

struct Idle<W> {
    lease: Lease<W>,
    since: u64,
}

pub(super) struct Shelf<W>(RefCell<BTreeMap<Rc<str>, VecDeque<Idle<W>>>>);

impl<W: Kept> Shelf<W> {
    pub(super) fn new() -> Self {
        Self(RefCell::new(BTreeMap::new()))
    }

    /// The connection used last, so that others can age.
    pub(super) fn take(&self, target: &Target) -> Option<Lease<W>> {
        let mut idle = self.0.borrow_mut();
        let connections = idle.get_mut(target.address.as_str())?;
        let mut at = connections.len();
        while at > 0 {
            at -= 1;
            let Lease { tls, way, .. } = &mut connections[at].lease;
            let same = tls.as_deref() == target.tls.as_ref();
            match way.fitness() {
                Fitness::Ready if same => {
                    let Idle { lease, .. } = connections.remove(at)?;
                    return Some(Lease {
                        used: true,
                        ..lease
                    });
                }
                Fitness::Ready | Fitness::Busy => {}
                Fitness::Closed => drop(connections.remove(at)),
            }
        }
        None
    }

    pub(super) fn put(&self, lease: Lease<W>, now: u64) {
        let mut idle = self.0.borrow_mut();
        let connections = match idle.get_mut(&lease.address) {
            Some(connections) => connections,
            None => idle.entry(lease.address.clone()).or_default(),
        };
        if connections.len() < IDLE_PER_UPSTREAM_MAX {
            connections.push_back(Idle { lease, since: now });
        }
    }

    /// Closes what has been idle for too long.
    pub(super) fn tick(&self, now: u64) {
        self.0.borrow_mut().retain(|_, connections| {
            connections.retain_mut(|Idle { lease, since }| {
                let old = now - *since > IDLE_TICKS_MAX;
                if old {
                    lease.way.end();
                }
                !old && lease.way.fitness() != Fitness::Closed
            });
            !connections.is_empty()
        });
    }

    pub(super) fn forget(&self, address: &str) {
        self.0.borrow_mut().remove(address);
    }

    pub(super) fn clear(&self) {
        let idle = std::mem::take(&mut *self.0.borrow_mut());
        for Idle { lease, .. } in idle.into_values().flatten() {
            let mut way = lease.way;
            way.end();
        }
    }
}

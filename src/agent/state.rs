//! Reading the replicated state: the newest version, or the first one past an index.

use std::sync::Arc;
use std::time::Duration;

use logic::state::Store;

use crate::published::Subscriber;

/// A reader's handle on the state. Cheap to clone; never blocks a writer.
#[derive(Clone, Debug)]
pub struct State {
    newest: Subscriber<Arc<Store>>,
}

impl State {
    pub fn new(newest: Subscriber<Arc<Store>>) -> Self {
        Self { newest }
    }

    /// The state as it is now.
    pub fn now(&self) -> Arc<Store> {
        Arc::clone(&self.newest.borrow())
    }

    /// Tells whenever there is another state.
    pub fn changes(&self) -> Subscriber<Arc<Store>> {
        self.newest.clone()
    }

    /// The first state for which `ready` holds, or the newest one when `within` is over.
    pub async fn once(&self, within: Duration, ready: impl Fn(&Store) -> bool) -> Arc<Store> {
        let mut newest = self.newest.clone();
        let waiting = newest.wait_for(|store| ready(store));
        match tokio::time::timeout(within, waiting).await {
            Ok(Ok(store)) => store,
            // Out of time, or the store is gone: what is known is what there is.
            Ok(Err(_)) | Err(_) => self.now(),
        }
    }
}

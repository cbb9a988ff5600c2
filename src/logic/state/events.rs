//! Users' events: the newest ones, in their order.

use std::sync::Arc;

use super::{Applying, Reply, Store, Topic};
use crate::model::UserEvent;

/// As many as Consul's agents remember.
const KEPT: usize = 256;

impl Store {
    pub(super) fn fire_event(&mut self, mut event: UserEvent, now: &mut Applying) -> Reply {
        event.id = now.ids.next_uuid();
        event.index = now.index;
        let id = event.id.clone();
        self.events.insert(now.index, event);
        while self.events.len() > KEPT {
            let oldest = self.events.iter().next().map(|(index, _)| *index);
            oldest.map(|index| self.events.remove(&index));
        }
        self.touch(Topic::Events, now);
        Reply::Fired { id }
    }

    /// Oldest first.
    pub fn events(&self) -> impl Iterator<Item = &Arc<UserEvent>> {
        self.events.values()
    }
}

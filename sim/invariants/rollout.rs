//! What a rolling update does to what serves: each state is compared with the one before.

use std::sync::Arc;

use anyhow::Result;
use logic::invariants::successors_first;
use logic::state::Store;

use super::SUCCESSOR_FIRST;

#[derive(Default)]
pub(super) struct Rollouts {
    before: Option<Arc<Store>>,
}

impl Rollouts {
    pub(super) fn look(&mut self, now: &Arc<Store>) -> Result<()> {
        match self.before.replace(Arc::clone(now)) {
            None => Ok(()),
            Some(before) => {
                successors_first(&before, now).map_err(|detail| SUCCESSOR_FIRST.broken(detail))
            }
        }
    }
}

//! Registrations on disk: one small file, written as a whole.

use std::sync::Arc;
use std::time::Duration;

use logic::model::Registrations;
use ports::World;
use ports::errors::DiskError;

use crate::checked_file;
use crate::published::{Publisher, Subscriber};

const PATH: &str = "catalog/registered";
const KIND: &str = "drover-registered";
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How far the disk is.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    pub(super) version: u64,
    /// Why that version isn't on disk, if it isn't.
    pub(super) failure: Option<String>,
}

/// What was registered before the agent started.
pub(super) async fn load(world: &World) -> Registrations {
    let read = world.disk.read(PATH).await;
    let damaged = match read {
        Ok(bytes) => match checked_file::decode(KIND, &bytes) {
            Ok(kept) => return kept,
            Err(reason) => {
                let aside = format!("{PATH}.damaged-{}", world.clock.now().secs());
                if let Err(error) = world.disk.write(&aside, bytes).await {
                    tracing::debug!(%error, "a damaged file could not be set aside");
                }
                reason
            }
        },
        Err(DiskError::Missing { .. }) => return Registrations::default(),
        Err(error) => error.to_string(),
    };
    tracing::warn!(
        reason = damaged,
        "what was registered at this agent can't be read: it has to be registered again"
    );
    Registrations::default()
}

/// Writes what is newest, in order, until nothing more can come.
pub(super) async fn keep(
    world: World,
    mut newest: Subscriber<(u64, Arc<Registrations>)>,
    written: Publisher<Written>,
) {
    while newest.changed().await.is_ok() {
        loop {
            let (version, kept) = newest.borrow_and_update().clone();
            let wrote = match checked_file::encode(KIND, &*kept) {
                Ok(bytes) => world.disk.write(PATH, bytes).await,
                Err(reason) => Err(DiskError::Failed {
                    path: PATH.to_owned(),
                    reason,
                }),
            };
            let failure = wrote.err().map(|error| error.to_string());
            let done = failure.is_none();
            if let Some(reason) = &failure {
                tracing::warn!(reason, "what is registered here can't be kept");
            }
            written.send_replace(Written { version, failure });
            if done {
                break;
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
}

//! What an agent is asked for that only those can do who have started it: read its files again, let
//! somebody follow its log.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// Where wishes of one kind go. Cheap to clone.
#[derive(Debug)]
pub struct Wishes<T>(Arc<Mutex<Option<mpsc::UnboundedSender<T>>>>);

impl<T> Clone for Wishes<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Wishes<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Wishes<T> {
    /// Those from now on.
    pub fn listen(&self) -> mpsc::UnboundedReceiver<T> {
        let (sender, wishes) = mpsc::unbounded_channel();
        let mut listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *listening = Some(sender);
        wishes
    }

    /// Whether somebody hears it.
    pub fn tell(&self, wish: T) -> bool {
        let listening = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = listening.as_ref();
        listener.is_some_and(|listener| listener.send(wish).is_ok())
    }
}

/// The configuration is to be read again. Answered when it is in effect, or why it isn't.
pub type Reload = oneshot::Sender<Result<(), String>>;

/// Somebody follows the agent's log from now on.
#[derive(Debug)]
pub struct Follow {
    /// `trace`, `debug`, `info`, `warn` or `error`.
    pub level: String,
    pub json: bool,
    /// Whole lines, until nobody takes them any more.
    pub lines: mpsc::Sender<Bytes>,
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    pub reloads: Wishes<Reload>,
    pub follows: Wishes<Follow>,
}

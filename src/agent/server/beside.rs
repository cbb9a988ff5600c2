//! Long work, done beside the actors so that none of them waits.

use std::io;

use ports::World;
use tokio::sync::oneshot;

pub(super) async fn beside<T: Send + 'static>(
    world: &World,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, result) = oneshot::channel();
    let work = Box::new(move || {
        done.send(work()).ok();
    });
    world.workers.run_blocking(work).await;
    let cut_short = |_| io::Error::other("it was cut short");
    result.await.map_err(cut_short)
}

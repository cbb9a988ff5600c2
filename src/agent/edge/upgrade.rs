//! Websockets and the like: after the upstream agrees, bytes are passed on as they are.

use std::rc::Rc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::worker::Worker;

const BUFFER_BYTES: usize = 16 * 1024;

/// Joins the two sides once both have switched, until one of them closes or the worker stops.
pub(super) fn join(worker: &Rc<Worker>, client: OnUpgrade, upstream: OnUpgrade) {
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        let watched = worker.admit();
        watched.passes();
        let copied = watched.until_cut(async {
            let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else {
                return;
            };
            let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
            // However it ends, both sides are closed: there is nobody to tell why.
            let _ = tokio::io::copy_bidirectional_with_sizes(
                &mut client,
                &mut upstream,
                BUFFER_BYTES,
                BUFFER_BYTES,
            )
            .await;
        });
        copied.await;
    });
}

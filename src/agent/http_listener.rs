//! HTTP servers over whatever network the world has: a router on a ports listener.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::DATE;
use axum::http::{HeaderMap, HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ports::{Clock, Listener, Stream};
use tower_service::Service;

/// How long to wait after a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client may take to send a request's head.
const HEAD_WITHIN: Duration = Duration::from_secs(75);

/// Answers every request that comes in on `listener`, for ever.
pub async fn serve(mut listener: Box<dyn Listener>, router: Router, clock: Arc<dyn Clock>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                actix_rt::spawn(converse(stream, router.clone(), Arc::clone(&clock)));
            }
            Err(error) => {
                tracing::warn!(listener = %listener.local_addr(), %error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(stream: Box<dyn Stream>, router: Router, clock: Arc<dyn Clock>) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (mut router, clock) = (router.clone(), Arc::clone(&clock));
        async move {
            let mut response = router.call(request.map(Body::new)).await?;
            put_date(response.headers_mut(), clock.as_ref());
            Ok::<_, Infallible>(response)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "an HTTP connection broke off");
    }
}

/// The date every answer has to carry, by the world's clock rather than hyper's own.
pub fn put_date(headers: &mut HeaderMap, clock: &dyn Clock) {
    if headers.contains_key(DATE) {
        return;
    }
    if let Ok(now) = HeaderValue::try_from(clock.now().http_date()) {
        headers.insert(DATE, now);
    }
}

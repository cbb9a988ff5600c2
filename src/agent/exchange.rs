//! One HTTP request and its answer, over a connection of its own.

use bytes::Bytes;
use http_body_util::{BodyExt, Collected, Full, Limited};
use hyper::{HeaderMap, Request, StatusCode};
use hyper_util::rt::TokioIo;
use ports::Stream;

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// An error if it breaks off, or is longer than what was asked for.
    pub(crate) body: Result<Bytes, String>,
}

/// Asks, and reads at most `body_max` bytes of the answer's body.
pub(crate) async fn exchange(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    body_max: usize,
) -> Result<Answer, hyper::Error> {
    let begun = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = begun?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, body_max).collect().await;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body
                .map(Collected::to_bytes)
                .map_err(|error| error.to_string()),
        })
    };
    // The connection makes progress only while it is polled along with the question.
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    tokio::select! {
        biased;
        answered = &mut answer => answered,
        ended = &mut connection => {
            ended?;
            answer.await
        }
    }
}

//! A task's output as a stream: bare bytes, or frames of JSON that say where they belong.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{Stream, StreamExt, stream};
use ports::{Containers, LogChunk, LogStream, TaskKey};
use serde_json::json;

use super::query::TEXT;

const CHUNK_MAX: usize = 64 << 10;
/// How soon new output is seen.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Looks in vain after which an empty frame tells that the connection is alive: ten seconds.
const LOOKS_BEFORE_HEARTBEAT: u32 = 50;

/// Which output, and from where.
pub(super) struct Output {
    pub(super) containers: Arc<dyn Containers>,
    pub(super) key: TaskKey,
    pub(super) stream: LogStream,
    pub(super) offset: u64,
    /// Go on with what the task has yet to write.
    pub(super) follow: bool,
}

/// A piece of output, or that there was none for a while.
enum Piece {
    Data(LogChunk),
    Nothing,
}

/// The output as it is.
pub(super) fn plain(output: Output) -> Response {
    respond(pieces(output).filter_map(|piece| async {
        match piece {
            Piece::Data(chunk) => Some(Bytes::from(chunk.data)),
            Piece::Nothing => None,
        }
    }))
}

/// The output in frames of JSON, one after the other.
pub(super) fn framed(output: Output) -> Response {
    let stream = match output.stream {
        LogStream::Stdout => "stdout",
        LogStream::Stderr => "stderr",
    };
    let file = format!("alloc/logs/{}.{stream}.0", output.key.task);
    respond(pieces(output).map(move |piece| match piece {
        Piece::Data(chunk) => Bytes::from(frame(&file, &chunk)),
        Piece::Nothing => Bytes::from_static(b"{}"),
    }))
}

/// A frame's offset is where its data ends.
fn frame(file: &str, chunk: &LogChunk) -> String {
    let end = chunk.offset + chunk.data.len() as u64;
    json!({ "File": file, "Offset": end, "Data": STANDARD.encode(&chunk.data) }).to_string()
}

fn respond(bytes: impl Stream<Item = Bytes> + Send + 'static) -> Response {
    let mut response = Response::new(Body::from_stream(bytes.map(Ok::<_, Infallible>)));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}

/// Reads on until the end, or with `follow` until nobody listens any more.
fn pieces(output: Output) -> impl Stream<Item = Piece> + Send {
    stream::unfold(output, |mut output| async move {
        for _ in 0..LOOKS_BEFORE_HEARTBEAT {
            let Output {
                containers,
                key,
                stream,
                offset,
                ..
            } = &output;
            let chunk = match containers.read_log(key, *stream, *offset, CHUNK_MAX).await {
                Ok(chunk) => chunk,
                Err(error) => {
                    // Removed while it was read: that was all there is.
                    tracing::debug!(%key, %error, "a task's output ended");
                    return None;
                }
            };
            if !chunk.data.is_empty() {
                output.offset = chunk.offset + chunk.data.len() as u64;
                return Some((Piece::Data(chunk), output));
            }
            if !output.follow {
                return None;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Some((Piece::Nothing, output))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_the_anchor_writes_it() {
        let data = b"httpbackendservice v1.0.0 listening on :8081\n".to_vec();
        let chunk = LogChunk {
            offset: 0,
            data,
            end: 45,
        };
        assert_eq!(
            frame("alloc/logs/web.stdout.0", &chunk),
            r#"{"Data":"aHR0cGJhY2tlbmRzZXJ2aWNlIHYxLjAuMCBsaXN0ZW5pbmcgb24gOjgwODEK","File":"alloc/logs/web.stdout.0","Offset":45}"#
        );
    }
}

//! `/v1/client/fs/ls|stat|cat|readat/:alloc`: an allocation's files, from this agent's node or
//! passed through from another.

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use ports::errors::ContainersError;
use ports::{Containers, FileInfo, Found};
use serde_json::{Value, json};

use super::errors::Failure;
use super::query::{Query, TEXT};
use super::{Api, node_proxy};

const CHUNK_MAX: usize = 64 << 10;

/// What a request names.
struct Asked {
    api: Api,
    alloc_id: String,
    path: String,
}

/// The request if this agent's node has the allocation, or the answer of the node that has.
async fn here(
    api: Api,
    id: String,
    query: &Query,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Result<Asked, Response>, Failure> {
    if let Some(alloc) = node_proxy::allocation(&api, &id).await?
        && alloc.node_id != api.identity.node_id
    {
        return Ok(Err(
            node_proxy::pass_on(&api, &alloc.node_id, uri, headers).await?
        ));
    }
    Ok(Ok(Asked {
        path: query.get("path").unwrap_or("/").to_owned(),
        alloc_id: id,
        api,
    }))
}

impl Asked {
    async fn look(&self) -> Result<Found, Failure> {
        let containers = &self.api.world.containers;
        let found = containers.look(&self.alloc_id, &self.path).await;
        found.map_err(|error| failure(&error))
    }

    /// Refuses what isn't a file.
    async fn file(&self) -> Result<FileInfo, Failure> {
        match self.look().await? {
            Found::File(file) => Ok(file),
            Found::Folder(..) => Err(Failure::bad_request(format!(
                "`{}` is a directory",
                self.path
            ))),
        }
    }
}

fn failure(error: &ContainersError) -> Failure {
    let status = match error {
        ContainersError::Missing(_) => StatusCode::NOT_FOUND,
        ContainersError::Refused(_) => StatusCode::FORBIDDEN,
        ContainersError::PortInUse { .. }
        | ContainersError::Unreachable(_)
        | ContainersError::TimedOut(_)
        | ContainersError::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Failure::new(status, error.to_string())
}

fn shown(file: &FileInfo) -> Value {
    json!({
        "Name": file.name,
        "IsDir": file.is_dir,
        "Size": file.size,
        "FileMode": file.mode,
        "ModTime": file.modified,
    })
}

pub(super) async fn list(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = match here(api, id, &query, &uri, &headers).await? {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    match asked.look().await? {
        Found::Folder(_, inside) => {
            let inside: Value = inside.iter().map(shown).collect();
            Ok(axum::Json(inside).into_response())
        }
        Found::File(_) => Err(Failure::bad_request(format!(
            "`{}` is not a directory",
            asked.path
        ))),
    }
}

pub(super) async fn stat(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    match here(api, id, &query, &uri, &headers).await? {
        Ok(asked) => Ok(axum::Json(shown(asked.look().await?.info())).into_response()),
        Err(answer) => Ok(answer),
    }
}

pub(super) async fn cat(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let asked = match here(api, id, &query, &uri, &headers).await? {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    let size = asked.file().await?.size;
    Ok(content(asked, 0, size))
}

pub(super) async fn read_at(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let number = |name: &str| {
        let given = query.number(name)?;
        given.ok_or_else(|| Failure::bad_request(format!("must provide {name}")))
    };
    let (offset, limit) = (number("offset")?, number("limit")?);
    let asked = match here(api, id, &query, &uri, &headers).await? {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    asked.file().await?;
    Ok(content(asked, offset, limit))
}

/// A file that is being sent.
struct Sending {
    containers: Arc<dyn Containers>,
    alloc_id: String,
    path: String,
    offset: u64,
    left: u64,
}

/// At most `limit` bytes of a file, as they are.
fn content(asked: Asked, offset: u64, limit: u64) -> Response {
    let sending = Sending {
        containers: asked.api.world.containers,
        alloc_id: asked.alloc_id,
        path: asked.path,
        offset,
        left: limit,
    };
    let pieces = stream::unfold(sending, |mut sending| async move {
        let max = usize::try_from(sending.left).map_or(CHUNK_MAX, |left| left.min(CHUNK_MAX));
        if max == 0 {
            return None;
        }
        let Sending {
            containers,
            alloc_id,
            path,
            offset,
            ..
        } = &sending;
        let data = match containers.read_file(alloc_id, path, *offset, max).await {
            Ok(chunk) => chunk.data,
            // Removed while it was read: that was all there is.
            Err(ContainersError::Missing(_)) => return None,
            // The answer breaks off: what came so far isn't the whole file.
            Err(error) => {
                let failed = io::Error::other(error.to_string());
                sending.left = 0;
                return Some((Err(failed), sending));
            }
        };
        if data.is_empty() {
            return None;
        }
        sending.offset += data.len() as u64;
        sending.left -= data.len() as u64;
        Some((Ok(Bytes::from(data)), sending))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}

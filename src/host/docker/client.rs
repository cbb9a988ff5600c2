//! The connection to the engine, and its errors in our terms.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use bollard::errors::Error as ApiError;
use bollard::{ClientVersion, Docker};
use ports::errors::ContainersError;

pub(super) const DEFAULT_ENDPOINT: &str = "unix:///var/run/docker.sock";

/// How long the engine may take to begin an answer.
const ANSWER_SECS: u64 = 120;

/// Spoken by all engines since 25; older ones are asked what they speak.
const NEWEST: ClientVersion = ClientVersion {
    major_version: 1,
    minor_version: 44,
};

pub(super) struct Client {
    endpoint: String,
    connected: Mutex<Option<Docker>>,
}

pub(super) fn is_missing(error: &ApiError) -> bool {
    matches!(
        error,
        ApiError::DockerResponseServerError {
            status_code: 404,
            ..
        }
    )
}

impl Client {
    pub(super) fn new(endpoint: &str) -> Self {
        let endpoint = if endpoint.is_empty() {
            DEFAULT_ENDPOINT
        } else {
            endpoint
        };
        Self {
            endpoint: endpoint.to_owned(),
            connected: Mutex::default(),
        }
    }

    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn socket(&self) -> &str {
        self.endpoint
            .strip_prefix("unix://")
            .unwrap_or(&self.endpoint)
    }

    /// Whether there is something to connect to.
    pub(super) fn engine_exists(&self) -> bool {
        Path::new(self.socket()).exists()
    }

    /// A client that speaks a version of the API the engine understands.
    pub(super) async fn get(&self) -> Result<Docker, ContainersError> {
        if let Some(known) = self.connected().clone() {
            return Ok(known);
        }
        if self.endpoint.contains("://") && !self.endpoint.starts_with("unix://") {
            return Err(ContainersError::Refused(format!(
                "the Docker endpoint {} (docker.endpoint, or DOCKER_HOST): only unix:// sockets are \
                 supported",
                self.endpoint
            )));
        }
        let engine = self.negotiate().await?;
        *self.connected() = Some(engine.clone());
        Ok(engine)
    }

    fn connected(&self) -> std::sync::MutexGuard<'_, Option<Docker>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self, version: &ClientVersion) -> Result<Docker, ContainersError> {
        Docker::connect_with_unix(self.socket(), ANSWER_SECS, version)
            .map_err(|error| self.explain("connecting", &error))
    }

    async fn negotiate(&self) -> Result<Docker, ContainersError> {
        let engine = self.connect(&NEWEST)?;
        let older = match engine.version().await {
            Ok(_) => return Ok(engine),
            Err(ApiError::DockerResponseServerError {
                status_code: 400,
                message,
            }) => newest_supported(&message)
                .ok_or_else(|| ContainersError::Refused(format!("{}: {message}", self.endpoint)))?,
            Err(error) => return Err(self.explain("asking for its version", &error)),
        };
        self.connect(&older)
    }

    /// What keeps us from the socket, and what to do about it.
    fn unreachable(&self, cause: &(dyn std::error::Error + 'static)) -> String {
        let socket = &self.endpoint;
        let kind = cause.downcast_ref::<std::io::Error>();
        let kind = kind.map(std::io::Error::kind);
        if kind == Some(std::io::ErrorKind::PermissionDenied) {
            return format!(
                "can't connect to {socket}: permission denied: run the agent as root, or as a \
                 user in the socket's group (usually `docker`)"
            );
        }
        format!("can't connect to {socket}: {cause}: is dockerd running?")
    }

    pub(super) fn explain(&self, what: &str, error: &ApiError) -> ContainersError {
        match error {
            ApiError::DockerResponseServerError {
                status_code,
                message,
            } => {
                let text = format!("{what}: {message}");
                match status_code {
                    404 => ContainersError::Missing(text),
                    400 => ContainersError::Refused(text),
                    _ => ContainersError::Failed(text),
                }
            }
            ApiError::RequestTimeoutError => ContainersError::TimedOut(format!(
                "{what}: {} doesn't answer for {ANSWER_SECS} s",
                self.endpoint
            )),
            ApiError::SocketNotFoundError(_) => ContainersError::Unreachable(format!(
                "can't connect to {}: no such socket: is dockerd running?",
                self.endpoint
            )),
            ApiError::IOError { err } => ContainersError::Unreachable(self.unreachable(err)),
            ApiError::HyperResponseError { .. } | ApiError::HyperLegacyError { .. } => {
                ContainersError::Unreachable(self.unreachable(innermost(error)))
            }
            _ => ContainersError::Failed(format!("{what}: {error}")),
        }
    }
}

/// The cause of the cause: HTTP clients wrap what the system said in layers of their own words.
fn innermost(error: &ApiError) -> &(dyn std::error::Error + 'static) {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause
}

/// "client version 1.44 is too new. Maximum supported API version is 1.41"
fn newest_supported(message: &str) -> Option<ClientVersion> {
    let (_, version) = message.rsplit_once("API version is ")?;
    let (major, minor) = version
        .trim_matches(|c: char| !c.is_ascii_digit())
        .split_once('.')?;
    Some(ClientVersion {
        major_version: major.parse().ok()?,
        minor_version: minor.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_engine_says_what_it_speaks() {
        let said = "client version 1.44 is too new. Maximum supported API version is 1.41";
        let version = newest_supported(said).expect("a version");
        assert_eq!((version.major_version, version.minor_version), (1, 41));
        assert!(newest_supported("page not found").is_none());
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_explained() {
        let client = Client::new("unix:///no/such/docker.sock");
        assert!(!client.engine_exists());
        let error = client.get().await.expect_err("nobody listens");
        assert_eq!(
            error,
            ContainersError::Unreachable(
                "can't connect to unix:///no/such/docker.sock: no such socket: is dockerd running?"
                    .to_owned()
            )
        );
    }

    #[test]
    fn a_socket_that_may_not_be_used_says_who_may() {
        let client = Client::new("");
        let denied = std::io::Error::from_raw_os_error(13);
        let error = client.explain("connecting", &ApiError::IOError { err: denied });
        let ContainersError::Unreachable(text) = error else {
            panic!("{error:?}");
        };
        assert!(
            text.contains("docker.sock: permission denied: run the agent as root"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn other_kinds_of_endpoints_are_refused() {
        let error = Client::new("tcp://127.0.0.1:2375").get().await;
        assert!(matches!(error, Err(ContainersError::Refused(_))));
    }
}

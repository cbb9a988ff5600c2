//! Images: there, or pulled, each only once at a time.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::errors::Error as ApiError;
use bollard::query_parameters::CreateImageOptions;
use futures_util::future::{BoxFuture, Shared};
use futures_util::{FutureExt, StreamExt};
use ports::TaskSpec;
use ports::errors::ContainersError;
use tokio::time::timeout;

use super::client::{Client, is_missing};
use super::options::Options;

/// How long a pull may go without any progress.
const STALLED: Duration = Duration::from_secs(300);

type Pull = Shared<BoxFuture<'static, Result<String, ContainersError>>>;

#[derive(Default)]
pub(super) struct Images {
    pulls: Mutex<BTreeMap<(String, String), Pull>>,
}

impl Images {
    fn pulls(&self) -> MutexGuard<'_, BTreeMap<(String, String), Pull>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn ensure(
        &self,
        client: &Client,
        spec: &TaskSpec,
    ) -> Result<Vec<String>, ContainersError> {
        let options = Options::new(&spec.config);
        let image = with_tag(&options.required_text("image")?);
        let engine = client.get().await?;
        if options.flag("force_pull")? != Some(true) {
            match engine.inspect_image(&image).await {
                Ok(_) => return Ok(Vec::new()),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(client.explain("looking for the image", &error)),
            }
        }
        let credentials = credentials(&options)?;
        let user = credentials
            .as_ref()
            .and_then(|given| given.username.clone())
            .unwrap_or_default();
        let key = (image.clone(), user);
        let pull = self
            .pulls()
            .entry(key.clone())
            .or_insert_with(|| pull(engine, image, credentials).boxed().shared())
            .clone();
        let pulled = pull.clone().await;
        let mut pulls = self.pulls();
        if pulls.get(&key).is_some_and(|known| known.ptr_eq(&pull)) {
            pulls.remove(&key);
        }
        pulled.map(|event| vec![event])
    }
}

/// Without a tag, the engine would pull all there are.
pub(super) fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains([':', '@']) {
        image.to_owned()
    } else {
        format!("{image}:latest")
    }
}

fn credentials(options: &Options<'_>) -> Result<Option<DockerCredentials>, ContainersError> {
    let Some(auth) = options.block("auth")? else {
        return Ok(None);
    };
    let auth = Options::new(&auth);
    Ok(Some(DockerCredentials {
        username: auth.text("username")?,
        password: auth.text("password")?,
        email: auth.text("email")?,
        serveraddress: auth.text("server_address")?,
        ..DockerCredentials::default()
    }))
}

async fn pull(
    engine: Docker,
    image: String,
    credentials: Option<DockerCredentials>,
) -> Result<String, ContainersError> {
    let began = Instant::now();
    let options = CreateImageOptions {
        from_image: Some(image.clone()),
        ..CreateImageOptions::default()
    };
    let mut progress = std::pin::pin!(engine.create_image(Some(options), None, credentials));
    loop {
        match timeout(STALLED, progress.next()).await {
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return Err(pull_problem(&image, &error)),
            Ok(None) => break,
            Err(_) => {
                return Err(ContainersError::TimedOut(format!(
                    "failed to pull `{image}`: no progress for {} s",
                    STALLED.as_secs()
                )));
            }
        }
    }
    let secs = began.elapsed().as_secs_f64();
    Ok(format!("Pulled image {image} in {secs:.1}s"))
}

/// The registry's own words, and whether asking again may help.
fn pull_problem(image: &str, error: &ApiError) -> ContainersError {
    let (status, words) = match error {
        ApiError::DockerResponseServerError {
            status_code,
            message,
        } => (*status_code, message.clone()),
        ApiError::DockerStreamError { error } => (500, error.clone()),
        other => (500, other.to_string()),
    };
    let text = format!("failed to pull `{image}`: {words}");
    let hopeless = [
        "manifest unknown",
        "not found",
        "denied",
        "invalid reference format",
        "unauthorized",
    ];
    if matches!(status, 400 | 401 | 403 | 404) || hopeless.iter().any(|known| words.contains(known))
    {
        ContainersError::Missing(text)
    } else {
        ContainersError::Failed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_tag_means_the_latest() {
        let table = [
            ("redis", "redis:latest"),
            ("redis:7", "redis:7"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("app@sha256:0123", "app@sha256:0123"),
        ];
        for (image, full) in table {
            assert_eq!(with_tag(image), full);
        }
    }

    #[test]
    fn a_missing_image_is_told_from_a_registry_that_does_not_answer() {
        let answer = |status_code, message: &str| {
            let error = ApiError::DockerResponseServerError {
                status_code,
                message: message.to_owned(),
            };
            pull_problem("x:1", &error)
        };
        assert_eq!(
            answer(404, "manifest for x:1 not found: manifest unknown"),
            ContainersError::Missing(
                "failed to pull `x:1`: manifest for x:1 not found: manifest unknown".to_owned()
            )
        );
        assert!(
            answer(
                500,
                "dial tcp: lookup registry-1.docker.io: server misbehaving"
            )
            .may_pass()
        );
    }
}

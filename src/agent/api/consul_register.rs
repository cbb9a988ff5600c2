//! Consul's ways of registering services and checks at an agent, and of taking them out of
//! service.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::put;
use jobspec::{Fields, registration};
use logic::model::{CHECK_CRITICAL, CHECK_PASSING, CHECK_WARNING, ServiceInstance};
use logic::registry::{Refused, status_named};
use logic::routes::claimed_by_a_job;

use super::Api;
use super::errors::Failure;
use super::query::Query;
use crate::registry::{Change, ChangeError};

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/agent/service/register", put(register_service))
        .route(
            "/v1/agent/service/deregister/{*id}",
            put(deregister_service),
        )
        .route("/v1/agent/service/maintenance/{*id}", put(maintain_service))
        .route("/v1/agent/maintenance", put(maintain_node))
        .route("/v1/agent/check/register", put(register_check))
        .route("/v1/agent/check/deregister/{*id}", put(deregister_check))
        .route("/v1/agent/check/pass/{*id}", put(pass))
        .route("/v1/agent/check/warn/{*id}", put(warn))
        .route("/v1/agent/check/fail/{*id}", put(fail))
        .route("/v1/agent/check/update/{*id}", put(update))
}

/// Has the registry do it; an empty answer if it did.
async fn change(api: &Api, change: Change) -> Result<Response, Failure> {
    match api.registry.send(change).await {
        Ok(Ok(())) => Ok(StatusCode::OK.into_response()),
        Ok(Err(error)) => Err(failure(&error)),
        Err(_) => {
            let text = "the agent is stopping";
            Err(Failure::new(StatusCode::SERVICE_UNAVAILABLE, text))
        }
    }
}

fn failure(error: &ChangeError) -> Failure {
    let status = match error {
        ChangeError::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
        ChangeError::Refused(Refused::NoSuchService(_) | Refused::NoSuchCheck(_)) => {
            StatusCode::NOT_FOUND
        }
        ChangeError::Refused(Refused::OfAJob(_)) => StatusCode::CONFLICT,
        ChangeError::Refused(
            Refused::NoServiceToCheck(_) | Refused::NoTtl(_) | Refused::TooMany,
        ) => StatusCode::BAD_REQUEST,
    };
    Failure::new(status, error.to_string())
}

/// What is registered by hand doesn't share a job's route, unless its tag says how.
pub(super) fn takes_no_route(api: &Api, service: &ServiceInstance) -> Result<(), Failure> {
    let view = api.view.borrow().clone();
    let prefix = &api.config.edge.tag_prefix;
    let Some((route, other)) = claimed_by_a_job(service, &view, prefix) else {
        return Ok(());
    };
    let text = format!(
        "the route \"{route}\" of service \"{}\" belongs to service \"{other}\" of a job: use \
         another host or path, stop that job first, or add weight=0.5 to the tag if both are to \
         share it",
        service.service
    );
    Err(Failure::new(StatusCode::CONFLICT, text))
}

async fn register_service(
    State(api): State<Api>,
    query: Query,
    body: Bytes,
) -> Result<Response, Failure> {
    let fields = Fields::parse(&body).map_err(Failure::bad_request)?;
    let (service, checks) = registration::service(&fields).map_err(Failure::bad_request)?;
    takes_no_route(&api, &service)?;
    let asked = Change::Service {
        service: Box::new(service),
        checks,
        replace: query.flag("replace-existing-checks")?,
    };
    change(&api, asked).await
}

async fn deregister_service(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    change(&api, Change::NoService(id)).await
}

async fn register_check(State(api): State<Api>, body: Bytes) -> Result<Response, Failure> {
    let fields = Fields::parse(&body).map_err(Failure::bad_request)?;
    let check = registration::lone_check(&fields).map_err(Failure::bad_request)?;
    change(&api, Change::Check(Box::new(check))).await
}

async fn deregister_check(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Response, Failure> {
    change(&api, Change::NoCheck(id)).await
}

async fn say(
    api: &Api,
    id: String,
    status: &'static str,
    output: String,
) -> Result<Response, Failure> {
    change(api, Change::Say { id, status, output }).await
}

fn note(query: &Query) -> String {
    query.get("note").unwrap_or_default().to_owned()
}

async fn pass(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    say(&api, id, CHECK_PASSING, note(&query)).await
}

async fn warn(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    say(&api, id, CHECK_WARNING, note(&query)).await
}

async fn fail(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    say(&api, id, CHECK_CRITICAL, note(&query)).await
}

async fn update(
    State(api): State<Api>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Failure> {
    let fields = Fields::parse(&body).map_err(Failure::bad_request)?;
    let named = fields.text("Status").map_err(Failure::bad_request)?;
    let status = status_named(&named).ok_or_else(|| {
        Failure::bad_request(format!(
            "Invalid check status: '{named}': it is passing, warning or critical"
        ))
    })?;
    let output = fields.text("Output").map_err(Failure::bad_request)?;
    say(&api, id, status, output).await
}

/// The reason if it is to begin.
fn maintenance(query: &Query) -> Result<Option<String>, Failure> {
    if !query.has("enable") {
        return Err(Failure::bad_request(
            "Missing value for enable: ?enable=true or false",
        ));
    }
    let reason = query.get("reason").unwrap_or_default().to_owned();
    Ok(query.flag("enable")?.then_some(reason))
}

async fn maintain_service(
    State(api): State<Api>,
    Path(id): Path<String>,
    query: Query,
) -> Result<Response, Failure> {
    let asked = Change::Maintain {
        service: Some(id),
        reason: maintenance(&query)?,
    };
    change(&api, asked).await
}

async fn maintain_node(State(api): State<Api>, query: Query) -> Result<Response, Failure> {
    let asked = Change::Maintain {
        service: None,
        reason: maintenance(&query)?,
    };
    change(&api, asked).await
}

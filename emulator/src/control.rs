//! The control endpoint: changes the emulator while it runs, and returns what it recorded. Requests and responses are
//! JSON; `README.md` is the reference.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::addresses::Addresses;
use crate::config::Config;
use crate::developer_tools;
use crate::fault::{Fault, Shape};
use crate::postgres::Database;
use crate::principal::{Principal, PrincipalKind};
use crate::state::{MintRequest, State, StateError};

/// The state that the handlers share.
#[derive(Clone)]
pub(crate) struct ControlEndpoint {
    pub(crate) state: Arc<State>,
    pub(crate) database: Option<Arc<Database>>,
    pub(crate) addresses: Arc<Addresses>,
    /// The folder for developer tools.
    pub(crate) tools: PathBuf,
    pub(crate) stop: Arc<Notify>,
}

pub(crate) fn router(control: ControlEndpoint) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/config", get(config).put(put_config))
        .route("/principals", get(principals).post(post_principals))
        .route("/faults", get(faults).post(post_faults).delete(delete_faults))
        .route("/faults/{id}", delete(delete_fault))
        .route("/tokens", get(tokens).patch(patch_tokens))
        .route("/requests", get(requests).delete(delete_requests))
        .route("/mint", post(mint))
        .route("/tools", post(tools))
        .route("/keys/rotate", post(rotate_keys))
        .route("/postgres", get(postgres).post(post_postgres))
        .route("/stop", post(stop))
        .with_state(control)
}

/// An error response: status 400 (or another) and `{"error": ...}`.
struct ControlError(StatusCode, String);

type ControlResult = Result<Response, ControlError>;

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let mut response = json_response(&json!({ "error": self.1 }));
        *response.status_mut() = self.0;
        response
    }
}

impl From<StateError> for ControlError {
    fn from(error: StateError) -> Self {
        Self(StatusCode::BAD_REQUEST, error.to_string())
    }
}

fn json_response(value: &impl serde::Serialize) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    match serde_json::to_vec(value) {
        Ok(body) => (headers, body).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Parses a body. Every content type is accepted, so that `curl -d` works without options. An empty body is read as
/// `{}`.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ControlError> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| ControlError(StatusCode::BAD_REQUEST, error.to_string()))
}

fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, ControlError> {
    serde_json::from_value(value).map_err(|error| ControlError(StatusCode::BAD_REQUEST, error.to_string()))
}

/// Returns `current` with the members of the object `changes` replaced.
fn changed<T: serde::Serialize + DeserializeOwned>(current: &T, changes: Value) -> Result<T, ControlError> {
    let error = |text: String| ControlError(StatusCode::BAD_REQUEST, text);
    let mut document = serde_json::to_value(current).map_err(|problem| error(problem.to_string()))?;
    match (&mut document, changes) {
        (Value::Object(document), Value::Object(changes)) => document.extend(changes),
        _ => return Err(error("expected an object".into())),
    }
    from_value(document)
}

/// Returns the documents of a body that contains one or several.
fn one_or_many(document: Value) -> Vec<Value> {
    match document {
        Value::Array(many) => many,
        one => vec![one],
    }
}

async fn ready(Shared(control): Shared<ControlEndpoint>) -> Response {
    json_response(&*control.addresses)
}

async fn config(Shared(control): Shared<ControlEndpoint>) -> Response {
    json_response(&control.state.config())
}

async fn put_config(Shared(control): Shared<ControlEndpoint>, body: Bytes) -> ControlResult {
    let config: Config = changed(&control.state.config(), parse(&body)?)?;
    control.state.configure(config)?;
    control.make_roles().await?;
    Ok(json_response(&control.state.config()))
}

async fn principals(Shared(control): Shared<ControlEndpoint>) -> Response {
    let principals = control.state.principals();
    json_response(&principals.iter().map(|principal| &**principal).collect::<Vec<_>>())
}

async fn post_principals(Shared(control): Shared<ControlEndpoint>, body: Bytes) -> ControlResult {
    let principals: Vec<Principal> =
        one_or_many(parse(&body)?).into_iter().map(from_value).collect::<Result<_, _>>()?;
    for principal in &principals {
        control.state.put_principal(principal.clone())?;
    }
    control.make_roles().await?;
    Ok(json_response(&principals))
}

async fn faults(Shared(control): Shared<ControlEndpoint>) -> Response {
    json_response(&control.state.faults())
}

async fn post_faults(Shared(control): Shared<ControlEndpoint>, body: Bytes) -> ControlResult {
    let faults: Vec<Fault> = one_or_many(parse(&body)?).into_iter().map(from_value).collect::<Result<_, _>>()?;
    let ids: Vec<u64> = faults.into_iter().map(|fault| control.state.add_fault(fault)).collect();
    Ok(json_response(&json!({ "ids": ids })))
}

async fn delete_faults(Shared(control): Shared<ControlEndpoint>) -> Response {
    control.state.clear_faults(None);
    json_response(&json!({}))
}

async fn delete_fault(Shared(control): Shared<ControlEndpoint>, Path(id): Path<u64>) -> Response {
    control.state.clear_faults(Some(id));
    json_response(&json!({}))
}

async fn tokens(Shared(control): Shared<ControlEndpoint>) -> Response {
    json_response(&control.state.token_settings())
}

async fn patch_tokens(Shared(control): Shared<ControlEndpoint>, body: Bytes) -> ControlResult {
    let settings: Shape = changed(&control.state.token_settings(), parse(&body)?)?;
    control.state.set_token_settings(settings.clone());
    Ok(json_response(&settings))
}

#[derive(Deserialize)]
struct RequestFilter {
    endpoint: Option<String>,
    /// Returns only requests with a greater id.
    since: Option<u64>,
}

async fn requests(Shared(control): Shared<ControlEndpoint>, Query(filter): Query<RequestFilter>) -> Response {
    let mut requests = control.state.requests.snapshot();
    requests.requests.retain(|request| {
        filter.endpoint.as_ref().is_none_or(|endpoint| request.endpoint == *endpoint)
            && filter.since.is_none_or(|since| request.id > since)
    });
    json_response(&requests)
}

async fn delete_requests(Shared(control): Shared<ControlEndpoint>) -> Response {
    control.state.requests.clear();
    json_response(&json!({}))
}

async fn mint(Shared(control): Shared<ControlEndpoint>, body: Bytes) -> ControlResult {
    let request: MintRequest = parse(&body)?;
    let state = control.state.clone();
    // The first forged token needs its own key, which takes a while to generate.
    match tokio::task::spawn_blocking(move || state.mint(&request)).await {
        Ok(minted) => Ok(json_response(&minted?)),
        Err(error) => Err(ControlError(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    principal: String,
}

/// Signs a user in to a new set of developer tools, and returns the folder for `PATH`.
async fn tools(Shared(control): Shared<ControlEndpoint>, body: Bytes) -> ControlResult {
    let SignIn { principal } = parse(&body)?;
    let refused = |text: String| ControlError(StatusCode::BAD_REQUEST, text);
    let user = control
        .state
        .principal(&principal)
        .filter(|found| matches!(found.kind, PrincipalKind::User | PrincipalKind::Guest));
    let user = user.ok_or_else(|| refused(format!("there is no user {principal:?}")))?;
    let folder = control.tools.join(&user.oid);
    developer_tools::install(&folder, &control.addresses.developer_tools, &user.oid)
        .map_err(|error| refused(format!("cannot write the developer tools: {error}")))?;
    Ok(json_response(&json!({ "path": folder })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    #[serde(default)]
    retire_old: bool,
}

async fn rotate_keys(Shared(control): Shared<ControlEndpoint>, body: Bytes) -> ControlResult {
    let rotation: Rotation = parse(&body)?;
    let state = control.state.clone();
    match tokio::task::spawn_blocking(move || state.rotate_keys(rotation.retire_old)).await {
        Ok(key_id) => Ok(json_response(&json!({ "kid": key_id }))),
        Err(error) => Err(ControlError(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

impl ControlEndpoint {
    /// Creates the roles of new principals in the database.
    async fn make_roles(&self) -> Result<(), ControlError> {
        let Some(database) = &self.database else { return Ok(()) };
        let made = database.upstream.make_roles(&self.state).await;
        made.map_err(|error| ControlError(StatusCode::BAD_GATEWAY, error.to_string()))
    }

    fn database(&self) -> Result<&Database, ControlError> {
        let missing = || ControlError(StatusCode::NOT_FOUND, "this emulator runs without PostgreSQL".into());
        self.database.as_deref().ok_or_else(missing)
    }
}

async fn postgres(Shared(control): Shared<ControlEndpoint>) -> ControlResult {
    Ok(json_response(&control.database()?.proxy.report()))
}

async fn post_postgres(Shared(control): Shared<ControlEndpoint>, body: Bytes) -> ControlResult {
    let proxy = &control.database()?.proxy;
    proxy.control(parse(&body)?);
    Ok(json_response(&proxy.report().faults))
}

async fn stop(Shared(control): Shared<ControlEndpoint>) -> Response {
    // The response is sent before this stops the listener.
    control.stop.notify_one();
    json_response(&json!({}))
}

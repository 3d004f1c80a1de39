//! Rules of the engine that JavaScript's side asks for.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use napi::bindgen_prelude::Result;
use napi_derive::napi;
use pgentra::{
    Error, ErrorKind,
    bindings::{CONNECTION_VARIABLES, KNOWN_VARIABLES},
    postgres::{ConnectionPlan, ConnectionRequest, connection_string, login_error, role_name},
};

use crate::{credential::read_environment, error::thrown};

/// The version of this library.
#[napi]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The environment variables that the engine wants to know.
#[napi]
pub fn known_variables() -> Vec<&'static str> {
    KNOWN_VARIABLES.to_vec()
}

/// All claims of a token, unverified, as JSON.
#[napi(catch_unwind)]
pub fn decode_jwt(token: String) -> Result<String> {
    match role_name::decode_jwt(&token) {
        Ok(claims) => Ok(serde_json::Value::Object(claims).to_string()),
        Err(error) => Err(thrown(&Error::new(ErrorKind::TokenDecode, error.to_string()))),
    }
}

/// The name of the user-assigned identity that an `xms_mirid` claim stands for.
#[napi(catch_unwind)]
pub fn parse_principal_name(xms_mirid: String) -> Option<String> {
    role_name::parse_principal_name(&xms_mirid)
}

/// The variables that a connection plan reads where Service Connector is not used.
#[napi]
pub fn connection_variables() -> Vec<&'static str> {
    CONNECTION_VARIABLES.to_vec()
}

/// The settings of a connection string, by libpq's keywords, as JSON.
#[napi(catch_unwind)]
pub fn connection_read(text: String, form: String) -> Result<String> {
    let form = serde_json::from_value(form.into())
        .map_err(|_| thrown(&Error::new(ErrorKind::InvalidConfiguration, "the form is not one that is read")))?;
    let settings = connection_string::parse(&text, form).map_err(|error| thrown(&error))?;
    let settings: BTreeMap<&str, &str> = settings.iter().collect();
    Ok(serde_json::to_string(&settings).unwrap_or_default())
}

/// How a connection logs in. `request` and the plan are JSON: see `ConnectionRequest` and `ConnectionPlan`.
#[napi(catch_unwind)]
pub fn connection_plan(request: String) -> Result<String> {
    let plan = ConnectionRequest::from_json(&request).and_then(|request| ConnectionPlan::new(&request));
    plan.map(|plan| plan.to_json().to_string()).map_err(|error| thrown(&error))
}

/// A TLS switch or mode that is given as text, as libpq's `sslmode`.
#[napi(catch_unwind)]
pub fn sslmode_of_text(text: String) -> Option<&'static str> {
    pgentra::bindings::sslmode_of_text(&text)
}

/// Why a server refused a login: the cause's stable name.
#[napi(catch_unwind)]
pub fn refusal_cause(sqlstate: Option<String>, message: String) -> &'static str {
    login_error::classify(sqlstate.as_deref(), &message).cause.as_str()
}

/// Whether a newer token may succeed where a server refused a login so.
#[napi(catch_unwind)]
pub fn is_retriable(sqlstate: Option<String>, message: String) -> bool {
    login_error::classify(sqlstate.as_deref(), &message).retry
}

/// Lines to add to the server's message. `host` and `environment` (JSON): where variables of Azure Service Connector may have
/// been left unused.
#[napi(catch_unwind)]
pub fn explain_refusal(
    sqlstate: Option<String>,
    message: String,
    role: String,
    role_source: String,
    token: String,
    host: Option<String>,
    environment: Option<String>,
) -> Result<String> {
    let environment = environment.map(|environment| read_environment(&environment)).transpose()?;
    let unused = host.as_deref().zip(environment.as_ref());
    Ok(login_error::explain_login(sqlstate.as_deref(), &message, &role, &role_source, Some(&token), unused))
}

/// What every cached token of this process is about, as JSON.
#[napi(catch_unwind)]
pub fn stats() -> String {
    serde_json::to_string(&pgentra::stats()).unwrap_or_default()
}

/// Whether the caller is the first: a test runner may load `lib/` many times into one process, whose end is one.
#[napi(catch_unwind)]
pub fn claim_exit() -> bool {
    static CLAIMED: AtomicBool = AtomicBool::new(false);
    !CLAIMED.swap(true, Ordering::Relaxed)
}

/// Ends background work, waiting at most 1 s; for the end of the process.
#[napi(catch_unwind)]
pub fn shutdown() {
    pgentra::shutdown();
}

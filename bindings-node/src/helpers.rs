//! The engine's rules, as functions for JavaScript code.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
};

use napi::bindgen_prelude::Result;
use napi_derive::napi;
use pgentra::{
    Secret,
    bindings::{self, CONNECTION_VARIABLES, FailedLogin, KNOWN_VARIABLES},
    postgres::{ConnectionPlan, role_name},
};

use crate::{credential::environment_of, error::js_error};

/// The version of this library.
#[napi]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Returns the names of the environment variables that the engine reads.
#[napi]
pub fn known_variables() -> Vec<&'static str> {
    KNOWN_VARIABLES.to_vec()
}

/// Returns all claims of a token as JSON, without verification.
#[napi(catch_unwind)]
pub fn decode_jwt(token: String) -> Result<String> {
    let claims = bindings::decode_claims(&token).map_err(|error| js_error(&error))?;
    Ok(serde_json::Value::Object(claims).to_string())
}

/// Returns the name of the user-assigned identity in an `xms_mirid` claim.
#[napi(catch_unwind)]
pub fn parse_principal_name(xms_mirid: String) -> Option<String> {
    role_name::parse_principal_name(&xms_mirid)
}

/// Returns the names of the variables that a connection plan reads if Service Connector is not used.
#[napi]
pub fn connection_variables() -> Vec<&'static str> {
    CONNECTION_VARIABLES.to_vec()
}

/// Parses a connection string. Returns its settings as JSON, by libpq's keywords.
#[napi(catch_unwind)]
pub fn connection_settings(text: String, form: String) -> Result<String> {
    let settings = bindings::connection_settings(&text, Some(&form)).map_err(|error| js_error(&error))?;
    Ok(serde_json::Value::Object(settings).to_string())
}

/// Decides how a connection logs in. `request` and the plan are JSON: see `ConnectionRequest` and `ConnectionPlan`.
#[napi(catch_unwind)]
pub fn connection_plan(request: String) -> Result<String> {
    let plan = bindings::connection_request_from_json(&request).and_then(|request| ConnectionPlan::new(&request));
    plan.map(|plan| plan.to_json().to_string()).map_err(|error| js_error(&error))
}

/// The settings of a connection URL with a token.
#[napi]
pub struct UrlSettings(bindings::UrlSettings);

#[napi]
impl UrlSettings {
    /// Completes the settings, by libpq's keywords, from the environment (JSON), and refuses those that the URL must not have.
    #[napi(constructor, catch_unwind)]
    pub fn new(given: BTreeMap<String, String>, environment: String) -> Result<Self> {
        let environment = environment_of(&environment)?;
        bindings::UrlSettings::new(given, &environment).map(UrlSettings).map_err(|error| js_error(&error))
    }

    /// Returns the URL, which is a secret.
    #[napi(catch_unwind)]
    pub fn write(&self, scheme: String, user: String, password: String) -> Result<String> {
        let url = self.0.write(&scheme, &user, &Secret::new(password)).map_err(|error| js_error(&error))?;
        Ok(url.expose().to_owned())
    }
}

/// Converts the text of a TLS setting to libpq's `sslmode`.
#[napi(catch_unwind)]
pub fn sslmode_of_text(text: String) -> Option<&'static str> {
    bindings::sslmode_of_text(&text)
}

/// Returns the stable name of a login error's cause.
#[napi(catch_unwind)]
pub fn login_error_cause(sqlstate: Option<String>, message: String) -> &'static str {
    failed_login(sqlstate.as_deref(), &message).classify().cause.as_str()
}

/// Returns whether a login can succeed with a newer token after this login error.
#[napi(catch_unwind)]
pub fn is_retriable_login_error(sqlstate: Option<String>, message: String) -> bool {
    failed_login(sqlstate.as_deref(), &message).classify().retry
}

/// Returns lines to add to the server's message. With `host` and `environment` (JSON), they also name unused variables of
/// Azure Service Connector.
#[napi(catch_unwind)]
pub fn explain_login_error(
    sqlstate: Option<String>,
    message: String,
    role: String,
    role_source: Option<String>,
    token: String,
    host: Option<String>,
    environment: Option<String>,
) -> Result<String> {
    let login = FailedLogin {
        role: &role,
        role_source: role_source.as_deref(),
        token: Some(&token),
        unused_host: host.as_deref(),
        ..failed_login(sqlstate.as_deref(), &message)
    };
    login.explain(|| environment_of(environment.as_deref().unwrap_or("{}")))
}

fn failed_login<'a>(sqlstate: Option<&'a str>, message: &'a str) -> FailedLogin<'a> {
    FailedLogin { sqlstate, message, ..FailedLogin::default() }
}

/// Returns the statistics of all cached tokens of this process as JSON.
#[napi(catch_unwind)]
pub fn stats() -> String {
    serde_json::to_string(&pgentra::stats()).unwrap_or_default()
}

/// Returns true for the first call in this process. A test runner can load `lib/` several times into one process, and only
/// one of them may register the exit handler.
#[napi(catch_unwind)]
pub fn claim_exit_handler() -> bool {
    static CLAIMED: AtomicBool = AtomicBool::new(false);
    !CLAIMED.swap(true, Ordering::Relaxed)
}

/// Stops background work when the process exits. Waits at most 1 s.
#[napi(catch_unwind)]
pub fn shutdown() {
    pgentra::shutdown();
}

//! Connection plans, login errors and claims.

use pgentra::{
    bindings::{self, FailedLogin, connection_request_from_json},
    postgres::{ConnectionPlan, environment_of_process},
};
use serde_json::Value;

use crate::EntraError;

/// Decides how a connection logs in. Request and plan are JSON documents, with the keys that `docs/c.md`
/// describes. The plan can contain a password or a client secret.
#[uniffi::export]
pub fn connection_plan(request: String) -> Result<String, EntraError> {
    let request = connection_request_from_json(&request)?;
    Ok(ConnectionPlan::new(&request)?.to_json().to_string())
}

/// Returns the settings of a connection string by libpq's keywords, as a JSON document. `form` is `libpq` (default),
/// `url`, `url_authority_first`, `dotnet` or `jdbc`.
#[uniffi::export(default(form = None))]
pub fn connection_settings(text: String, form: Option<String>) -> Result<String, EntraError> {
    Ok(Value::Object(bindings::connection_settings(&text, form.as_deref())?).to_string())
}

/// Returns all claims of a token as a JSON document. They are not verified.
#[uniffi::export]
pub fn decode_claims(token: String) -> Result<String, EntraError> {
    Ok(Value::Object(bindings::decode_claims(&token)?).to_string())
}

/// Why a server rejected a login.
#[derive(Debug, uniffi::Record)]
pub struct LoginErrorExplanation {
    /// Whether one retry with a newer token can succeed: see `TokenProvider.invalidate`.
    pub retry: bool,
    /// The cause, such as `token_expired` or `role_missing`; `not_a_login` for any other failure.
    pub cause: String,
    /// Lines to add to the server's message; empty if the failure is not a login error.
    pub text: String,
}

/// Explains a login that the server rejected. `role` and `role_source` are those of the login or the plan; `host` lists
/// the names of the server, if Service Connector's variables were not used.
#[uniffi::export(default(role_source = None, token = None, host = None))]
pub fn explain_login_error(
    sqlstate: Option<String>,
    text: String,
    role: String,
    role_source: Option<String>,
    token: Option<String>,
    host: Option<String>,
) -> LoginErrorExplanation {
    let failed = FailedLogin {
        sqlstate: sqlstate.as_deref(),
        message: &text,
        role: &role,
        role_source: role_source.as_deref(),
        token: token.as_deref(),
        unused_host: host.as_deref(),
    };
    let login_error = failed.classify();
    let Ok(text) = failed.explain(|| Ok::<_, std::convert::Infallible>(environment_of_process()));
    LoginErrorExplanation { retry: login_error.retry, cause: login_error.cause.as_str().to_owned(), text }
}

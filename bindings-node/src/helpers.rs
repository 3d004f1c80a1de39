//! Rules of the engine that JavaScript's side asks for.

use std::sync::atomic::{AtomicBool, Ordering};

use napi::bindgen_prelude::Result;
use napi_derive::napi;
use pgentra::{
    Error, ErrorKind,
    claims::{self, Claims},
    config::KNOWN_VARIABLES,
    postgres::{Server, tls_policy},
    refusal,
};

use crate::error::thrown;

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
    match claims::decode_jwt(&token) {
        Ok(claims) => Ok(serde_json::Value::Object(claims).to_string()),
        Err(error) => Err(thrown(&Error::new(ErrorKind::TokenDecode, error.to_string()))),
    }
}

/// The name of the user-assigned identity that an `xms_mirid` claim stands for.
#[napi(catch_unwind)]
pub fn parse_principal_name(xms_mirid: String) -> Option<String> {
    claims::parse_principal_name(&xms_mirid)
}

/// The `sslmode` to connect with in place of the given one.
#[napi(catch_unwind)]
pub fn secure_sslmode(
    sslmode: Option<String>,
    hosts: Vec<String>,
    allow_insecure: bool,
) -> Result<Option<&'static str>> {
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    tls_policy::secure_sslmode(sslmode.as_deref(), &Server::named(&hosts), allow_insecure)
        .map_err(|error| thrown(&error))
}

/// Why a server refused a login: the cause's stable name.
#[napi(catch_unwind)]
pub fn refusal_cause(sqlstate: Option<String>, message: String) -> &'static str {
    refusal::classify(sqlstate.as_deref(), &message).cause.as_str()
}

/// Whether a newer token may succeed where a server refused a login so.
#[napi(catch_unwind)]
pub fn is_retriable(sqlstate: Option<String>, message: String) -> bool {
    refusal::classify(sqlstate.as_deref(), &message).retry
}

/// Lines to add to the server's message.
#[napi(catch_unwind)]
pub fn explain_refusal(
    sqlstate: Option<String>,
    message: String,
    role: String,
    role_source: String,
    token: String,
) -> String {
    let principal = Claims::decode(&token).ok().map(|claims| claims.principal());
    refusal::explain(&refusal::classify(sqlstate.as_deref(), &message), &role, &role_source, principal.as_ref(), None)
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

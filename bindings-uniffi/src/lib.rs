//! pgentra for the languages of uniffi: Kotlin and Swift. Experimental: the interface may change.
//!
//! Documents (configurations, connection requests, plans, statistics) are JSON texts, with the keys that every language of
//! pgentra has. Tokens are objects, not records, because the text of a record shows its fields.

mod connection;
mod credential;
mod error;
mod log;
mod provider;

pub use self::{
    connection::{LoginErrorExplanation, connection_plan, connection_settings, decode_claims, explain_login_error},
    credential::{Credential, CredentialFailure, TokenCredential, TokenRequest},
    error::EntraError,
    log::{LogLevel, LogSink, set_log_sink},
    provider::{AccessToken, Login, TokenProvider},
};

uniffi::setup_scaffolding!();

/// Ends background work; waits for at most one second. Later token requests fail with the code `shutting_down`.
#[uniffi::export]
pub fn shutdown() {
    pgentra::shutdown();
}

/// Returns the version of pgentra.
#[uniffi::export]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}

//! Credentials, which obtain tokens. Each credential has its own file; `entra/` is Entra's token endpoint for every
//! grant, `managed_identity/` has a file for each source, `developer_tools/` has a file for each tool, and `chain/`
//! tries several credentials.

#[cfg(feature = "azure_core")]
mod azure_core;
mod azure_pipelines;
pub(crate) mod build;
mod certificate;
mod chain;
mod client_assertion;
mod client_certificate;
mod client_secret;
pub(crate) mod context;
mod custom;
mod dates;
pub(crate) mod developer_tools;
pub(crate) mod entra;
mod environment;
mod exchange;
mod file;
mod managed_identity;
mod on_behalf_of;
pub(crate) mod progress;
mod retry;
mod sanitize;
mod static_token;
mod workload_identity;

use std::{fmt, time::Duration};

use crate::{
    error::{Error, Result},
    secret::Secret,
};

#[cfg(feature = "azure_core")]
pub use self::azure_core::AzureCoreCredential;
pub(crate) use self::context::BuildContext;
pub(crate) use self::on_behalf_of::MiddleTier;
pub use crate::runtime::BoxFuture;

/// A token request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// The scope, such as `https://ossrdbms-aad.database.windows.net/.default`.
    pub scope: String,
    /// A tenant other than the credential's own.
    pub tenant_id: Option<String>,
    /// A claims challenge (JSON text).
    pub claims: Option<String>,
    /// Whether a claims challenge can revoke the token.
    pub enable_cae: bool,
}

impl TokenRequest {
    /// Creates a request with only a scope.
    pub fn new(scope: impl Into<String>) -> Self {
        TokenRequest { scope: scope.into(), tenant_id: None, claims: None, enable_cae: false }
    }
}

/// The circumstances of one fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchContext {
    /// Whether a usable token remains. The credential's own retries are then off, and the cache entry's back-off is
    /// used instead.
    pub has_fallback: bool,
    /// Whether the previous fetch failed. The back-off is then used in the same way, and callers get the failure at
    /// once.
    pub after_failure: bool,
}

/// A token response as its source sent it. Times are in seconds. If no field states an expiry, the `exp` claim of the
/// token is used. If that is missing too, the value is not a token, but can be an assertion.
#[derive(Clone, Debug)]
pub struct FetchedToken {
    /// The access token.
    pub token: Secret,
    /// The expiry in seconds since the epoch.
    pub expires_on: Option<i64>,
    /// The expiry in seconds from now; takes precedence over `expires_on`.
    pub expires_in: Option<i64>,
    /// The time after which the source recommends a refresh, in seconds from now.
    pub refresh_in: Option<i64>,
}

/// Where a credential's last token is from.
#[derive(Clone, Debug)]
pub struct TokenSource {
    /// The class name of the credential.
    pub credential: String,
    /// The environment of a managed identity, such as `App Service`.
    pub environment: Option<&'static str>,
    /// The member of a chain that returned the token; `None` before the first token.
    pub member: Option<Box<TokenSource>>,
    /// Why the members of a chain before that one returned no token.
    pub unavailable: Vec<Error>,
}

impl TokenSource {
    /// Creates the source for a credential that is not a chain.
    pub fn new(credential: impl Into<String>) -> Self {
        TokenSource { credential: credential.into(), environment: None, member: None, unavailable: Vec::new() }
    }
}

/// The format is `DefaultAzureCredential > ManagedIdentityCredential (App Service)`.
impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.credential)?;
        if let Some(environment) = self.environment {
            write!(f, " ({environment})")?;
        }
        match &self.member {
            Some(member) => write!(f, " > {member}"),
            None => Ok(()),
        }
    }
}

/// A source of tokens. The built-in credentials implement it, bindings implement it for custom credentials, and
/// [`AzureCoreCredential`] for any `azure_core` credential.
pub trait Credential: Send + Sync + 'static {
    /// Returns the class name for errors and logs.
    fn name(&self) -> &str;

    /// Returns the longest duration of one fetch. Default: 30 s.
    fn bound(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Fetches one token. Runs on the engine's runtime and must not block it. An error of kind `Cancelled` means that
    /// the event loop or worker that ran the credential is gone; the callers that wait then request the token again.
    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>>;

    /// Returns where the last token is from, for reports to people. Default: this credential.
    fn token_source(&self) -> TokenSource {
        TokenSource::new(self.name())
    }

    /// Returns a value that changes when cached tokens must be dropped (a developer tool's profile file). It must be
    /// cheap enough to read once a second. Default: `None`.
    fn stamp(&self) -> Option<u64> {
        None
    }
}

//! Credentials: where a token comes from. One file a credential; `token_endpoint.rs` speaks Entra's token endpoint for
//! every grant, `managed_identity/` one file a source.

mod aadsts;
mod answer;
mod application;
mod azure_cli;
#[cfg(feature = "azure_core")]
mod azure_core;
mod azure_developer_cli;
mod azure_pipelines;
mod azure_powershell;
mod certificate;
mod chained;
mod client_assertion;
mod client_certificate;
mod client_secret;
mod dates;
mod default;
mod developer_tool;
mod environment;
mod exchange;
mod file;
mod host;
mod managed_identity;
mod on_behalf_of;
mod region;
mod service_text;
mod static_token;
mod tenant;
mod token_endpoint;
mod tool_text;
mod tries;
mod unavailable;
mod workload_identity;

use std::{pin::Pin, sync::Arc, time::Duration};

use crate::{
    cloud::{self, CloudInputs},
    config::{CredentialConfig, CredentialKind, CredentialOptions, Environment, OnBehalfOfArguments},
    error::{Error, ErrorKind, Result},
    secret::Secret,
    transport::Transport,
};

pub use self::aadsts::{Aadsts, Verdict, aadsts_advice};
#[cfg(feature = "azure_core")]
pub use self::azure_core::AzureCoreCredential;
pub(crate) use self::on_behalf_of::MiddleTier;

/// A boxed future, as async traits return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What is asked of a credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    /// The scope, such as `https://ossrdbms-aad.database.windows.net/.default`.
    pub scope: String,
    /// Another tenant than the credential's own.
    pub tenant_id: Option<String>,
    /// A claims challenge (JSON text).
    pub claims: Option<String>,
    /// Whether the token may be revoked by a claims challenge.
    pub enable_cae: bool,
}

impl TokenRequest {
    /// A request for a scope, nothing more.
    pub fn new(scope: impl Into<String>) -> Self {
        TokenRequest { scope: scope.into(), tenant_id: None, claims: None, enable_cae: false }
    }
}

/// How one fetch should go about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FetchContext {
    /// Whether a usable token remains: then the credential's own retries are off, the cell's back-off does it.
    pub has_fallback: bool,
    /// Whether the fetch before this one failed: then, too, the back-off does it, and callers learn of the failure at
    /// once.
    pub after_failure: bool,
}

/// A token as its source sent it. Seconds. Without any end its own `exp` counts, and without that it is no token, but may be
/// an assertion.
#[derive(Clone, Debug)]
pub struct FetchedToken {
    /// The access token.
    pub token: Secret,
    /// Seconds since the epoch.
    pub expires_on: Option<i64>,
    /// Seconds from now; wins over `expires_on`.
    pub expires_in: Option<i64>,
    /// Seconds from now after which the source wants it refreshed.
    pub refresh_in: Option<i64>,
}

/// A source of tokens. Built-in credentials implement it, bindings for the host's own objects, and
/// [`AzureCoreCredential`] for any `azure_core` credential.
pub trait Credential: Send + Sync + 'static {
    /// The class name for errors and logs.
    fn name(&self) -> &str;

    /// The longest one fetch takes. Default: 30 s.
    fn bound(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Fetches one token. Runs on the engine's runtime and must not block it. An error of kind `Cancelled` says that the
    /// credential's host went away (loop closed, worker ended): those who wait ask again.
    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>>;

    /// A value that changes when cached tokens must be dropped (a developer tool's profile file), cheap enough to be
    /// read once a second. Default: none.
    fn stamp(&self) -> Option<u64> {
        None
    }
}

/// What building a credential needs besides its own settings.
#[derive(Clone)]
pub struct BuildContext {
    /// The host's environment.
    pub environment: Arc<Environment>,
    /// HTTP.
    pub transport: Transport,
    /// The authority host that the cloud rules gave, for credentials without one of their own, such as
    /// `https://login.microsoftonline.com`.
    pub authority_host: String,
    /// Host credentials by index.
    pub hosts: Vec<Arc<dyn Credential>>,
}

/// Builds the credential of a document. What it lacks at run time (a variable, a file, a tool) is told by its first
/// fetch.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] where an option or variable cannot be used.
pub fn build(config: &CredentialConfig, context: &BuildContext) -> Result<Arc<dyn Credential>> {
    let class = config.kind.class();
    let own_authority;
    let context = match authority_of(&config.options, context).map_err(|error| error.for_credential(class))? {
        None => context,
        Some(authority_host) => {
            own_authority = BuildContext { authority_host, ..context.clone() };
            &own_authority
        }
    };
    let options = &config.options;
    let built: Result<Arc<dyn Credential>> = (|| {
        let credential: Arc<dyn Credential> = match &config.kind {
            CredentialKind::Default(arguments) => {
                Arc::new(default::DefaultCredential::new(arguments, options, context)?)
            }
            CredentialKind::Chained(arguments) => {
                let members = arguments.credentials.iter().map(|member| build(member, context));
                Arc::new(chained::ChainedCredential::new(members.collect::<Result<_>>()?))
            }
            CredentialKind::Environment(_) => environment::build(options, context)?,
            CredentialKind::WorkloadIdentity(arguments) => {
                Arc::new(workload_identity::WorkloadIdentityCredential::new(class, arguments, options, context)?)
            }
            CredentialKind::ManagedIdentity(arguments) => {
                Arc::new(managed_identity::ManagedIdentityCredential::new(arguments, options, context)?)
            }
            CredentialKind::AzureCli(arguments) => {
                Arc::new(azure_cli::AzureCliCredential::new(arguments, options, context)?)
            }
            CredentialKind::AzurePowerShell(arguments) => {
                Arc::new(azure_powershell::AzurePowerShellCredential::new(arguments, options, context)?)
            }
            CredentialKind::AzureDeveloperCli(arguments) => {
                Arc::new(azure_developer_cli::AzureDeveloperCliCredential::new(arguments, options, context)?)
            }
            CredentialKind::ClientSecret(arguments) => {
                Arc::new(client_secret::build(class, arguments, options, context)?)
            }
            CredentialKind::ClientCertificate(arguments) => {
                Arc::new(client_certificate::build(class, arguments, options, context)?)
            }
            CredentialKind::ClientAssertion(arguments) => {
                Arc::new(client_assertion::build(class, arguments, options, context)?)
            }
            CredentialKind::OnBehalfOf(arguments) => {
                Arc::new(on_behalf_of::MiddleTier::new(arguments, options, context)?.on_behalf_of(arguments))
            }
            CredentialKind::AzurePipelines(arguments) => {
                Arc::new(azure_pipelines::AzurePipelinesCredential::new(arguments, options, context)?)
            }
            CredentialKind::StaticToken(arguments) => Arc::new(static_token::StaticTokenCredential::new(arguments)),
            CredentialKind::Host(arguments) => {
                let host = context.hosts.get(arguments.index).ok_or_else(|| {
                    Error::new(
                        ErrorKind::InvalidConfiguration,
                        format!("option `index`: no host credential {} was handed in", arguments.index),
                    )
                })?;
                Arc::clone(host)
            }
        };
        Ok(credential)
    })();
    built.map_err(|error| error.for_credential(class))
}

/// The application between users and resources, for [`MiddleTier::on_behalf_of`]; the user's token is not looked at.
///
/// # Errors
/// As [`build`].
pub(crate) fn build_middle_tier(
    arguments: &OnBehalfOfArguments,
    options: &CredentialOptions,
    context: &BuildContext,
) -> Result<Arc<MiddleTier>> {
    let built = authority_of(options, context).and_then(|authority_host| {
        let authority_host = authority_host.unwrap_or_else(|| context.authority_host.clone());
        MiddleTier::new(arguments, options, &BuildContext { authority_host, ..context.clone() })
    });
    built.map_err(|error| error.for_credential(on_behalf_of::NAME))
}

/// The authority that a credential names itself.
fn authority_of(options: &CredentialOptions, context: &BuildContext) -> Result<Option<String>> {
    if options.authority_host.is_none() && options.cloud.is_none() {
        return Ok(None);
    }
    let resolved = cloud::resolve(&CloudInputs {
        authority_option: options.authority_host.as_deref(),
        cloud_option: options.cloud.as_deref(),
        env_authority_host: crate::config::variable(&context.environment, "AZURE_AUTHORITY_HOST"),
        ..CloudInputs::default()
    })?;
    Ok(Some(resolved.authority_host))
}

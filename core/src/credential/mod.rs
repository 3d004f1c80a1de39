//! Credentials: where a token comes from. One file a credential; `entra/` is Entra's token endpoint for every grant,
//! `managed_identity/` one file a source, `developer_tools/` one file a tool, `chain/` what tries several.

#[cfg(feature = "azure_core")]
mod azure_core;
mod azure_pipelines;
mod certificate;
mod chain;
mod client_assertion;
mod client_certificate;
mod client_secret;
mod custom;
mod dates;
mod developer_tools;
mod entra;
mod environment;
mod exchange;
mod file;
mod managed_identity;
mod on_behalf_of;
mod retry;
mod sanitize;
mod static_token;
mod workload_identity;

use std::{cell::OnceCell, rc::Rc, sync::Arc, time::Duration};

use crate::{
    cloud::{AUTHORITY_VARIABLE, Authority, Cloud},
    config::{BuildInputs, CredentialConfig, CredentialKind, CredentialOptions, OnBehalfOfArguments},
    error::{Error, ErrorKind, Result},
    secret::Secret,
    transport::{Transport, Trust},
};

#[cfg(feature = "azure_core")]
pub use self::azure_core::AzureCoreCredential;
pub use self::entra::error_codes::{Aadsts, Verdict, aadsts_advice};
pub(crate) use self::on_behalf_of::MiddleTier;
pub use crate::runtime::BoxFuture;

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
    /// Whether a usable token remains: then the credential's own retries are off, the cache entry's back-off does it.
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
pub struct BuildContext<'a> {
    /// Variables and other settings, which become part of the cache key once they are read.
    pub(crate) inputs: &'a BuildInputs<'a>,
    transports: Transports,
    authority: AuthoritySource,
    custom_credentials: Vec<Arc<dyn Credential>>,
}

/// HTTP for the credentials of one document.
#[derive(Clone)]
enum Transports {
    /// Made at the first use, and shared by all of them.
    Network(Rc<OnceCell<Transport>>),
    /// One for all, of a test.
    Given(Transport),
}

/// Where the address of the token endpoints comes from.
#[derive(Clone)]
enum AuthoritySource {
    /// `AZURE_AUTHORITY_HOST`, else the cloud of the connection.
    Inputs,
    /// The option `authority_host`.
    Option(Authority),
    /// The option `cloud`.
    Cloud(Cloud),
    /// The cluster's token proxy, whose address may have a path, and how it is known.
    Proxy(String, Trust),
}

impl<'a> BuildContext<'a> {
    /// Over the network, with the authority host that the variables or the cloud of the connection give, and without custom
    /// credentials.
    pub fn new(inputs: &'a BuildInputs<'a>) -> Self {
        BuildContext {
            inputs,
            transports: Transports::Network(Rc::default()),
            authority: AuthoritySource::Inputs,
            custom_credentials: Vec::new(),
        }
    }

    /// With this transport for every request.
    #[must_use]
    pub fn with_transport(self, transport: Transport) -> Self {
        BuildContext { transports: Transports::Given(transport), ..self }
    }

    /// With the application's credentials that a document names by index.
    #[must_use]
    pub fn with_custom_credentials(self, custom_credentials: Vec<Arc<dyn Credential>>) -> Self {
        BuildContext { custom_credentials, ..self }
    }

    /// With the authority host or the cloud that a credential names itself.
    fn of_options(&self, options: &CredentialOptions) -> Result<Self> {
        let given = |option: &Option<String>| option.clone().filter(|text| !text.trim().is_empty());
        let cloud: Option<Cloud> = given(&options.cloud).map(|name| name.parse()).transpose()?;
        let authority = match (given(&options.authority_host), cloud) {
            (Some(host), _) => AuthoritySource::Option(Authority::of_option(&host)?),
            (None, Some(cloud)) => AuthoritySource::Cloud(cloud),
            (None, None) => return Ok(self.clone()),
        };
        Ok(BuildContext { authority, ..self.clone() })
    }

    /// With the cluster's token proxy in the authority's place.
    fn at_proxy(&self, address: String, trust: Trust) -> Self {
        BuildContext { authority: AuthoritySource::Proxy(address, trust), ..self.clone() }
    }

    /// The address below which the token endpoints of `tenant` are.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a setting that cannot be used with this tenant.
    fn authority(&self, tenant: &str) -> Result<String> {
        Ok(match &self.authority {
            AuthoritySource::Option(authority) => authority.for_tenant(tenant)?.to_owned(),
            AuthoritySource::Cloud(cloud) => cloud.authority_host(),
            AuthoritySource::Proxy(address, _) => address.clone(),
            AuthoritySource::Inputs => match Authority::of_variable(self.inputs.variable(AUTHORITY_VARIABLE))? {
                Some(authority) => authority.for_tenant(tenant)?.to_owned(),
                None => self.inputs.cloud().authority_host(),
            },
        })
    }

    /// The cloud of the authority host.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a setting that cannot be used.
    fn authority_cloud(&self) -> Result<Cloud> {
        Ok(match &self.authority {
            AuthoritySource::Option(authority) => authority.cloud(),
            AuthoritySource::Cloud(cloud) => *cloud,
            AuthoritySource::Proxy(..) => Cloud::Custom,
            AuthoritySource::Inputs => match Authority::of_variable(self.inputs.variable(AUTHORITY_VARIABLE))? {
                Some(authority) => authority.cloud(),
                None => self.inputs.cloud(),
            },
        })
    }

    /// Whether requests go to the cluster's token proxy.
    fn is_at_proxy(&self) -> bool {
        matches!(self.authority, AuthoritySource::Proxy(..))
    }

    /// HTTP for a token endpoint.
    fn transport(&self) -> Transport {
        match (&self.authority, &self.transports) {
            (AuthoritySource::Proxy(_, trust), _) => self.transport_trusting(trust.clone()),
            (_, Transports::Given(transport)) => transport.clone(),
            (_, Transports::Network(shared)) => shared.get_or_init(|| Transport::of_inputs(self.inputs)).clone(),
        }
    }

    /// HTTP for an endpoint of this machine or its link, which never goes through a proxy.
    fn transport_of_local(&self, uses_tls: bool) -> Transport {
        match &self.transports {
            Transports::Given(transport) => transport.clone(),
            Transports::Network(_) => Transport::local(self.inputs, uses_tls),
        }
    }

    /// HTTP for a server that is known by `trust`, which never goes through a proxy.
    fn transport_trusting(&self, trust: Trust) -> Transport {
        let uses_roots = !trust.has_authorities();
        self.transport_of_local(uses_roots).trusting(trust)
    }
}

/// Builds the credential of a document. What it lacks at run time (a variable, a file, a tool) is told by its first
/// fetch.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] where an option or variable cannot be used.
pub fn build(config: &CredentialConfig, context: &BuildContext<'_>) -> Result<Arc<dyn Credential>> {
    let class = config.kind.class();
    let options = &config.options;
    let context = &context.of_options(options).map_err(|error| error.for_credential(class))?;
    let built: Result<Arc<dyn Credential>> = (|| {
        let credential: Arc<dyn Credential> = match &config.kind {
            CredentialKind::Default(arguments) => {
                Arc::new(chain::default::DefaultCredential::new(arguments, options, context)?)
            }
            CredentialKind::Chained(arguments) => {
                let members = arguments.credentials.iter().map(|member| build(member, context));
                Arc::new(chain::chained::ChainedCredential::new(members.collect::<Result<_>>()?))
            }
            CredentialKind::Environment(_) => environment::build(options, context)?,
            CredentialKind::WorkloadIdentity(arguments) => {
                Arc::new(workload_identity::WorkloadIdentityCredential::new(class, arguments, options, context)?)
            }
            CredentialKind::ManagedIdentity(arguments) => {
                Arc::new(managed_identity::ManagedIdentityCredential::new(arguments, options, context)?)
            }
            CredentialKind::AzureCli(arguments) => {
                Arc::new(developer_tools::azure_cli::AzureCliCredential::new(arguments, options, context)?)
            }
            CredentialKind::AzurePowerShell(arguments) => Arc::new(
                developer_tools::azure_powershell::AzurePowerShellCredential::new(arguments, options, context)?,
            ),
            CredentialKind::AzureDeveloperCli(arguments) => Arc::new(
                developer_tools::azure_developer_cli::AzureDeveloperCliCredential::new(arguments, options, context)?,
            ),
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
                let host = context.custom_credentials.get(arguments.index).ok_or_else(|| {
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
    context: &BuildContext<'_>,
) -> Result<Arc<MiddleTier>> {
    let built = context.of_options(options).and_then(|context| MiddleTier::new(arguments, options, &context));
    built.map_err(|error| error.for_credential(on_behalf_of::NAME))
}

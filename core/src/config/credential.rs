//! The credentials of a configuration document: their types, arguments, common options and checks.

use serde::{
    Deserialize, Serialize,
    de::{self, Deserializer},
};
use serde_json::{Map, Value};

use super::{
    contradiction, join, optional_seconds,
    reader::{read, type_of},
    refuse_empty, refused, seconds,
};
use crate::{error::Result, secret::Secret};

/// A credential: its `type` and arguments, and the options of every credential.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CredentialConfig {
    /// The type and its arguments.
    #[serde(flatten)]
    pub kind: CredentialKind,
    /// Options of every credential.
    #[serde(flatten)]
    pub options: CredentialOptions,
}

/// The options of every credential.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CredentialOptions {
    /// The authority host, such as `https://login.microsoftonline.us`. Its path must be empty or the credential's tenant.
    /// Default: `AZURE_AUTHORITY_HOST`, then the host of the cloud.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority_host: Option<String>,
    /// `public`, `us_government` or `china`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud: Option<String>,
    /// The tenants, in addition to the credential's own, for which tokens can be requested. `*` allows all tenants.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additionally_allowed_tenants: Vec<String>,
    /// Accepted for compatibility, without effect: pgentra performs no instance discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disable_instance_discovery: Option<bool>,
    /// How requests are repeated within a fetch if no valid token is cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryOptions>,
}

/// How requests are repeated within one fetch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct RetryOptions {
    /// The number of retries after the first attempt. Default: 3.
    pub max_retries: u32,
    /// The first delay in seconds. It doubles with each retry. Default: 0.8.
    #[serde(deserialize_with = "seconds")]
    pub delay: f64,
    /// The longest delay in seconds. Default: 60.
    #[serde(deserialize_with = "seconds")]
    pub max_delay: f64,
}

impl Default for RetryOptions {
    fn default() -> Self {
        RetryOptions { max_retries: 3, delay: 0.8, max_delay: 60.0 }
    }
}

macro_rules! credential_kinds {
    ($( $(#[doc = $doc:literal])+ $variant:ident($arguments:ident) = $tag:literal, $class:ident; )+) => {
        /// The types of credential with their arguments. A new type needs a line below, its arguments, its file in
        /// `credential/`, a file of vectors, and a class in each binding.
        #[derive(Clone, Debug, Serialize)]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(tag = "type")]
        pub enum CredentialKind {
            $( $(#[doc = $doc])+ #[serde(rename = $tag)] $variant($arguments), )+
        }

        impl CredentialKind {
            /// All types with their class names.
            pub const ALL: &'static [(&'static str, &'static str)] = &[$(($tag, stringify!($class)),)+];

            /// Returns the class name, as in the Azure Identity libraries.
            pub fn class(&self) -> &'static str {
                match self { $(CredentialKind::$variant(_) => stringify!($class),)+ }
            }

            fn from_map(tag: &str, map: Map<String, Value>) -> Result<CredentialKind> {
                match tag {
                    $($tag => Ok(CredentialKind::$variant(read(Value::Object(map))?)),)+
                    _ => Err(refused(
                        "type",
                        &format!("one of {}", Self::ALL.iter().map(|(tag, _)| *tag).collect::<Vec<_>>().join(", ")),
                        "another text",
                    )),
                }
            }
        }
    };
}

/// Passes the types of credential to a macro: documentation, arguments, `type` and class of each.
macro_rules! with_credential_kinds {
    ($make:ident) => {
        $make! {
            /// The default chain.
            Default(DefaultArguments) = "default", DefaultAzureCredential;
            /// Several credentials, which are tried in order.
            Chained(ChainedArguments) = "chained", ChainedTokenCredential;
            /// A service principal that is configured by environment variables.
            Environment(NoArguments) = "environment", EnvironmentCredential;
            /// A workload identity with a federated token in a file (Kubernetes).
            WorkloadIdentity(WorkloadIdentityArguments) = "workload_identity", WorkloadIdentityCredential;
            /// The managed identity of the machine or service.
            ManagedIdentity(ManagedIdentityArguments) = "managed_identity", ManagedIdentityCredential;
            /// The account that is signed in to Azure CLI (`az`).
            AzureCli(AzureCliArguments) = "azure_cli", AzureCliCredential;
            /// The account that is signed in to Azure PowerShell.
            AzurePowerShell(DeveloperToolArguments) = "azure_powershell", AzurePowerShellCredential;
            /// The account that is signed in to Azure Developer CLI (`azd`).
            AzureDeveloperCli(DeveloperToolArguments) = "azure_developer_cli", AzureDeveloperCliCredential;
            /// The service connection of a task of Azure Pipelines.
            AzurePipelines(AzurePipelinesArguments) = "azure_pipelines", AzurePipelinesCredential;
            /// An application with a client secret.
            ClientSecret(ClientSecretArguments) = "client_secret", ClientSecretCredential;
            /// An application with a certificate.
            ClientCertificate(ClientCertificateArguments) = "client_certificate", ClientCertificateCredential;
            /// An application with an assertion from another source.
            ClientAssertion(ClientAssertionArguments) = "client_assertion", ClientAssertionCredential;
            /// An application that acts on behalf of a user.
            OnBehalfOf(OnBehalfOfArguments) = "on_behalf_of", OnBehalfOfCredential;
            /// A given token.
            StaticToken(StaticTokenArguments) = "static_token", StaticTokenCredential;
            /// A custom credential, which is passed in addition to the document.
            Custom(CustomArguments) = "custom_credential", CustomCredential;
        }
    };
}
pub(crate) use with_credential_kinds;

with_credential_kinds!(credential_kinds);

impl Default for CredentialKind {
    fn default() -> Self {
        CredentialKind::Default(DefaultArguments::default())
    }
}

/// No arguments.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct NoArguments {}

/// Arguments of the default chain.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DefaultArguments {
    /// The tenant of the developer tools' and workload identity's members.
    pub tenant_id: Option<String>,
    /// The user-assigned managed identity's client id. Default: `AZURE_CLIENT_ID`.
    pub managed_identity_client_id: Option<String>,
    /// The user-assigned managed identity's resource id.
    pub managed_identity_resource_id: Option<String>,
    /// The workload identity's client id. Default: `managed_identity_client_id`, then `AZURE_CLIENT_ID`.
    pub workload_identity_client_id: Option<String>,
    /// Environment variables that must be set. Otherwise the construction fails.
    pub required_env_vars: Vec<String>,
    /// The time limit of each developer tool, in seconds. Default: 10.
    #[serde(deserialize_with = "optional_seconds")]
    pub process_timeout: Option<f64>,
    /// The class names of credentials to leave out. Takes precedence over `AZURE_TOKEN_CREDENTIALS`.
    pub exclude: Vec<String>,
    /// The class names of credentials to use even if `AZURE_TOKEN_CREDENTIALS` leaves them out.
    pub include: Vec<String>,
}

/// Arguments of a chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ChainedArguments {
    /// The members, in the order in which they are tried.
    pub credentials: Vec<CredentialConfig>,
}

/// Arguments of workload identity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct WorkloadIdentityArguments {
    /// Default: `AZURE_TENANT_ID`.
    pub tenant_id: Option<String>,
    /// Default: `AZURE_CLIENT_ID`.
    pub client_id: Option<String>,
    /// Default: `AZURE_FEDERATED_TOKEN_FILE`.
    pub token_file_path: Option<String>,
    /// Whether requests are sent to the cluster's token proxy in `AZURE_KUBERNETES_TOKEN_PROXY` (AKS identity bindings).
    /// Default: false.
    pub enable_azure_proxy: bool,
}

/// Arguments of managed identity, at most one of them. Default: the system-assigned identity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct ManagedIdentityArguments {
    /// The user-assigned identity's client id.
    pub client_id: Option<String>,
    /// The user-assigned identity's object id.
    pub object_id: Option<String>,
    /// The user-assigned identity's resource id.
    pub resource_id: Option<String>,
}

/// Arguments of `az`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AzureCliArguments {
    /// Default: the signed-in tenant.
    pub tenant_id: Option<String>,
    /// The name or id of a subscription. Default: the selected one.
    pub subscription: Option<String>,
    /// The time limit of the tool, in seconds. Default: 10.
    #[serde(deserialize_with = "optional_seconds")]
    pub process_timeout: Option<f64>,
}

/// Arguments of a developer tool.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DeveloperToolArguments {
    /// Default: the signed-in tenant.
    pub tenant_id: Option<String>,
    /// The time limit of the tool, in seconds. Default: 10.
    #[serde(deserialize_with = "optional_seconds")]
    pub process_timeout: Option<f64>,
}

/// Arguments of an application with a secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClientSecretArguments {
    /// The tenant's id or domain name.
    pub tenant_id: String,
    /// The application's client id.
    pub client_id: String,
    /// The application's secret.
    pub client_secret: Secret,
}

/// Arguments of an application with a certificate: one of `certificate_path` and `certificate`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClientCertificateArguments {
    /// The tenant's id or domain name.
    pub tenant_id: String,
    /// The application's client id.
    pub client_id: String,
    /// A PEM file with key and certificate, or a PFX file. It is read again when it changes.
    #[serde(default)]
    pub certificate_path: Option<String>,
    /// The content of such a file: PEM text, or a file of either kind in base64.
    #[serde(default)]
    pub certificate: Option<Secret>,
    /// The password of an encrypted key or a PFX file.
    #[serde(default)]
    pub certificate_password: Option<Secret>,
    /// Whether the certificate is sent with its chain, for registrations by subject name. Default: false.
    #[serde(default)]
    pub send_certificate_chain: bool,
}

/// Arguments of an application with an assertion.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ClientAssertionArguments {
    /// The tenant's id or domain name.
    pub tenant_id: String,
    /// The application's client id.
    pub client_id: String,
    /// The source of the assertion: `{"type": "custom_credential", "index": 0}` for a callback that is passed in addition to
    /// the document, or a credential that returns the assertion as its token for `api://AzureADTokenExchange`, such as a
    /// managed identity.
    pub get_assertion: Box<CredentialConfig>,
}

/// Arguments of an application that acts on behalf of a user: one of `client_secret`, `certificate_path`, `certificate` and
/// `get_assertion`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct OnBehalfOfArguments {
    /// The tenant's id or domain name.
    pub tenant_id: String,
    /// The application's client id.
    pub client_id: String,
    /// The access token that the user sent. Its audience is this application.
    pub user_assertion_token: Secret,
    /// The application's secret.
    #[serde(default)]
    pub client_secret: Option<Secret>,
    /// See `client_certificate`.
    #[serde(default)]
    pub certificate_path: Option<String>,
    /// See `client_certificate`.
    #[serde(default)]
    pub certificate: Option<Secret>,
    /// See `client_certificate`.
    #[serde(default)]
    pub certificate_password: Option<Secret>,
    /// See `client_certificate`.
    #[serde(default)]
    pub send_certificate_chain: bool,
    /// See `client_assertion`.
    #[serde(default)]
    pub get_assertion: Option<Box<CredentialConfig>>,
}

/// Arguments of a task of Azure Pipelines.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AzurePipelinesArguments {
    /// The tenant's id or domain name.
    pub tenant_id: String,
    /// The application's client id.
    pub client_id: String,
    /// The service connection's id: the `resourceId` in its address.
    pub service_connection_id: String,
    /// The task's `System.AccessToken`.
    pub system_access_token: Secret,
    /// The organization's address, such as `https://dev.azure.com/contoso`, for tasks without `SYSTEM_OIDCREQUESTURI`.
    #[serde(default)]
    pub organization_url: Option<String>,
}

/// Arguments of a given token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StaticTokenArguments {
    /// The access token.
    pub token: Secret,
    /// The expiry in seconds since the epoch. Default: the token's `exp` claim, otherwise one hour from now.
    #[serde(default)]
    pub expires_on: Option<i64>,
}

/// Arguments of a custom credential.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CustomArguments {
    /// The position in the list of custom credentials, from 0.
    pub index: usize,
}

impl CredentialConfig {
    /// Reads the document of one credential.
    ///
    /// # Errors
    /// [`InvalidConfiguration`](crate::ErrorKind::InvalidConfiguration), naming the key.
    pub fn from_value(value: Value) -> Result<CredentialConfig> {
        let config: CredentialConfig = read(value)?;
        config.validate("")?;
        Ok(config)
    }

    /// Creates a configuration with default options.
    pub fn new(kind: CredentialKind) -> Self {
        CredentialConfig { kind, options: CredentialOptions::default() }
    }

    /// Returns every secret of the credential, for cache keys and for the masking of responses.
    pub fn secrets(&self) -> Vec<&Secret> {
        match &self.kind {
            CredentialKind::ClientSecret(a) => vec![&a.client_secret],
            CredentialKind::ClientCertificate(a) => {
                [&a.certificate, &a.certificate_password].into_iter().flatten().collect()
            }
            CredentialKind::OnBehalfOf(a) => [&a.client_secret, &a.certificate, &a.certificate_password]
                .into_iter()
                .flatten()
                .chain([&a.user_assertion_token])
                .chain(self.members().flat_map(CredentialConfig::secrets))
                .collect(),
            CredentialKind::AzurePipelines(a) => vec![&a.system_access_token],
            CredentialKind::StaticToken(a) => vec![&a.token],
            _ => self.members().flat_map(CredentialConfig::secrets).collect(),
        }
    }

    /// Returns the members of the credential.
    fn members(&self) -> impl Iterator<Item = &CredentialConfig> {
        let (chained, single) = match &self.kind {
            CredentialKind::Chained(a) => (a.credentials.as_slice(), None),
            CredentialKind::ClientAssertion(a) => (Default::default(), Some(&*a.get_assertion)),
            CredentialKind::OnBehalfOf(a) => (Default::default(), a.get_assertion.as_deref()),
            _ => (Default::default(), None),
        };
        chained.iter().chain(single)
    }

    /// Returns whether a custom credential takes part. Its tokens are not shared by equal settings.
    pub fn has_custom_credential(&self) -> bool {
        matches!(self.kind, CredentialKind::Custom(_)) || self.members().any(CredentialConfig::has_custom_credential)
    }

    pub(crate) fn validate(&self, path: &str) -> Result<()> {
        let check = |key: &str, value: Option<&str>| refuse_empty(&join(path, key), value);
        check("authority_host", self.options.authority_host.as_deref())?;
        match &self.kind {
            CredentialKind::Default(a) => {
                check("tenant_id", a.tenant_id.as_deref())?;
                if a.managed_identity_client_id.is_some() && a.managed_identity_resource_id.is_some() {
                    return Err(contradiction(path, "managed_identity_client_id", "managed_identity_resource_id"));
                }
            }
            CredentialKind::Chained(a) => {
                if a.credentials.is_empty() {
                    return Err(refused(&join(path, "credentials"), "at least one credential", "none"));
                }
                for (index, member) in a.credentials.iter().enumerate() {
                    member.validate(&format!("{}[{index}]", join(path, "credentials")))?;
                }
            }
            CredentialKind::WorkloadIdentity(a) => {
                check("tenant_id", a.tenant_id.as_deref())?;
                check("client_id", a.client_id.as_deref())?;
                check("token_file_path", a.token_file_path.as_deref())?;
            }
            CredentialKind::ManagedIdentity(a) => {
                check("client_id", a.client_id.as_deref())?;
                check("object_id", a.object_id.as_deref())?;
                check("resource_id", a.resource_id.as_deref())?;
                if [&a.client_id, &a.object_id, &a.resource_id].into_iter().flatten().count() > 1 {
                    return Err(contradiction(path, "client_id", "object_id or resource_id"));
                }
            }
            CredentialKind::AzureCli(a) => {
                check("tenant_id", a.tenant_id.as_deref())?;
                check("subscription", a.subscription.as_deref())?;
            }
            CredentialKind::AzurePowerShell(a) | CredentialKind::AzureDeveloperCli(a) => {
                check("tenant_id", a.tenant_id.as_deref())?
            }
            CredentialKind::ClientSecret(a) => {
                check("tenant_id", Some(&a.tenant_id))?;
                check("client_id", Some(&a.client_id))?;
                check("client_secret", Some(a.client_secret.expose()))?;
            }
            CredentialKind::ClientCertificate(a) => {
                check("tenant_id", Some(&a.tenant_id))?;
                check("client_id", Some(&a.client_id))?;
                check("certificate_path", a.certificate_path.as_deref())?;
                check("certificate", a.certificate.as_ref().map(Secret::expose))?;
                match (&a.certificate_path, &a.certificate) {
                    (Some(_), Some(_)) => return Err(contradiction(path, "certificate_path", "certificate")),
                    (None, None) => {
                        return Err(refused(&join(path, "certificate_path"), "it or `certificate`", "nothing"));
                    }
                    _ => {}
                }
            }
            CredentialKind::ClientAssertion(a) => {
                check("tenant_id", Some(&a.tenant_id))?;
                check("client_id", Some(&a.client_id))?;
                a.get_assertion.validate(&join(path, "get_assertion"))?;
            }
            CredentialKind::OnBehalfOf(a) => {
                check("tenant_id", Some(&a.tenant_id))?;
                check("client_id", Some(&a.client_id))?;
                check("user_assertion_token", Some(a.user_assertion_token.expose()))?;
                check("client_secret", a.client_secret.as_ref().map(Secret::expose))?;
                check("certificate_path", a.certificate_path.as_deref())?;
                check("certificate", a.certificate.as_ref().map(Secret::expose))?;
                if let Some(member) = &a.get_assertion {
                    member.validate(&join(path, "get_assertion"))?;
                }
                let given = [
                    ("client_secret", a.client_secret.is_some()),
                    ("certificate_path", a.certificate_path.is_some()),
                    ("certificate", a.certificate.is_some()),
                    ("get_assertion", a.get_assertion.is_some()),
                ];
                let mut given = given.iter().filter(|(_, is_given)| *is_given).map(|(name, _)| *name);
                match (given.next(), given.next()) {
                    (Some(_), None) => {}
                    (Some(one), Some(other)) => return Err(contradiction(path, one, other)),
                    (None, _) => {
                        let expected = "it, `certificate_path`, `certificate` or `get_assertion`";
                        return Err(refused(&join(path, "client_secret"), expected, "nothing"));
                    }
                }
            }
            CredentialKind::AzurePipelines(a) => {
                check("tenant_id", Some(&a.tenant_id))?;
                check("client_id", Some(&a.client_id))?;
                check("service_connection_id", Some(&a.service_connection_id))?;
                check("system_access_token", Some(a.system_access_token.expose()))?;
                check("organization_url", a.organization_url.as_deref())?;
            }
            CredentialKind::StaticToken(a) => check("token", Some(a.token.expose()))?,
            CredentialKind::Environment(_) | CredentialKind::Custom(_) => {}
        }
        Ok(())
    }

    fn from_map(mut map: Map<String, Value>) -> Result<CredentialConfig> {
        let tag = match map.remove("type") {
            None => return Err(refused("type", "the credential's type", "nothing")),
            Some(Value::String(tag)) => tag,
            Some(other) => return Err(refused("type", "a string", type_of(&other))),
        };
        const COMMON: [&str; 5] =
            ["authority_host", "cloud", "additionally_allowed_tenants", "disable_instance_discovery", "retry"];
        let options = COMMON.iter().filter_map(|key| map.remove_entry(*key)).collect();
        Ok(CredentialConfig { kind: CredentialKind::from_map(&tag, map)?, options: read(Value::Object(options))? })
    }
}

impl<'de> Deserialize<'de> for CredentialConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = Map::deserialize(deserializer)?;
        CredentialConfig::from_map(map).map_err(|e| de::Error::custom(e.headline()))
    }
}

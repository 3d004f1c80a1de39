//! Environment variables.

use std::collections::BTreeMap;

use crate::secret::Secret;

/// Environment variables as the application's language sees them when a provider is built. Their values can be secrets, so
/// `Debug` shows none.
pub type Environment = BTreeMap<String, Secret>;

/// The environment variables that a configuration document can contain: those that credentials and providers use.
pub const KNOWN_VARIABLES: &[&str] = &[
    "ALL_PROXY",
    "APPDATA",
    "AWS_LAMBDA_FUNCTION_NAME",
    "AZD_CONFIG_DIR",
    "AZURE_ADDITIONALLY_ALLOWED_TENANTS",
    "AZURE_AUTHORITY_HOST",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CLIENT_SEND_CERTIFICATE_CHAIN",
    "AZURE_CONFIG_DIR",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_IDENTITY_DISABLE_MULTITENANTAUTH",
    "AZURE_KUBERNETES_CA_DATA",
    "AZURE_KUBERNETES_CA_FILE",
    "AZURE_KUBERNETES_SNI_NAME",
    "AZURE_KUBERNETES_TOKEN_PROXY",
    "AZURE_PASSWORD",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_REGIONAL_AUTHORITY_NAME",
    "AZURE_TENANT_ID",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_USERNAME",
    "CURL_CA_BUNDLE",
    "DEFAULT_IDENTITY_CLIENT_ID",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "NODE_EXTRA_CA_CERTS",
    "NO_PROXY",
    "PATH",
    "PGENTRA_AZCMAGENT_ROOT",
    "PGSSLMODE",
    "PGUSER",
    "ProgramData",
    "ProgramFiles",
    "REGION_NAME",
    "REQUESTS_CA_BUNDLE",
    "REQUEST_METHOD",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "SYSTEM_HOSTTYPE",
    "SYSTEM_JOBID",
    "SYSTEM_OIDCREQUESTURI",
    "SYSTEM_PLANID",
    "SYSTEM_TEAMPROJECTID",
    "SystemRoot",
    "USERPROFILE",
    "all_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// Returns the current values of those environment variables of this process that pgentra uses.
pub fn environment_of_process() -> Environment {
    let set = |name: &&str| Some(((*name).to_owned(), std::env::var(name).ok()?.into()));
    KNOWN_VARIABLES.iter().filter_map(set).collect()
}

/// Returns the value of a variable, unless it is unset or empty.
pub(crate) fn variable<'a>(environment: &'a Environment, name: &str) -> Option<&'a str> {
    environment.get(name).map(Secret::expose).filter(|value| !value.is_empty())
}

//! A confidential client with a secret.

use super::{
    BuildContext,
    entra::confidential_client::{ClientAuthentication, ConfidentialClient},
};
use crate::{
    config::{ClientSecretArguments, CredentialOptions},
    error::Result,
};

/// Builds the credential.
///
/// # Errors
/// `InvalidConfiguration` for a malformed tenant.
pub(super) fn build(
    name: &'static str,
    arguments: &ClientSecretArguments,
    options: &CredentialOptions,
    context: &BuildContext<'_>,
) -> Result<ConfidentialClient> {
    let secret = ClientAuthentication::Secret(arguments.client_secret.clone());
    ConfidentialClient::new(name, &arguments.tenant_id, &arguments.client_id, secret, options, context)
}

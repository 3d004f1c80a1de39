//! A confidential client with an assertion: from a callback of the application, or from an identity that the
//! confidential client trusts.

use super::{
    BuildContext,
    entra::confidential_client::{AssertionSource, ClientAuthentication, ConfidentialClient},
};
use crate::{
    config::{ClientAssertionArguments, CredentialOptions},
    error::Result,
};

/// Builds the credential.
///
/// # Errors
/// `InvalidConfiguration` for a malformed tenant, and if the assertion's source cannot be built.
pub(super) fn build(
    name: &'static str,
    arguments: &ClientAssertionArguments,
    options: &CredentialOptions,
    context: &BuildContext<'_>,
) -> Result<ConfidentialClient> {
    let source = ClientAuthentication::Assertion(AssertionSource::new(&arguments.get_assertion, context)?);
    ConfidentialClient::new(name, &arguments.tenant_id, &arguments.client_id, source, options, context)
}

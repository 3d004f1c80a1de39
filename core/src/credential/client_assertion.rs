//! A confidential client with an assertion: from a callback of the application, or from an identity that the
//! confidential client trusts.

use std::sync::Arc;

use super::{
    BuildContext, Credential,
    entra::confidential_client::{AssertionSource, ClientAuthentication, ConfidentialClient},
};
use crate::{
    config::{ClientAssertionArguments, CredentialOptions},
    error::Result,
};

/// Builds the credential. `assertions` is the credential of `get_assertion`.
///
/// # Errors
/// `InvalidConfiguration` for a malformed tenant.
pub(super) fn build(
    name: &'static str,
    arguments: &ClientAssertionArguments,
    assertions: Arc<dyn Credential>,
    options: &CredentialOptions,
    context: &BuildContext<'_>,
) -> Result<ConfidentialClient> {
    let source = ClientAuthentication::Assertion(AssertionSource::new(assertions, context)?);
    ConfidentialClient::new(name, &arguments.tenant_id, &arguments.client_id, source, options, context)
}

//! A confidential client with a certificate.

use super::{
    BuildContext,
    certificate::Certificate,
    entra::confidential_client::{ClientAuthentication, ConfidentialClient},
};
use crate::{
    config::{ClientCertificateArguments, CredentialOptions},
    error::Result,
};

/// Builds the credential.
///
/// # Errors
/// `InvalidConfiguration` for a malformed tenant and for a certificate in the document that cannot be used. A file is
/// read at the first token request.
pub(super) fn build(
    name: &'static str,
    arguments: &ClientCertificateArguments,
    options: &CredentialOptions,
    context: &BuildContext<'_>,
) -> Result<ConfidentialClient> {
    let certificate = ClientAuthentication::Certificate(Certificate::new(
        arguments.certificate_path.as_deref(),
        arguments.certificate.as_ref(),
        arguments.certificate_password.as_ref(),
        arguments.send_certificate_chain,
    )?);
    ConfidentialClient::new(name, &arguments.tenant_id, &arguments.client_id, certificate, options, context)
}

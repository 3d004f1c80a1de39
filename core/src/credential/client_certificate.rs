//! An application and its certificate.

use tokio::time::Instant;

use super::{
    BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest,
    certificate::Certificate,
    client_authentication::ClientAuthentication,
    token_endpoint::{BOUND, TokenEndpoint},
};
use crate::{
    config::{ClientCertificateArguments, CredentialOptions},
    error::Result,
};

pub(super) struct ClientCertificateCredential {
    name: &'static str,
    endpoint: TokenEndpoint,
    authentication: ClientAuthentication,
}

impl ClientCertificateCredential {
    /// `name` is the class name that the user knows: this one's, or of the credential that holds it.
    ///
    /// # Errors
    /// `InvalidConfiguration` for a malformed tenant and for a certificate in the document that cannot be used; a file
    /// is first read when a token is asked for.
    pub(super) fn new(
        name: &'static str,
        arguments: &ClientCertificateArguments,
        options: &CredentialOptions,
        context: &BuildContext,
    ) -> Result<Self> {
        let certificate = Certificate::new(
            arguments.certificate_path.as_deref(),
            arguments.certificate.as_ref(),
            arguments.certificate_password.as_ref(),
            arguments.send_certificate_chain,
        )?;
        Ok(ClientCertificateCredential {
            name,
            endpoint: TokenEndpoint::new(name, &arguments.tenant_id, &arguments.client_id, options, context)?,
            authentication: ClientAuthentication::Certificate(certificate),
        })
    }

    async fn ask(&self, request: &TokenRequest, context: FetchContext) -> Result<FetchedToken> {
        let ends = Instant::now() + BOUND;
        let proven = self.authentication.prove(&self.endpoint, request, context, ends).await?;
        self.endpoint.client_credentials_until(ends, proven.as_proof(), request, context).await
    }
}

impl Credential for ClientCertificateCredential {
    fn name(&self) -> &str {
        self.name
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.ask(request, context))
    }
}

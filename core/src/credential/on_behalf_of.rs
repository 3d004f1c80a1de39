//! The on-behalf-of flow: an application exchanges the token of its user for a token for another resource.

use std::{sync::Arc, time::Duration};

use super::{
    BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest,
    certificate::Certificate,
    entra::confidential_client::{AssertionSource, ClientAuthentication, ConfidentialClient},
};
use crate::{
    config::{CredentialOptions, OnBehalfOfArguments},
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

pub(super) const NAME: &str = "OnBehalfOfCredential";

/// The application between the user and the resource. One value serves all its users.
pub(crate) struct MiddleTier(ConfidentialClient);

/// The credential of the application for one of its users.
pub(crate) struct OnBehalfOfCredential {
    middle_tier: Arc<MiddleTier>,
    user_assertion: Secret,
}

impl MiddleTier {
    /// Builds the middle tier from the arguments without the user's token.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a malformed tenant, a certificate in the document that cannot be used,
    /// and if the assertion's source cannot be built.
    pub(crate) fn new(
        arguments: &OnBehalfOfArguments,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<Arc<MiddleTier>> {
        let authentication = match (&arguments.client_secret, &arguments.get_assertion) {
            (Some(secret), _) => ClientAuthentication::Secret(secret.clone()),
            (None, Some(source)) => ClientAuthentication::Assertion(AssertionSource::new(source, context)?),
            (None, None) => ClientAuthentication::Certificate(Certificate::new(
                arguments.certificate_path.as_deref(),
                arguments.certificate.as_ref(),
                arguments.certificate_password.as_ref(),
                arguments.send_certificate_chain,
            )?),
        };
        let (tenant, client_id) = (&arguments.tenant_id, &arguments.client_id);
        ConfidentialClient::new(NAME, tenant, client_id, authentication, options, context)
            .map(|it| Arc::new(MiddleTier(it)))
    }

    /// Returns the credential for the user of the arguments.
    pub(crate) fn on_behalf_of(self: &Arc<Self>, arguments: &OnBehalfOfArguments) -> OnBehalfOfCredential {
        OnBehalfOfCredential { middle_tier: Arc::clone(self), user_assertion: arguments.user_assertion_token.trimmed() }
    }
}

impl OnBehalfOfCredential {
    async fn request_token(&self, request: &TokenRequest, context: FetchContext) -> Result<FetchedToken> {
        if self.user_assertion.expose().contains(|c: char| c.is_control() || c.is_whitespace()) {
            let why = "the user assertion is not a valid token: it contains whitespace or control characters";
            return Err(Error::new(ErrorKind::InvalidConfiguration, why)
                .with_advice("Pass only the text after `Bearer ` in the user's request."));
        }
        self.middle_tier.0.on_behalf_of(&self.user_assertion, request, context).await
    }
}

impl Credential for OnBehalfOfCredential {
    fn name(&self) -> &str {
        NAME
    }

    fn bound(&self) -> Duration {
        self.middle_tier.0.bound()
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.request_token(request, context))
    }
}

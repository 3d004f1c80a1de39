//! An application and what somebody asserts of it: a callback of the host, or an identity that the application trusts.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest,
    client_authentication::{AssertionSource, ClientAuthentication},
    token_endpoint::TokenEndpoint,
};
use crate::{
    config::{ClientAssertionArguments, CredentialOptions},
    error::Result,
};

const NAME: &str = "ClientAssertionCredential";

pub(super) struct ClientAssertionCredential {
    endpoint: TokenEndpoint,
    authentication: ClientAuthentication,
}

impl ClientAssertionCredential {
    /// # Errors
    /// `InvalidConfiguration` for a malformed tenant, and where the assertion's source cannot be built.
    pub(super) fn new(
        arguments: &ClientAssertionArguments,
        options: &CredentialOptions,
        context: &BuildContext,
    ) -> Result<Self> {
        Ok(ClientAssertionCredential {
            endpoint: TokenEndpoint::new(NAME, &arguments.tenant_id, &arguments.client_id, options, context)?,
            authentication: ClientAuthentication::Assertion(AssertionSource::new(&arguments.get_assertion, context)?),
        })
    }

    async fn ask(&self, request: &TokenRequest, context: FetchContext) -> Result<FetchedToken> {
        let ends = Instant::now() + self.bound();
        let proven = self.authentication.prove(&self.endpoint, request, context, ends).await?;
        self.endpoint.client_credentials_until(ends, proven.as_proof(), request, context).await
    }
}

impl Credential for ClientAssertionCredential {
    fn name(&self) -> &str {
        NAME
    }

    fn bound(&self) -> Duration {
        self.authentication.bound()
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.ask(request, context))
    }
}

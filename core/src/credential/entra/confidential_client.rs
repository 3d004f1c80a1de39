//! A confidential client: an application that authenticates by its secret, its certificate, or an assertion of another
//! issuer.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::{
    cloud::Cloud,
    config::CredentialOptions,
    credential::{
        BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest,
        certificate::Certificate,
        entra::token_endpoint::{BOUND, ClientCredential, TokenEndpoint},
    },
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// The time that remains for the token endpoint when an assertion took long.
const FOR_THE_EXCHANGE: Duration = Duration::from_secs(5);

/// A confidential client, which requests tokens of its own or on behalf of its users.
pub(in crate::credential) struct ConfidentialClient {
    name: &'static str,
    endpoint: TokenEndpoint,
    authentication: ClientAuthentication,
}

impl ConfidentialClient {
    /// Creates the client. `name` is the class name for messages.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a malformed tenant or region.
    pub(in crate::credential) fn new(
        name: &'static str,
        tenant: &str,
        client_id: &str,
        authentication: ClientAuthentication,
        options: &CredentialOptions,
        context: &BuildContext<'_>,
    ) -> Result<ConfidentialClient> {
        let endpoint = TokenEndpoint::new(name, tenant, client_id, options, context)?;
        Ok(ConfidentialClient { name, endpoint, authentication })
    }

    /// Sets the variable that the client id came from, for messages.
    pub(in crate::credential) fn with_client_id_of(self, variable: &'static str) -> ConfidentialClient {
        ConfidentialClient { endpoint: self.endpoint.with_client_id_of(Some(variable)), ..self }
    }

    async fn own(&self, request: &TokenRequest, context: FetchContext) -> Result<FetchedToken> {
        let ends = Instant::now() + self.bound();
        let client_credential = self.authentication.client_credential(&self.endpoint, request, context, ends).await?;
        self.endpoint.client_credentials_until(ends, client_credential.as_client_credential(), request, context).await
    }

    /// Returns a token for the user whose own token is `assertion`.
    pub(in crate::credential) async fn on_behalf_of(
        &self,
        assertion: &Secret,
        request: &TokenRequest,
        context: FetchContext,
    ) -> Result<FetchedToken> {
        let ends = Instant::now() + self.bound();
        let client_credential = self.authentication.client_credential(&self.endpoint, request, context, ends).await?;
        self.endpoint.on_behalf_of(ends, client_credential.as_client_credential(), assertion, request, context).await
    }
}

impl Credential for ConfidentialClient {
    fn name(&self) -> &str {
        self.name
    }

    fn bound(&self) -> Duration {
        self.authentication.bound()
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.own(request, context))
    }
}

pub(in crate::credential) enum ClientAuthentication {
    Secret(Secret),
    Certificate(Certificate),
    Assertion(AssertionSource),
}

/// The client credential that authenticates one fetch.
enum OwnedClientCredential {
    Secret(Secret),
    Assertion(Secret),
}

impl OwnedClientCredential {
    fn as_client_credential(&self) -> ClientCredential<'_> {
        match self {
            OwnedClientCredential::Secret(secret) => ClientCredential::Secret(secret),
            OwnedClientCredential::Assertion(assertion) => ClientCredential::Assertion(assertion),
        }
    }
}

impl ClientAuthentication {
    /// Returns the bound of a fetch with it.
    fn bound(&self) -> Duration {
        match self {
            ClientAuthentication::Assertion(source) => source.source.bound().max(BOUND),
            ClientAuthentication::Secret(_) | ClientAuthentication::Certificate(_) => BOUND,
        }
    }

    /// Returns the client credential for one fetch, which ends at `ends`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a certificate that cannot be used; those of the assertion's source.
    async fn client_credential(
        &self,
        endpoint: &TokenEndpoint,
        request: &TokenRequest,
        context: FetchContext,
        ends: Instant,
    ) -> Result<OwnedClientCredential> {
        match self {
            ClientAuthentication::Secret(secret) => Ok(OwnedClientCredential::Secret(secret.clone())),
            ClientAuthentication::Certificate(certificate) => {
                let audience = endpoint.audience(request)?;
                certificate.assertion(endpoint.client_id(), &audience).await.map(OwnedClientCredential::Assertion)
            }
            ClientAuthentication::Assertion(source) => {
                source.assertion(context, ends - FOR_THE_EXCHANGE).await.map(OwnedClientCredential::Assertion)
            }
        }
    }
}

/// A credential whose tokens are assertions: a callback of the application, or an identity that the confidential client
/// trusts.
pub(in crate::credential) struct AssertionSource {
    source: Arc<dyn Credential>,
    request: TokenRequest,
}

impl AssertionSource {
    /// Creates the source from the credential whose tokens are the assertions.
    ///
    /// # Errors
    /// `InvalidConfiguration` for a malformed authority host.
    pub(in crate::credential) fn new(
        source: Arc<dyn Credential>,
        context: &BuildContext<'_>,
    ) -> Result<AssertionSource> {
        let audience = match context.authority_cloud()? {
            Cloud::UsGovernment => "api://AzureADTokenExchangeUSGov",
            Cloud::China => "api://AzureADTokenExchangeChina",
            Cloud::Public | Cloud::Custom => "api://AzureADTokenExchange",
        };
        Ok(AssertionSource { source, request: TokenRequest::new(format!("{audience}/.default")) })
    }

    async fn assertion(&self, context: FetchContext, ends: Instant) -> Result<Secret> {
        let asked = timeout_at(ends, self.source.fetch(&self.request, context)).await;
        let outcome = asked.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "it did not respond in time")));
        outcome.map(|fetched| fetched.token).map_err(|error| match error.kind() {
            // The event loop of the callback ended. Callers that still wait request the token again.
            ErrorKind::Cancelled => error,
            _ => error.for_credential(self.source.name()).of_part("no assertion"),
        })
    }
}

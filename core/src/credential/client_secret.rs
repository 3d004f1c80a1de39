//! An application and its secret.

use super::{
    BoxFuture, BuildContext, Credential, FetchContext, FetchedToken, TokenRequest,
    token_endpoint::{Proof, TokenEndpoint},
};
use crate::{
    config::{ClientSecretArguments, CredentialOptions},
    error::Result,
    secret::Secret,
};

pub(super) struct ClientSecretCredential {
    name: &'static str,
    endpoint: TokenEndpoint,
    secret: Secret,
}

impl ClientSecretCredential {
    /// `name` is the class name that the user knows: this one's, or of the credential that holds it.
    pub(super) fn new(
        name: &'static str,
        arguments: &ClientSecretArguments,
        options: &CredentialOptions,
        context: &BuildContext,
    ) -> Result<Self> {
        let endpoint = TokenEndpoint::new(name, &arguments.tenant_id, &arguments.client_id, options, context)?;
        Ok(ClientSecretCredential { name, endpoint, secret: arguments.client_secret.clone() })
    }
}

impl Credential for ClientSecretCredential {
    fn name(&self) -> &str {
        self.name
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, context: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(self.endpoint.client_credentials(Proof::Secret(&self.secret), request, context))
    }
}

//! Credentials: by their document, custom ones, and chains of both.

use std::sync::Arc;

use pgentra::{
    CachedCredential, Config, CredentialContext, Error,
    bindings::CredentialHandle,
    credential::{BoxFuture, FetchContext, FetchedToken},
};

use crate::{AccessToken, EntraError, error::invalid_argument};

/// A token request to a custom credential.
#[derive(Debug, uniffi::Record)]
pub struct TokenRequest {
    /// The scope, such as `https://ossrdbms-aad.database.windows.net/.default`.
    pub scope: String,
    /// A tenant other than the credential's own.
    pub tenant_id: Option<String>,
    /// A claims challenge (JSON text).
    pub claims: Option<String>,
}

/// Why a custom credential returned no token.
#[derive(Debug, thiserror::Error, uniffi::Error)]
pub enum CredentialFailure {
    /// The credential is not set up here, so that a chain continues with its next member.
    #[error("{reason}")]
    Unavailable {
        /// The reason, for the error of the caller. It must not contain a secret.
        reason: String,
    },
    /// The credential failed.
    #[error("{reason}")]
    Failed {
        /// The reason, for the error of the caller. It must not contain a secret.
        reason: String,
    },
}

/// Any other exception of a custom credential.
impl From<uniffi::UnexpectedUniFFICallbackError> for CredentialFailure {
    fn from(error: uniffi::UnexpectedUniFFICallbackError) -> Self {
        CredentialFailure::Failed { reason: error.reason }
    }
}

/// A custom credential, which the application implements.
#[uniffi::export(with_foreign)]
#[async_trait::async_trait]
pub trait TokenCredential: Send + Sync {
    /// Returns a token for the request. It is called in the background too, when the token is refreshed.
    async fn get_token(&self, request: TokenRequest) -> Result<Arc<AccessToken>, CredentialFailure>;
}

/// A credential for a provider or for a chain.
#[derive(uniffi::Object)]
pub struct Credential(CredentialHandle<Custom>);

/// A custom credential with its cache, so that providers with the same object share its token.
#[derive(Clone)]
struct Custom {
    engine: Arc<Adapter>,
    cached: Arc<CachedCredential>,
}

#[uniffi::export]
impl Credential {
    /// Creates a credential from its document, such as `{"type": "managed_identity"}`. In the document of a chain,
    /// `{"type": "custom_credential", "index": n}` means the n-th of `members`.
    #[uniffi::constructor(default(members = []))]
    pub fn new(document: String, members: Vec<Arc<Credential>>) -> Result<Arc<Credential>, EntraError> {
        let document = serde_json::from_str(&document).map_err(|error| {
            invalid_argument(format!("document: not JSON (line {}, column {})", error.line(), error.column()))
        })?;
        let members: Vec<_> = members.iter().map(|member| member.0.clone()).collect();
        Ok(Arc::new(Credential(CredentialHandle::new(document, &members)?)))
    }

    /// Creates a credential from an object of the application. `name` appears in errors and logs.
    #[uniffi::constructor(default(name = "CustomCredential"))]
    pub fn custom(credential: Arc<dyn TokenCredential>, name: String) -> Arc<Credential> {
        let engine = Arc::new(Adapter { name, credential });
        let cached = CachedCredential::from_credential(engine.clone());
        Arc::new(Credential(CredentialHandle::custom(Custom { engine, cached })))
    }
}

impl Credential {
    pub(crate) fn build(&self, config: &Config) -> Result<Arc<CachedCredential>, Error> {
        if let (true, [custom]) = (self.0.is_custom(), self.0.custom_credentials()) {
            return Ok(Arc::clone(&custom.cached));
        }
        let context = CredentialContext {
            environment: config.environment.clone(),
            ca_file: config.ca_file.clone(),
            server_host: config.host.clone(),
            scope: config.scope.clone(),
            ..CredentialContext::default()
        };
        self.0.build(context, |custom| custom.engine.clone())
    }
}

/// The engine's side of a custom credential. The application's code runs in a coroutine or task of its own language.
struct Adapter {
    name: String,
    credential: Arc<dyn TokenCredential>,
}

impl pgentra::Credential for Adapter {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch<'a>(
        &'a self,
        request: &'a pgentra::TokenRequest,
        _: FetchContext,
    ) -> BoxFuture<'a, Result<FetchedToken, Error>> {
        let request = TokenRequest {
            scope: request.scope.clone(),
            tenant_id: request.tenant_id.clone(),
            claims: request.claims.clone(),
        };
        Box::pin(async move {
            let _waiting = pgentra::bindings::wait_for("the credential's own code");
            match self.credential.get_token(request).await {
                Ok(token) => FetchedToken::from_custom(token.token.expose(), token.expires_on, token.refresh_on),
                Err(CredentialFailure::Unavailable { reason }) => {
                    Err(Error::from_custom("CredentialFailure.Unavailable", &reason, true, None))
                }
                Err(CredentialFailure::Failed { reason }) => {
                    Err(Error::from_custom("CredentialFailure.Failed", &reason, false, None))
                }
            }
        })
    }
}

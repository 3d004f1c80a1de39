//! Conversions between pgentra's credentials and those of the Azure SDK for Rust.

use std::sync::Arc;

use azure_core::{
    credentials::{AccessToken, TokenCredential, TokenRequestOptions},
    error::{Error as AzureError, ErrorKind as AzureKind},
};

use crate::{
    cached_credential::CachedCredential,
    config::with_credential_kinds,
    credential::{AzureCoreCredential, TokenRequest},
    error::{Error, ErrorKind},
    identity,
    provider::Builder,
};

impl CachedCredential {
    /// Takes any `azure_core` credential.
    pub fn from_azure_core(credential: Arc<dyn TokenCredential>) -> Arc<Self> {
        Self::from_credential(Arc::new(AzureCoreCredential::new(credential)))
    }
}

impl Builder {
    /// Sets any `azure_core` credential.
    #[must_use]
    pub fn azure_credential(self, credential: Arc<dyn TokenCredential>) -> Self {
        self.credential(CachedCredential::from_azure_core(credential))
    }
}

#[async_trait::async_trait]
impl TokenCredential for CachedCredential {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        let failed = |error: Error| AzureError::new(AzureKind::Credential, error);
        let [scope] = scopes else {
            return Err(failed(Error::new(ErrorKind::InvalidConfiguration, "exactly one scope must be requested")));
        };
        let token = self.start_token(&TokenRequest::new(*scope), None).await.map_err(failed)?;
        let expires_on = azure_core::time::OffsetDateTime::from_unix_timestamp(token.expires_on())
            .unwrap_or(azure_core::time::OffsetDateTime::UNIX_EPOCH);
        Ok(AccessToken::new(token.secret().to_owned(), expires_on))
    }
}

macro_rules! classes {
    ($( $(#[doc = $doc:literal])+ $variant:ident($arguments:ident) = $tag:literal, $class:ident; )+) => {
        $(
            #[async_trait::async_trait]
            impl TokenCredential for identity::$class {
                async fn get_token(
                    &self,
                    scopes: &[&str],
                    options: Option<TokenRequestOptions<'_>>,
                ) -> azure_core::Result<AccessToken> {
                    Arc::<CachedCredential>::from(self.clone()).get_token(scopes, options).await
                }
            }
        )+
    };
}

with_credential_kinds!(classes);

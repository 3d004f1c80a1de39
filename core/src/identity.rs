//! Credential classes with the names that they have in the Azure Identity libraries. Each is a `TokenCredential` for
//! any client of the Azure SDK, and can be passed to [`Builder::credential`](crate::Builder::credential). Equal
//! credentials share their tokens.

use std::sync::Arc;

pub use crate::config::{
    AzureCliArguments, AzurePipelinesArguments, ChainedArguments, ClientAssertionArguments, ClientCertificateArguments,
    ClientSecretArguments, CredentialOptions, CustomArguments, DefaultArguments, DeveloperToolArguments,
    ManagedIdentityArguments, NoArguments, OnBehalfOfArguments, StaticTokenArguments, WorkloadIdentityArguments,
};
use crate::{
    CachedCredential, CredentialConfig, CredentialContext, CredentialKind, Result, config::with_credential_kinds,
};

macro_rules! classes {
    ($( $(#[doc = $doc:literal])+ $variant:ident($arguments:ident) = $tag:literal, $class:ident; )+) => {
        $(
            $(#[doc = $doc])+
            #[derive(Clone, Debug)]
            pub struct $class(Arc<CachedCredential>);

            impl $class {
                /// Creates the credential.
                ///
                /// # Errors
                /// [`InvalidConfiguration`](crate::ErrorKind::InvalidConfiguration) if an argument cannot be used. What
                /// is missing at run time is reported by its first token request.
                pub fn new(
                    arguments: $arguments,
                    options: CredentialOptions,
                    context: &CredentialContext,
                ) -> Result<$class> {
                    let config = CredentialConfig { kind: CredentialKind::$variant(arguments), options };
                    config.validate("")?;
                    CachedCredential::new(&config, context).map($class)
                }
            }

            impl From<$class> for Arc<CachedCredential> {
                fn from(credential: $class) -> Self {
                    credential.0
                }
            }
        )+
    };
}

with_credential_kinds!(classes);

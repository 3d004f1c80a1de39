//! The credentials as classes, by the names of the Azure Identity libraries. Each is a `TokenCredential` for
//! any client of the Azure SDK, and taken by [`Builder::credential`](crate::Builder::credential); equal ones share their tokens.

use std::sync::Arc;

pub use crate::config::{
    AzureCliArguments, AzurePipelinesArguments, ChainedArguments, ClientAssertionArguments, ClientCertificateArguments,
    ClientSecretArguments, CredentialOptions, DefaultArguments, DeveloperToolArguments, HostArguments,
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
                /// # Errors
                /// [`InvalidConfiguration`](crate::ErrorKind::InvalidConfiguration) where an argument cannot be used; what
                /// is missing at run time is told by its first token.
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

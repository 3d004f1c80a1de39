//! The credential that returned the token, for people.

use pgentra::TokenProvider;

/// Returns the credential, and the member of a chain that returned the token: `DefaultAzureCredential >
/// ManagedIdentityCredential (App Service)`.
pub fn describe_source(provider: &TokenProvider) -> String {
    provider.credential().name().to_owned()
}

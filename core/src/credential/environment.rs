//! What the environment variables say: an application with its secret. A certificate, and user name with password, are
//! the places to come after it.

use std::sync::Arc;

use super::{
    BuildContext, Credential, client_secret::ClientSecretCredential, tenant::with_environment, unavailable::Unavailable,
};
use crate::{
    config::{ClientSecretArguments, CredentialOptions, variable},
    error::Result,
    secret::Secret,
};

pub(super) const NAME: &str = "EnvironmentCredential";

/// The first complete set of variables decides; an incomplete one is unavailable, naming what is missing.
///
/// # Errors
/// `InvalidConfiguration` for a malformed tenant.
pub(super) fn build(options: &CredentialOptions, context: &BuildContext) -> Result<Arc<dyn Credential>> {
    let get = |name: &str| variable(&context.environment, name);
    let missing = |names: &[&str]| {
        let names: Vec<&str> = names.iter().copied().filter(|name| get(name).is_none()).collect();
        names.join(" and ")
    };
    let options = with_environment(options, &context.environment);
    let unavailable = |why: String, advice: &str| -> Result<Arc<dyn Credential>> {
        Ok(Arc::new(Unavailable::new(NAME, why, advice)))
    };
    match (get("AZURE_TENANT_ID"), get("AZURE_CLIENT_ID"), get("AZURE_CLIENT_SECRET")) {
        (Some(tenant), Some(client), Some(secret)) => {
            let arguments = ClientSecretArguments {
                tenant_id: tenant.to_owned(),
                client_id: client.to_owned(),
                client_secret: Secret::new(secret),
            };
            Ok(Arc::new(ClientSecretCredential::new(NAME, &arguments, &options, context)?))
        }
        (Some(_), Some(_), None) if get("AZURE_CLIENT_CERTIFICATE_PATH").is_some() => unavailable(
            "AZURE_CLIENT_CERTIFICATE_PATH is set, but certificates are not in this version".to_owned(),
            "Use AZURE_CLIENT_SECRET, or pass the Azure SDK's credential object.",
        ),
        (Some(_), Some(_), None) if get("AZURE_USERNAME").is_some() => unavailable(
            "AZURE_USERNAME is set, but signing in with a password is not in this version".to_owned(),
            "Use AZURE_CLIENT_SECRET, or pass the Azure SDK's credential object.",
        ),
        _ => {
            let names = missing(&["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"]);
            let verb = if names.contains(" and ") { "are" } else { "is" };
            unavailable(
                format!("{names} {verb} not set"),
                "Set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET.",
            )
        }
    }
}

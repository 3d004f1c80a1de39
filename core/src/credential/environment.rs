//! The credential from environment variables: an application with its secret or its certificate. A user name with a
//! password comes last and is rejected as outdated.

use std::sync::Arc;

use super::{
    BuildContext, Credential, chain::unavailable::Unavailable, client_certificate, client_secret,
    entra::tenant::with_environment,
};
use crate::{
    config::{ClientCertificateArguments, ClientSecretArguments, CredentialOptions},
    error::Result,
    secret::Secret,
};

pub(super) const NAME: &str = "EnvironmentCredential";

/// Builds the credential from the first complete set of variables. For an incomplete set the credential is unavailable,
/// and its error names what is missing.
///
/// # Errors
/// `InvalidConfiguration` for a malformed tenant.
pub(super) fn build(options: &CredentialOptions, context: &BuildContext<'_>) -> Result<Arc<dyn Credential>> {
    let get = |name: &str| context.inputs.variable(name);
    let missing = |names: &[&str]| {
        let names: Vec<&str> = names.iter().copied().filter(|name| get(name).is_none()).collect();
        names.join(" and ")
    };
    let options = with_environment(options, context.inputs);
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
            Ok(Arc::new(
                client_secret::build(NAME, &arguments, &options, context)?.with_client_id_of("AZURE_CLIENT_ID"),
            ))
        }
        (Some(tenant), Some(client), None) if get("AZURE_CLIENT_CERTIFICATE_PATH").is_some() => {
            let send_chain = get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN").map(str::to_ascii_lowercase);
            let arguments = ClientCertificateArguments {
                tenant_id: tenant.to_owned(),
                client_id: client.to_owned(),
                certificate_path: get("AZURE_CLIENT_CERTIFICATE_PATH").map(str::to_owned),
                certificate: None,
                certificate_password: get("AZURE_CLIENT_CERTIFICATE_PASSWORD").map(Secret::new),
                send_certificate_chain: matches!(send_chain.as_deref(), Some("1" | "true")),
            };
            let application = client_certificate::build(NAME, &arguments, &options, context)?;
            Ok(Arc::new(application.with_client_id_of("AZURE_CLIENT_ID")))
        }
        (Some(_), Some(_), None) if get("AZURE_USERNAME").is_some() => unavailable(
            "AZURE_USERNAME is set, but Entra no longer accepts a user name and password".to_owned(),
            "Use AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH, or pass the Azure SDK's credential object.",
        ),
        _ => {
            let all = ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"];
            // A certificate replaces the secret.
            let has_certificate = get("AZURE_CLIENT_CERTIFICATE_PATH").is_some();
            let names = missing(if has_certificate { &all[..2] } else { &all });
            let verb = if names.contains(" and ") { "are" } else { "is" };
            unavailable(
                format!("{names} {verb} not set"),
                "Set AZURE_TENANT_ID, AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET or AZURE_CLIENT_CERTIFICATE_PATH.",
            )
        }
    }
}

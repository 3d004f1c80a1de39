//! Builds the credential of a document.

use std::sync::Arc;

use super::{
    BuildContext, Credential, MiddleTier, azure_pipelines, chain, client_assertion, client_certificate, client_secret,
    developer_tools, environment, managed_identity, on_behalf_of, static_token, workload_identity,
};
use crate::{
    config::{CredentialConfig, CredentialKind, CredentialOptions, OnBehalfOfArguments},
    error::{Error, ErrorKind, Result},
};

/// Builds the credential of a document. What it lacks at run time (a variable, a file, a tool) is reported by its first
/// fetch.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] if an option or variable cannot be used.
pub fn build(config: &CredentialConfig, context: &BuildContext<'_>) -> Result<Arc<dyn Credential>> {
    let class = config.kind.class();
    let options = &config.options;
    let context = &context.of_options(options).map_err(|error| error.for_credential(class))?;
    let built: Result<Arc<dyn Credential>> = (|| {
        let credential: Arc<dyn Credential> = match &config.kind {
            CredentialKind::Default(arguments) => {
                Arc::new(chain::default::DefaultCredential::new(arguments, options, context)?)
            }
            CredentialKind::Chained(arguments) => {
                let members = arguments.credentials.iter().map(|member| build(member, context));
                Arc::new(chain::chained::ChainedCredential::new(members.collect::<Result<_>>()?))
            }
            CredentialKind::Environment(_) => environment::build(options, context)?,
            CredentialKind::WorkloadIdentity(arguments) => {
                Arc::new(workload_identity::WorkloadIdentityCredential::new(class, arguments, options, context)?)
            }
            CredentialKind::ManagedIdentity(arguments) => {
                Arc::new(managed_identity::ManagedIdentityCredential::new(arguments, options, context)?)
            }
            CredentialKind::AzureCli(arguments) => {
                Arc::new(developer_tools::azure_cli::AzureCliCredential::new(arguments, options, context)?)
            }
            CredentialKind::AzurePowerShell(arguments) => Arc::new(
                developer_tools::azure_powershell::AzurePowerShellCredential::new(arguments, options, context)?,
            ),
            CredentialKind::AzureDeveloperCli(arguments) => Arc::new(
                developer_tools::azure_developer_cli::AzureDeveloperCliCredential::new(arguments, options, context)?,
            ),
            CredentialKind::ClientSecret(arguments) => {
                Arc::new(client_secret::build(class, arguments, options, context)?)
            }
            CredentialKind::ClientCertificate(arguments) => {
                Arc::new(client_certificate::build(class, arguments, options, context)?)
            }
            CredentialKind::ClientAssertion(arguments) => {
                Arc::new(client_assertion::build(class, arguments, options, context)?)
            }
            CredentialKind::OnBehalfOf(arguments) => {
                Arc::new(on_behalf_of::MiddleTier::new(arguments, options, context)?.on_behalf_of(arguments))
            }
            CredentialKind::AzurePipelines(arguments) => {
                Arc::new(azure_pipelines::AzurePipelinesCredential::new(arguments, options, context)?)
            }
            CredentialKind::StaticToken(arguments) => Arc::new(static_token::StaticTokenCredential::new(arguments)),
            CredentialKind::Custom(arguments) => {
                let host = context.custom_credentials.get(arguments.index).ok_or_else(|| {
                    Error::new(
                        ErrorKind::InvalidConfiguration,
                        format!("option `index`: there is no custom credential {}", arguments.index),
                    )
                })?;
                Arc::clone(host)
            }
        };
        Ok(credential)
    })();
    built.map_err(|error| error.for_credential(class))
}

/// Builds the middle tier for [`MiddleTier::on_behalf_of`], without the user's token.
///
/// # Errors
/// Those of [`build`].
pub(crate) fn build_middle_tier(
    arguments: &OnBehalfOfArguments,
    options: &CredentialOptions,
    context: &BuildContext<'_>,
) -> Result<Arc<MiddleTier>> {
    let built = context.of_options(options).and_then(|context| MiddleTier::new(arguments, options, &context));
    built.map_err(|error| error.for_credential(on_behalf_of::NAME))
}

//! Configuration documents.

use pgentra::testing::{BuildContext, BuildInputs, Response, Transport, build};
use pgentra::{Config, CredentialConfig};

use crate::check_error;

/// Reads the input as a configuration and as the document of a credential, and builds the credential.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::from_json(text) {
        Ok(config) => {
            let _ = (config.effective_mode(), format!("{config:?}"));
            build_credential(&config.credential, &config);
        }
        Err(error) => check_error(&error),
    }
    let Ok(document) = serde_json::from_str(text) else { return };
    match CredentialConfig::from_value(document) {
        Ok(credential) => {
            for secret in credential.secrets() {
                let value = secret.expose();
                // A short value can be a part of a name.
                assert!(value.len() < 24 || !format!("{credential:?}").contains(value), "Debug contains a secret");
            }
            build_credential(&credential, &Config::default());
        }
        Err(error) => check_error(&error),
    }
}

fn build_credential(credential: &CredentialConfig, config: &Config) {
    // Nothing is requested.
    let transport = Transport::canned(|_| Box::pin(std::future::ready(Ok(Response::new(500, &[], "")))));
    let inputs = BuildInputs::new(&config.environment)
        .with_ca_file(config.ca_file.as_deref())
        .with_connection(config.scope.as_deref(), config.host.as_deref());
    if let Err(error) = build(credential, &BuildContext::new(&inputs).with_transport(transport)) {
        check_error(&error);
    }
}

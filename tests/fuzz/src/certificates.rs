//! The certificates and keys of applications, as PEM and as PFX.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgentra::CredentialConfig;
use pgentra::credential::{FetchContext, TokenRequest};
use pgentra::testing::{BuildContext, BuildInputs, Response, Transport, build};
use serde_json::{Value, json};

use crate::{block_on, check_error, check_token};

/// The password of the encrypted files in `tests/vectors/certificates`.
const PASSWORD: &str = "canary-password";

/// Reads the input from a file or from the document, and signs an assertion with what was read.
///
/// The variant depends on the length, so that a file without a selector is an input. There is one read for each input,
/// because a key derivation can take seconds.
pub fn run(data: &[u8]) {
    match (data.len() % 5, std::str::from_utf8(data)) {
        (0, Ok(text)) => {
            read(json!({"certificate": text, "certificate_password": PASSWORD, "send_certificate_chain": true}));
        }
        (1, _) => read(json!({"certificate": STANDARD.encode(data), "certificate_password": PASSWORD})),
        (variant, _) => {
            let Ok(file) = tempfile::NamedTempFile::new() else { return };
            std::fs::write(file.path(), data).expect("the file is written");
            let password = [Some(PASSWORD), Some(""), None][variant % 3];
            read(json!({"certificate_path": file.path(), "certificate_password": password}));
        }
    }
}

fn read(certificate: Value) {
    let mut document = json!({"type": "client_certificate", "tenant_id": "contoso.com", "client_id": "c1"});
    let (Value::Object(all), Value::Object(members)) = (&mut document, certificate) else { return };
    all.extend(members.into_iter().filter(|(_, value)| !value.is_null()));
    let config = match CredentialConfig::from_value(document) {
        Ok(config) => config,
        // The text is empty.
        Err(error) => return check_error(&error),
    };
    let response =
        || Response::new(200, &[], r#"{"access_token": "a.b.c", "expires_in": 3600, "token_type": "Bearer"}"#);
    let transport = Transport::canned(move |_| Box::pin(std::future::ready(Ok(response()))));
    let variables = Default::default();
    let inputs = BuildInputs::new(&variables);
    let outcome = build(&config, &BuildContext::new(&inputs).with_transport(transport)).and_then(|credential| {
        block_on(credential.fetch(&TokenRequest::new("https://r/.default"), FetchContext::default()))
    });
    match outcome {
        Ok(token) => check_token(&token),
        Err(error) => {
            check_error(&error);
            assert!(!error.to_string().contains(PASSWORD), "an error contains the password");
        }
    }
}

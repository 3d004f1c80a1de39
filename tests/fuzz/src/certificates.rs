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

/// Reads the input with and without a password, and signs an assertion with what was read.
pub fn run(data: &[u8]) {
    let Ok(directory) = tempfile::tempdir() else { return };
    let path = directory.path().join("certificate");
    std::fs::write(&path, data).expect("the file is written");
    for password in [None, Some(""), Some(PASSWORD)] {
        read(json!({"certificate_path": path, "certificate_password": password}));
    }
    read(json!({"certificate": STANDARD.encode(data), "certificate_password": PASSWORD}));
    if let Ok(text) = std::str::from_utf8(data) {
        read(json!({"certificate": text, "certificate_password": PASSWORD, "send_certificate_chain": true}));
    }
}

fn read(certificate: Value) {
    let mut document = json!({"type": "client_certificate", "tenant_id": "contoso.com", "client_id": "c1"});
    let (Value::Object(all), Value::Object(members)) = (&mut document, certificate) else { return };
    all.extend(members.into_iter().filter(|(_, value)| !value.is_null()));
    let config = CredentialConfig::from_value(document).expect("the document is valid");
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

//! The cases of `tests/vectors/bindings.json`.

use pgentra_vectors::{credentials, custom};
use serde_json::{Value, json};

fn cases(group: &str) -> Vec<Value> {
    let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/bindings.json")).expect("JSON");
    vectors[group].as_array().expect("cases").clone()
}

#[test]
fn custom_credential_responses_end_the_fetch_as_specified() {
    for case in cases("responses") {
        let name = &case["name"];
        match custom::fetch(&case) {
            Ok(token) => assert_eq!(credentials::shown(&token), case["token"], "{name}"),
            Err(error) => {
                assert_eq!(custom::described(&error), case["error"], "{name}");
                assert!(!error.to_string().contains("canary"), "{name}: {error}");
            }
        }
    }
}

#[test]
fn credential_handle_documents_number_all_custom_credentials() {
    for case in cases("handles") {
        let name = &case["name"];
        match custom::handle(&case["handle"]) {
            Ok(handle) => {
                assert_eq!(handle.document(), &case["document"], "{name}");
                assert_eq!(json!(handle.custom_credentials()), case["custom_credentials"], "{name}");
            }
            Err(error) => assert_eq!(error.code(), case["error"], "{name}"),
        }
    }
}

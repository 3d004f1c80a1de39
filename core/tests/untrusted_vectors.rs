//! Connections whose settings do not come from the application, by `tests/vectors/untrusted.json`.

use pgentra::{
    Result,
    bindings::untrusted::{UntrustedLogin, refused, untrusted_login},
    postgres::ConnectionRequest,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../../tests/vectors/untrusted.json");

fn decide(request: &Value) -> Result<UntrustedLogin> {
    untrusted_login(&ConnectionRequest::from_value(request.clone())?)
}

#[test]
fn untrusted_login_vectors() {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/services");
    let vectors: Value = serde_json::from_str(&VECTORS.replace("{files}", files)).expect("JSON");
    for case in vectors["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let (expected, error) = (&case["result"], |code: &str| json!({ "error": code }));
        let found = match decide(&case["request"]) {
            Ok(UntrustedLogin::Token) => json!("token"),
            Ok(UntrustedLogin::Password) => json!("password"),
            Ok(UntrustedLogin::HostNotAllowed(cause)) => {
                assert!(!cause.is_empty(), "{name}");
                assert!(refused(&cause).to_string().contains("PGENTRA_ALLOWED_HOSTS"), "{name}");
                json!("host_not_allowed")
            }
            Err(refused) => {
                for part in expected["contains"].as_array().into_iter().flatten() {
                    let part = part.as_str().expect("a text");
                    assert!(refused.to_string().contains(part), "{name}: {part} is not in: {refused}");
                }
                error(refused.code())
            }
        };
        let expected = expected["error"].as_str().map_or_else(|| expected.clone(), error);
        assert_eq!(found, expected, "{name}");
    }
}

proptest! {
    /// Whatever is before and after it, only a name that ends in a suffix of Azure at a label boundary gets a token.
    #[test]
    fn untrusted_login_of_any_host_is_for_azure(before in ".{0,12}", after in ".{0,12}") {
        let host = format!("{before}shop.postgres.database.azure.com{after}");
        if let Ok(UntrustedLogin::Token) = decide(&json!({"arguments": {"host": host}})) {
            for name in host.split(',') {
                prop_assert!(name.trim().ends_with(".postgres.database.azure.com"));
                prop_assert!(name.trim().bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')));
            }
        }
    }
}

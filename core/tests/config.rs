//! The configuration document: what is refused, and that no refusal repeats a value.

use pgentra::{Config, CredentialConfig, CredentialKind, ErrorKind, config};
use serde_json::{Map, Value, json};

const CANARY: &str = "canary-secret-8f2c";

/// One document per type with every key that the type knows, all valid.
fn documents() -> Vec<Value> {
    let common = json!({
        "authority_host": "https://login.microsoftonline.com", "cloud": "public", "additionally_allowed_tenants": ["*"],
        "disable_instance_discovery": true, "retry": {"max_retries": 1, "delay": 0.1, "max_delay": 1},
    });
    let credentials = [
        json!({"type": "default", "tenant_id": "t", "managed_identity_client_id": "m", "workload_identity_client_id": "w",
               "required_env_vars": [], "process_timeout": 5, "exclude": [], "include": []}),
        json!({"type": "chained", "credentials": [{"type": "azure_cli"}]}),
        json!({"type": "environment"}),
        json!({"type": "workload_identity", "tenant_id": "t", "client_id": "c", "token_file_path": "/f"}),
        json!({"type": "managed_identity", "client_id": "c"}),
        json!({"type": "managed_identity", "object_id": "c"}),
        json!({"type": "managed_identity", "resource_id": "c"}),
        json!({"type": "azure_cli", "tenant_id": "t", "subscription": "s", "process_timeout": 5.5}),
        json!({"type": "azure_developer_cli", "tenant_id": "t", "process_timeout": 5}),
        json!({"type": "client_secret", "tenant_id": "t", "client_id": "c", "client_secret": CANARY}),
        json!({"type": "client_certificate", "tenant_id": "t", "client_id": "c", "certificate_path": "/c.pem",
               "certificate_password": CANARY, "send_certificate_chain": true}),
        json!({"type": "client_certificate", "tenant_id": "t", "client_id": "c", "certificate": CANARY}),
        json!({"type": "client_assertion", "tenant_id": "t", "client_id": "c",
               "get_assertion": {"type": "static_token", "token": CANARY}}),
        json!({"type": "on_behalf_of", "tenant_id": "t", "client_id": "c", "user_assertion_token": CANARY,
               "client_secret": CANARY}),
        json!({"type": "on_behalf_of", "tenant_id": "t", "client_id": "c", "user_assertion_token": CANARY,
               "certificate_path": "/c.pfx", "certificate_password": CANARY, "send_certificate_chain": false}),
        json!({"type": "on_behalf_of", "tenant_id": "t", "client_id": "c", "user_assertion_token": CANARY,
               "certificate": CANARY}),
        json!({"type": "on_behalf_of", "tenant_id": "t", "client_id": "c", "user_assertion_token": CANARY,
               "get_assertion": {"type": "custom_credential", "index": 0}}),
        json!({"type": "azure_pipelines", "tenant_id": "t", "client_id": "c", "service_connection_id": "s",
               "system_access_token": CANARY, "organization_url": "https://o"}),
        json!({"type": "static_token", "token": CANARY, "expires_on": 1}),
        json!({"type": "custom_credential", "index": 0}),
    ];
    credentials
        .into_iter()
        .map(|mut credential| {
            let object = credential.as_object_mut().expect("an object");
            object.extend(common.as_object().expect("an object").clone());
            json!({
                "credential": credential, "scope": "s", "host": "h", "user": "u", "fallback_username": "f",
                "management_lookup": true, "appid_as_username": false, "mode": "lazy", "cache": true, "ca_file": "/ca",
                "timeout": 30, "environment": {"AZURE_CLIENT_SECRET": CANARY},
            })
        })
        .collect()
}

fn every_path(value: &Value, path: Vec<String>, found: &mut Vec<Vec<String>>) {
    if let Value::Object(map) = value {
        for (key, value) in map {
            let mut path = path.clone();
            path.push(key.clone());
            found.push(path.clone());
            every_path(value, path, found);
        }
    }
}

fn object_at<'a>(document: &'a mut Value, path: &[String]) -> &'a mut Map<String, Value> {
    path.iter().fold(document, |value, key| &mut value[key.as_str()]).as_object_mut().expect("an object")
}

fn refusal(document: Value) -> Option<String> {
    let error = Config::from_value(document).err()?;
    assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
    assert!(!format!("{error}{error:?}{}", error.detail()).contains(CANARY), "a value in: {error}");
    Some(error.to_string())
}

#[test]
fn config_documents_are_valid_and_show_no_secret() {
    for document in documents() {
        let config = Config::from_value(document.clone()).unwrap_or_else(|e| panic!("{e}"));
        assert!(!format!("{config:?}").contains(CANARY));
        let again = serde_json::to_value(&config).expect("JSON");
        assert!(!again.to_string().contains(CANARY));
        assert_eq!(again["credential"]["type"], document["credential"]["type"]);
    }
}

#[test]
fn config_with_any_mistyped_key_shows_no_secret() {
    let mut refused = 0;
    for document in documents() {
        let mut paths = Vec::new();
        every_path(&document, Vec::new(), &mut paths);
        for path in paths {
            let (key, parent) = path.split_last().expect("a key");
            // The key itself misspelt.
            let mut renamed = document.clone();
            let object = object_at(&mut renamed, parent);
            let value = object.remove(key).expect("present");
            object.insert(format!("{key}_x"), value);
            if parent.first().map(String::as_str) != Some("environment") {
                let told = refusal(renamed).unwrap_or_else(|| panic!("{path:?} misspelt was taken"));
                assert!(told.contains(key.as_str()), "{path:?} is not named in: {told}");
            }
            // A value of every other type, with the secret inside where a type can hold it.
            let was_text = matches!(path.iter().fold(&document, |v, k| &v[k.as_str()]), Value::String(_));
            for wrong in [json!(CANARY), json!([CANARY]), json!({CANARY: CANARY}), json!(true), json!(-7.5)] {
                if was_text && wrong.is_string() {
                    continue;
                }
                let mut mistyped = document.clone();
                object_at(&mut mistyped, parent).insert(key.clone(), wrong.clone());
                if let Some(told) = refusal(mistyped) {
                    refused += 1;
                    assert!(
                        told.contains(key.as_str()) || wrong.is_object() || key == "type",
                        "{path:?} is not named in: {told}"
                    );
                }
            }
        }
    }
    assert!(refused > 500, "only {refused} documents were refused");
}

#[test]
fn config_error_contains_key_expectation_and_type() {
    for (document, expected) in [
        (json!({"scope": 5}), "option `scope`: expected a string, got an integer"),
        (json!({"scope": ""}), "option `scope`: expected a text that is not empty, got an empty string"),
        (json!({"user": "a\u{0}b"}), "option `user`: expected a text without NUL, got a string with NUL"),
        (json!({"timeout": "30"}), "option `timeout`: expected seconds, 0 or more, got a string"),
        (json!({"timeout": -1}), "option `timeout`: expected seconds, 0 or more, got another number"),
        (json!({"mode": "fast"}), "option `mode`: expected one of background, lazy, ahead, got another text"),
        (json!({"skope": "x"}), "option `skope`: unknown option"),
        (json!({"credential": 5}), "option `credential`: expected a map, got an integer"),
        (json!({"credential": {}}), "option `credential.type`: expected the credential's type, got nothing"),
        (json!({"credential": {"type": "magic"}}), "option `credential.type`: expected one of default, chained"),
        (
            json!({"credential": {"type": "client_secret"}}),
            "option `credential.tenant_id`: expected a value, got nothing",
        ),
        (
            json!({"credential": {"type": "client_secret", "tenant_id": "t", "client_id": " ", "client_secret": "s"}}),
            "option `credential.client_id`: expected a text that is not empty, got an empty string",
        ),
        (
            json!({"credential": {"type": "managed_identity", "client_id": "a", "object_id": "b"}}),
            "option `credential.client_id`: expected either it or object_id or resource_id, got both",
        ),
        (
            json!({"credential": {"type": "chained", "credentials": [{"type": "environment"}, {"type": "azure_cli", "tenant_id": 5}]}}),
            "option `credential.credentials[1].tenant_id`: expected a string, got an integer",
        ),
        (
            json!({"credential": {"type": "chained", "credentials": [{"type": "azure_cli", "nonsense": 5}]}}),
            "option `credential.credentials[0].nonsense`: unknown option; expected one of",
        ),
        (
            json!({"credential": {"type": "chained", "credentials": []}}),
            "option `credential.credentials`: expected at least one credential, got none",
        ),
    ] {
        let told = refusal(document.clone()).unwrap_or_else(|| panic!("{document} was taken"));
        assert!(told.contains(expected), "{document}: {told}");
    }
    assert!(Config::from_json("{").unwrap_err().to_string().contains("not JSON (line 1"));
    assert!(Config::from_json("[]").is_err());
}

#[test]
fn config_mode_in_a_lambda_is_lazy() {
    let mode = |document| Config::from_value(document).expect("valid").effective_mode();
    assert_eq!(mode(json!({})), config::RefreshMode::Background);
    assert_eq!(mode(json!({"environment": {"AWS_LAMBDA_FUNCTION_NAME": "f"}})), config::RefreshMode::Lazy);
    assert_eq!(
        mode(json!({"environment": {"AWS_LAMBDA_FUNCTION_NAME": "f"}, "mode": "ahead"})),
        config::RefreshMode::Ahead
    );
}

#[test]
fn known_variables_are_sorted() {
    assert!(pgentra::bindings::KNOWN_VARIABLES.is_sorted());
}

#[test]
fn credential_config_reads_a_document_of_its_own() {
    assert!(CredentialConfig::from_value(json!({"type": "azure_cli"})).is_ok());
    assert!(CredentialConfig::from_value(json!({"type": "azure_cli", "nonsense": 1})).is_err());
}

#[test]
fn credentials_page_has_every_type_and_valid_documents() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/credentials.md")).expect("a page");
    let mut shown: Vec<String> = page
        .split("```json\n")
        .skip(1)
        .map(|block| {
            let text = block.split("```").next().expect("an end");
            let document: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            CredentialConfig::from_value(document.clone()).unwrap_or_else(|e| panic!("{text}: {e}"));
            document["type"].as_str().expect("a type").to_owned()
        })
        .collect();
    shown.sort();
    // A custom credential has no document of its own.
    let mut known: Vec<&str> =
        CredentialKind::ALL.iter().map(|(tag, _)| *tag).filter(|tag| *tag != "custom_credential").collect();
    known.sort_unstable();
    assert_eq!(shown, known);
    for (tag, class) in CredentialKind::ALL.iter().filter(|(tag, _)| *tag != "custom_credential") {
        assert!(page.contains(&format!("\n## {class}\n")), "{tag} has no section");
    }
}

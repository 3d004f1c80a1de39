//! Connection URLs with a token, by `tests/vectors/urls.json`.

use std::collections::BTreeMap;

use pgentra::{
    ErrorKind, Result, Secret,
    bindings::UrlSettings,
    postgres::{Form, connection_string},
};
use serde_json::{Value, json};

const VECTORS: &str = include_str!("../../tests/vectors/urls.json");

fn url(case: &Value) -> Result<Secret> {
    let settings: BTreeMap<String, String> = serde_json::from_value(case["settings"].clone()).expect("settings");
    let environment = case.get("environment").cloned().unwrap_or(json!({}));
    let environment = serde_json::from_value(environment).expect("an environment");
    let text = |key: &str| case[key].as_str();
    UrlSettings::new(settings, &environment)?.write(
        text("scheme").unwrap_or("postgresql"),
        text("user").expect("a user"),
        &Secret::new(text("password").expect("a password")),
    )
}

#[test]
fn connection_url_vectors() {
    let vectors: Value = serde_json::from_str(VECTORS).expect("JSON");
    for case in vectors["cases"].as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        match (url(case), case["url"].as_str()) {
            (Ok(url), Some(expected)) => {
                assert_eq!(url.expose(), expected, "{name}");
                assert_eq!(format!("{url:?}"), "[redacted]", "{name}");
                if case.get("scheme").is_none() {
                    let read = connection_string::parse(expected, Form::Libpq).expect("libpq's form");
                    assert_eq!(read.get("user"), case["user"].as_str(), "{name}");
                    assert_eq!(read.get("password"), case["password"].as_str(), "{name}");
                    assert_eq!(read.get("sslmode"), Some("verify-full"), "{name}");
                    assert!(read.get("host").is_some(), "{name}");
                }
            }
            (Err(error), None) => {
                assert_eq!(error.kind(), ErrorKind::InvalidConnection, "{name}");
                for part in case["error"].as_array().expect("texts") {
                    assert!(error.to_string().contains(part.as_str().expect("a text")), "{name}: {error}");
                }
                assert!(!error.to_string().contains("canary"), "{name}: {error}");
            }
            (found, _) => panic!("{name}: {:?}", found.map(|url| url.expose().to_owned())),
        }
    }
}

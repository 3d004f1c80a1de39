//! Connection strings and plans by `tests/vectors/connections.json`, and the TLS rule by `tests/vectors/tls.json`.

use pgentra::{
    Error,
    postgres::{ConnectionPlan, ConnectionRequest, Form, Host, Server, connection_string, tls_policy::secure_sslmode},
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn vectors(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Checks an error against a case; it may contain nothing of a password.
fn check_error(error: &Error, expected: &Value, name: &str) {
    let text = error.to_string();
    assert_eq!(expected["error"], error.code(), "{name}: {text}");
    for part in expected["contains"].as_array().into_iter().flatten() {
        assert!(text.contains(part.as_str().expect("a text")), "{name}: {part} is not in: {text}");
    }
    assert!(!text.contains("pa55word"), "{name}: {text}");
}

#[test]
fn connection_string_vectors() {
    let vectors = vectors(include_str!("../../tests/vectors/connections.json"));
    for case in vectors["strings"].as_array().expect("strings") {
        let form: Form = serde_json::from_value(case["form"].clone()).expect("a form");
        let text = case["text"].as_str().expect("a text");
        match connection_string::parse(text, form) {
            Ok(settings) => {
                let found: Value = settings.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
                assert_eq!(found, case["settings"], "{form:?} {text}");
            }
            Err(error) => check_error(&error, case, &format!("{form:?} {text}")),
        }
    }
}

#[test]
fn connection_plan_vectors() {
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/services");
    let vectors = vectors(&include_str!("../../tests/vectors/connections.json").replace("{files}", files));
    for case in vectors["plans"].as_array().expect("plans") {
        let (name, expected) = (case["name"].as_str().expect("a name"), &case["result"]);
        let mut request = case["request"].clone();
        request["repeat_warnings"] = json!(true);
        match ConnectionRequest::from_value(request).and_then(|request| ConnectionPlan::new(&request)) {
            Ok(plan) => {
                let found = plan.to_json();
                for (key, value) in expected.as_object().expect("a result") {
                    if key != "warns" {
                        assert_eq!(&found[key], value, "{name}: {key} of {found}");
                    }
                }
                if let Some(parts) = expected.get("warns").and_then(Value::as_array) {
                    assert_eq!(plan.warnings.len(), parts.len(), "{name}: {:?}", plan.warnings);
                    for (warning, part) in plan.warnings.iter().zip(parts) {
                        assert!(warning.contains(part.as_str().expect("a text")), "{name}: {warning}");
                    }
                }
                assert!(!format!("{plan:?} {:?}", plan.warnings).contains("pa55word"), "{name}: {plan:?}");
            }
            Err(error) => check_error(&error, expected, name),
        }
    }
}

#[test]
fn connection_plan_warns_once_in_a_process() {
    let request = || {
        let document = json!({"arguments": {"host": "once.example", "user": "alice", "password": "pa55word"}});
        ConnectionPlan::new(&ConnectionRequest::from_value(document).expect("a request")).expect("a plan")
    };
    assert_eq!(request().warnings.len(), 1);
    assert_eq!(request().warnings.len(), 0);
}

#[test]
fn secure_sslmode_vectors() {
    let vectors = vectors(include_str!("../../tests/vectors/tls.json"));
    let cases = vectors["cases"].as_array().expect("cases");
    assert!(cases.len() > 20);
    for case in cases {
        let server = match &case["hosts"] {
            Value::Array(hosts) => {
                let host = |host: &Value| Host { host: host.as_str().expect("a host").to_owned(), ..Host::default() };
                Server::Known(hosts.iter().map(host).collect())
            }
            _ => Server::Unknown,
        };
        let allow = case["allow_insecure"].as_bool().unwrap_or(false);
        let result = match secure_sslmode(case["sslmode"].as_str(), &server, allow) {
            Ok(mode) => json!(mode),
            Err(error) => json!({"error": error.code()}),
        };
        assert_eq!(result, case["result"], "{}", case["name"]);
    }
}

proptest! {
    /// Whatever the settings hold, a `conninfo` that is read again has the same.
    #[test]
    fn connection_string_reads_a_written_conninfo(
        dbname in "[^\\x00]*", host in "[a-z' \\\\=]+", password in "[^\\x00]+", application_name in any::<String>(),
    ) {
        let application_name = application_name.replace('\0', "");
        let arguments = json!({
            "host": host, "hostaddr": "127.0.0.1", "user": "alice", "password": password, "dbname": dbname,
            "application_name": application_name,
        });
        let request = json!({"arguments": arguments, "conninfo": true});
        let plan = ConnectionPlan::new(&ConnectionRequest::from_value(request).expect("a request")).expect("a plan");
        let conninfo = plan.conninfo.expect("a conninfo");
        let found = connection_string::parse(conninfo.expose(), Form::Libpq).expect("a connection string");
        let found: Value = found.iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
        prop_assert_eq!(found, arguments);
    }
}

/// Whatever is written, the parsers end without a panic.
#[test]
fn connection_string_of_any_text_does_not_panic() {
    let vectors = vectors(include_str!("../../tests/vectors/connections.json"));
    let forms = [Form::Libpq, Form::Url, Form::UrlAuthorityFirst, Form::Dotnet, Form::Jdbc];
    for case in vectors["strings"].as_array().expect("strings") {
        let text = case["text"].as_str().expect("a text");
        for (at, _) in text.char_indices() {
            for other in ["", "%", "[", "'", "\"", ";", "@", "/", "ü", "\0", "\u{1f600}"] {
                for form in forms {
                    let _ = connection_string::parse(&format!("{}{other}{}", &text[..at], &text[at..]), form);
                    let _ = connection_string::parse(&format!("{}{other}", &text[..at]), form);
                }
            }
        }
    }
}

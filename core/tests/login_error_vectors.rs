//! Refused logins by `tests/vectors/login_errors.json`.

use pgentra::postgres::login_error::{self, LoginErrorCause};
use pgentra_vectors::documents::{login_error as known, principal};
use serde_json::Value;

fn cases(group: &str) -> Vec<Value> {
    let vectors: Value =
        serde_json::from_str(include_str!("../../tests/vectors/login_errors.json")).expect("login_errors.json is JSON");
    let cases = vectors[group].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty(), "{group} is empty");
    cases
}

#[test]
fn login_error_vectors() {
    for case in cases("login_errors") {
        let message = case["message"].as_str().expect("message");
        let sqlstate = case.get("sqlstate").map(|state| state.as_str().expect("sqlstate"));
        let login_error = login_error::classify(sqlstate, message);
        assert_eq!(login_error.cause.as_str(), case["cause"], "{sqlstate:?} {message}");
        assert_eq!(login_error.retry, case["retry"], "{sqlstate:?} {message}");
        assert_eq!(serde_json::to_value(login_error.cause).expect("a name"), login_error.cause.as_str());
    }
}

#[test]
fn explanation_vectors() {
    for case in cases("explanations") {
        let login_error = known(&case["cause"]);
        let cause = login_error.cause;
        let text = |key: &str| case[key].as_str().expect("a text").to_owned();
        let principal = principal(&case["principal"]);
        let told = login_error::explain(
            &login_error,
            &text("role"),
            &text("role_source"),
            principal.as_ref(),
            case["unused_connector"].as_str(),
        );
        for part in case["contains"].as_array().expect("contains") {
            assert!(told.contains(part.as_str().expect("a text")), "{cause:?}: {part} is not in:\n{told}");
        }
        for part in case.get("lacks").and_then(Value::as_array).into_iter().flatten() {
            assert!(!told.contains(part.as_str().expect("a text")), "{cause:?}: {part} is in:\n{told}");
        }
        assert_eq!(told.is_empty(), cause == LoginErrorCause::NotALogin);
        assert!(told.lines().all(|line| !line.trim().is_empty()), "{told}");
    }
}

/// Whatever a server says, the verdict comes without a panic, and a role in it cannot break the statement.
#[test]
fn classify_of_any_text_does_not_panic() {
    for case in cases("login_errors") {
        let message = case["message"].as_str().expect("message");
        for (at, _) in message.char_indices() {
            for other in ["\"", "[", "]", "\n", "ü"] {
                let _ = login_error::classify(None, &format!("{}{other}{}", &message[..at], &message[at..]));
            }
            let _ = login_error::classify(Some("28000"), &message[at..]);
        }
    }
}

/// The role of Azure's single server has the server's name behind it; no statement should create such a role.
#[test]
fn explanation_of_a_role_with_the_servers_name() {
    let environment = pgentra::config::Environment::new();
    let told = |role: &str, host: &str| {
        let message = "FATAL:  password authentication failed for user";
        login_error::explain_login(Some("28P01"), message, role, "user", None, Some((host, &environment)))
    };
    let host = "shop.postgres.database.azure.com";
    for role in ["app-mi@shop", "app-mi@SHOP", "app-mi@shop.postgres.database.azure.com"] {
        let text = told(role, host);
        assert!(text.contains("log in as 'app-mi'") && !text.contains("create_principal"), "{text}");
        assert!(text.starts_with(&format!("Role tried: '{role}'")), "{text}");
    }
    for (role, host) in [("anna@contoso.com", host), ("app-mi@shop", "shop.example"), ("@shop", host)] {
        assert!(told(role, host).contains("create_principal"), "{role} {host}");
    }
}

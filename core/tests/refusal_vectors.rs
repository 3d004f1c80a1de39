//! Refused logins by `tests/vectors/refusals.json`.

use pgentra::claims::{Principal, PrincipalKind};
use pgentra::refusal::{self, Refusal, RefusalCause};
use serde_json::Value;

fn cases(group: &str) -> Vec<Value> {
    let vectors: Value =
        serde_json::from_str(include_str!("../../tests/vectors/refusals.json")).expect("refusals.json is JSON");
    let cases = vectors[group].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty(), "{group} is empty");
    cases
}

#[test]
fn refusals() {
    for case in cases("refusals") {
        let message = case["message"].as_str().expect("message");
        let sqlstate = case.get("sqlstate").map(|state| state.as_str().expect("sqlstate"));
        let refusal = refusal::classify(sqlstate, message);
        assert_eq!(refusal.cause.as_str(), case["cause"], "{sqlstate:?} {message}");
        assert_eq!(refusal.retry, case["retry"], "{sqlstate:?} {message}");
        assert_eq!(serde_json::to_value(refusal.cause).expect("a name"), refusal.cause.as_str());
    }
}

fn cause(name: &Value) -> RefusalCause {
    let known = cases("refusals").into_iter().find(|case| case["cause"] == *name);
    let case = known.unwrap_or_else(|| panic!("no refusal has the cause {name}"));
    refusal::classify(case.get("sqlstate").and_then(Value::as_str), case["message"].as_str().expect("message")).cause
}

fn principal(case: &Value) -> Option<Principal> {
    const KINDS: [PrincipalKind; 7] = [
        PrincipalKind::User,
        PrincipalKind::Guest,
        PrincipalKind::ServicePrincipal,
        PrincipalKind::UserAssignedIdentity,
        PrincipalKind::SystemAssignedIdentity,
        PrincipalKind::Application,
        PrincipalKind::Unknown,
    ];
    let text = |key: &str| case.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = KINDS.into_iter().find(|kind| case["kind"] == kind.as_str());
    let of = |kind| Principal {
        kind,
        oid: text("oid"),
        tid: text("tid"),
        appid: text("appid"),
        idtyp: None,
        present: Vec::new(),
    };
    case.is_object().then(|| of(kind.expect("a kind of principal")))
}

#[test]
fn explanations() {
    for case in cases("explanations") {
        let cause = cause(&case["cause"]);
        let refusal = Refusal { retry: cause.retry(), cause };
        let text = |key: &str| case[key].as_str().expect("a text").to_owned();
        let principal = principal(&case["principal"]);
        let told = refusal::explain(&refusal, &text("role"), &text("role_source"), principal.as_ref());
        for part in case["contains"].as_array().expect("contains") {
            assert!(told.contains(part.as_str().expect("a text")), "{cause:?}: {part} is not in:\n{told}");
        }
        for part in case.get("lacks").and_then(Value::as_array).into_iter().flatten() {
            assert!(!told.contains(part.as_str().expect("a text")), "{cause:?}: {part} is in:\n{told}");
        }
        assert_eq!(told.is_empty(), cause == RefusalCause::NotALogin);
        assert!(told.lines().all(|line| !line.trim().is_empty()), "{told}");
    }
}

/// Whatever a server says, the verdict comes without a panic, and a role in it cannot break the statement.
#[test]
fn any_text_is_judged() {
    for case in cases("refusals") {
        let message = case["message"].as_str().expect("message");
        for (at, _) in message.char_indices() {
            for other in ["\"", "[", "]", "\n", "ü"] {
                let _ = refusal::classify(None, &format!("{}{other}{}", &message[..at], &message[at..]));
            }
            let _ = refusal::classify(Some("28000"), &message[at..]);
        }
    }
}

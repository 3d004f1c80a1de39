//! Role names, principals and times by `tests/vectors/claims.json`.

use pgentra::postgres::role_name::{self, Claims, RoleType};
use pgentra_vectors::documents::{described, management, token, token_of};
use serde_json::{Map, Value, json};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/claims.json")).expect("claims.json is JSON")
}

fn cases(group: &str) -> Vec<Value> {
    let cases = vectors()[group].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty(), "{group} is empty");
    cases
}

#[test]
fn token_vectors() {
    for case in cases("tokens") {
        let name = &case["name"];
        let token = token(&case["token"]);
        let decoded = role_name::decode_jwt(&token).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Value::Object(decoded), case["claims"], "{name}: its plain token is {}", token_of(&case["claims"]));
        let claims = Claims::decode(&token).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut read = described(&claims);
        read.as_object_mut().expect("an object").retain(|_, value| !value.is_null() && *value != json!([]));
        assert_eq!(read, case["expect"], "{name}");
        assert!(claims.role_name().is_none_or(|role| role.name.len() <= role_name::MAX_ROLE_BYTES), "{name}");
    }
}

#[test]
fn claims_of_a_long_token_are_rejected() {
    for case in cases("large") {
        let name = &case["name"];
        let token = token(&case["token"]);
        match case["error"].as_str() {
            Some(error) => assert_eq!(Claims::decode(&token).expect_err("too long").as_str(), error, "{name}"),
            None => {
                let all = role_name::decode_jwt(&token).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert_eq!(
                    all["fill"].as_str().map(str::len),
                    case["fill_length"].as_u64().map(|n| n as usize),
                    "{name}"
                );
                let role = Claims::decode(&token).ok().and_then(|claims| claims.role_name());
                assert_eq!(role.map(|role| role.name).as_deref(), case["role"].as_str(), "{name}");
            }
        }
    }
}

#[test]
fn claims_of_a_text_that_is_not_a_token_are_rejected() {
    for case in cases("rejected") {
        let name = &case["name"];
        let token = token(&case["token"]);
        let error = Claims::decode(&token).expect_err(&format!("{name} was read"));
        assert_eq!(error.as_str(), case["error"], "{name}");
        assert!(error.to_string().starts_with("Invalid JWT token format"), "{name}: {error}");
    }
}

#[test]
fn identity_name_vectors() {
    for case in cases("resource_ids") {
        let id = case["xms_mirid"].as_str().expect("xms_mirid");
        assert_eq!(role_name::parse_principal_name(id).as_deref(), case["parse_principal_name"].as_str(), "{id}");
        assert_eq!(role_name::identity_name(id).as_deref(), case["identity_name"].as_str(), "{id}");
    }
}

#[test]
fn explain_missing_name_vectors() {
    for case in cases("missing_names") {
        let claims = Claims::decode(&token_of(&case["claims"])).expect("claims of a case");
        assert_eq!(claims.role_name(), None, "{}", case["name"]);
        let told = role_name::explain_missing_name(&claims.principal(), management(&case));
        for part in case["contains"].as_array().expect("contains") {
            assert!(told.contains(part.as_str().expect("text")), "{}: {part} is not in: {told}", case["name"]);
        }
        assert!(!told.contains(char::is_control), "{}: {told:?}", case["name"]);
    }
}

#[test]
fn create_role_statement_vectors() {
    for case in cases("create_role") {
        let role_type = match case["type"].as_str() {
            Some("user") => RoleType::User,
            Some("group") => RoleType::Group,
            other => {
                assert_eq!(other, Some("service"));
                RoleType::Service
            }
        };
        let text = |key: &str| case[key].as_str().expect("text").to_owned();
        assert_eq!(role_name::create_role_statement(&text("role"), &text("oid"), role_type), text("statement"));
    }
}

/// No byte string makes the reader panic, and whatever it reads is fit to be shown.
#[test]
fn claims_of_a_damaged_token_do_not_panic() {
    let all = cases("tokens");
    for case in all.iter().step_by(7) {
        let token = token(&case["token"]);
        for end in (0..token.len()).filter(|end| token.is_char_boundary(*end)) {
            let _ = Claims::decode(&token[..end]);
        }
        for (at, byte) in token.char_indices().map(|(at, c)| (at, c.len_utf8())) {
            for other in ["", ".", "=", "A", "\0", "ü", "\u{10ffff}"] {
                let damaged = format!("{}{other}{}", &token[..at], &token[at + byte..]);
                if let Ok(claims) = Claims::decode(&damaged) {
                    let shown = format!("{} {:?}", claims.principal(), claims.role_name().map(|role| role.name));
                    assert!(!shown.contains(char::is_control), "{shown:?}");
                }
            }
        }
    }
}

#[test]
fn claims_error_shows_nothing_of_the_token() {
    let canary = "CANARY";
    let payload: Map<String, Value> = [("upn", "anna@contoso.com"), ("uti", canary), ("secret", canary)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    let token = token_of(&Value::Object(payload)).replace(".sig", &format!(".{canary}"));
    let claims = Claims::decode(&token).expect("a token");
    assert!(!format!("{claims:?}").contains(canary));
    for broken in [canary.to_owned(), format!("{canary}.{canary}!"), format!("{canary}.{canary}")] {
        let error = Claims::decode(&broken).expect_err("no token");
        assert!(!format!("{error} {error:?}").contains(canary), "{error:?}");
    }
}

//! The formats of `claims.json`, `clouds.json` and `login_errors.json`, and the engine's results in these formats.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use pgentra::{
    bindings::cloud::{CloudInputs, Resolved},
    postgres::{
        login_error::{self, LoginError},
        role_name::{Claims, Management, Principal, PrincipalKind},
    },
};
use serde_json::{Value, json};

/// Returns a token from a text, or from a list of texts and of `{repeat, times}`.
pub fn token(recipe: &Value) -> String {
    let piece = |piece: &Value| match piece {
        Value::String(text) => text.clone(),
        other => other["repeat"].as_str().expect("repeat").repeat(other["times"].as_u64().expect("times") as usize),
    };
    recipe.as_array().map_or_else(|| piece(recipe), |pieces| pieces.iter().map(piece).collect())
}

/// Returns the token for claims.
pub fn token_of(claims: &Value) -> String {
    let base64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.sig", base64(r#"{"typ":"JWT","alg":"RS256","kid":"test"}"#), base64(&claims.to_string()))
}

/// Describes the claims of a token.
pub fn described(claims: &Claims) -> Value {
    let principal = claims.principal();
    let role = claims.role_name();
    json!({
        "role": role.as_ref().map(|role| role.name.as_str()),
        "source": role.as_ref().map(|role| role.source.as_str()),
        "kind": principal.kind.as_str(),
        "oid": principal.oid,
        "tid": principal.tid,
        "appid": principal.appid,
        "idtyp": principal.idtyp,
        "present": principal.present,
        "audience": claims.audience(),
        "expires_on": claims.expires_on(),
        "not_before": claims.not_before(),
        "issued_at": claims.issued_at(),
    })
}

/// Returns the result of a lookup in a management token, as in `missing_names`.
pub fn management(case: &Value) -> Management {
    match case["management_tried"].as_bool().expect("management_tried") {
        true => Management::Nameless,
        false => Management::NotAsked,
    }
}

/// Returns the inputs from which a cloud is determined.
pub fn cloud_inputs(case: &Value) -> CloudInputs<'_> {
    const KEYS: [&str; 5] = ["scope_option", "host", "authority_option", "cloud_option", "env_authority_host"];
    let given = case["inputs"].as_object().expect("inputs");
    assert!(given.keys().all(|key| KEYS.contains(&key.as_str())), "{}: unknown input", case["name"]);
    let input = |key: &str| given.get(key).map(|value| value.as_str().expect("a text"));
    let [scope_option, host, authority_option, cloud_option, env_authority_host] = KEYS.map(input);
    CloudInputs { scope_option, host, authority_option, cloud_option, env_authority_host }
}

/// Returns the determined cloud.
pub fn resolved(cloud: &Resolved) -> Value {
    json!({
        "cloud": cloud.cloud.as_str(),
        "scope": cloud.scope,
        "management_scope": cloud.management_scope,
        "authority_host": cloud.authority_host,
        "warning": cloud.warning,
    })
}

/// Returns the first login error of `login_errors.json` with that cause.
pub fn login_error(cause: &Value) -> LoginError {
    let vectors: Value = serde_json::from_str(include_str!("../login_errors.json")).expect("login_errors.json is JSON");
    let case = vectors["login_errors"].as_array().into_iter().flatten().find(|case| case["cause"] == *cause);
    let case = case.unwrap_or_else(|| panic!("no login error has the cause {cause}"));
    login_error::classify(case["sqlstate"].as_str(), case["message"].as_str().expect("message"))
}

/// Returns the principal of a case, if it has one.
pub fn principal(document: &Value) -> Option<Principal> {
    const KINDS: [PrincipalKind; 7] = [
        PrincipalKind::User,
        PrincipalKind::Guest,
        PrincipalKind::ServicePrincipal,
        PrincipalKind::UserAssignedIdentity,
        PrincipalKind::SystemAssignedIdentity,
        PrincipalKind::Application,
        PrincipalKind::Unknown,
    ];
    let text = |key: &str| document.get(key).and_then(Value::as_str).map(str::to_owned);
    let kind = KINDS.into_iter().find(|kind| document["kind"] == kind.as_str());
    document.is_object().then(|| Principal {
        kind: kind.expect("a kind of principal"),
        oid: text("oid"),
        tid: text("tid"),
        appid: text("appid"),
        idtyp: None,
        present: Vec::new(),
    })
}

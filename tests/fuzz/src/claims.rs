//! The claims of tokens, and the role names in them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pgentra::bindings::decode_claims;
use pgentra::postgres::role_name::{Claims, Management, create_role_statement, explain_missing_name, identity_name};

/// Reads the input as claims, as a token and as a resource id.
pub fn run(data: &[u8]) {
    read(&format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(data)));
    let Ok(text) = std::str::from_utf8(data) else { return };
    read(text);
    if let Some(name) = identity_name(text) {
        assert!(!name.is_empty());
    }
}

fn read(token: &str) {
    let _ = decode_claims(token);
    let Ok(claims) = Claims::decode(token) else { return };
    let principal = claims.principal();
    if let Some(role) = claims.role_name() {
        assert!(!role.name.is_empty(), "an empty role name");
        let statement =
            create_role_statement(&role.name, principal.oid.as_deref().unwrap_or_default(), principal.kind.role_type());
        // A role name is quoted, so that the statement has an even number of quotes.
        assert_eq!(statement.matches('\'').count() % 2, 0, "{statement}");
    }
    let _ = (claims.audience(), claims.expires_on(), claims.not_before(), claims.issued_at());
    assert!(!explain_missing_name(&principal, Management::Nameless).is_empty());
    assert!(!principal.to_string().is_empty());
}

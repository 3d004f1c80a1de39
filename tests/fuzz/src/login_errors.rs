//! The texts of login errors.

use pgentra::bindings::FailedLogin;

use crate::{SECRET, environment, select};

/// Classifies and explains a login error: a byte for the SQLSTATE, the role, a NUL byte, the message.
pub fn run(data: &[u8]) {
    let states = [Some("28000"), Some("28P01"), None, Some("57P03"), Some("53300"), Some("08P01"), Some("")];
    let Some((sqlstate, rest)) = select(data, &states) else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let (role, message) = text.split_once('\0').unwrap_or(("app-mi", text));
    // The token of `{"oid": "o1", "tid": "t1", "idtyp": "app"}`.
    let token = "e30.eyJvaWQiOiJvMSIsInRpZCI6InQxIiwiaWR0eXAiOiJhcHAifQ.sig";
    for token in [None, Some(token), Some(message)] {
        let failed = FailedLogin {
            sqlstate,
            message,
            role,
            role_source: None,
            token,
            unused_host: Some("shop.postgres.database.azure.com"),
        };
        let login_error = failed.classify();
        let variables = environment(&[
            ("AZURE_POSTGRESQL_HOST", "shop.postgres.database.azure.com"),
            ("AZURE_POSTGRESQL_PASSWORD", SECRET),
        ]);
        let Ok(text) = failed.explain(|| Ok::<_, std::convert::Infallible>(variables));
        assert!(!text.contains(SECRET), "a text contains a secret");
        assert!(text.len() <= 8_192 + 8 * role.len(), "{} bytes for {login_error:?}", text.len());
    }
}

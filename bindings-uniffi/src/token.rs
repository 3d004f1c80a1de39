//! Access tokens.

use std::sync::Arc;

use pgentra::{Secret, Token};

/// An access token.
#[derive(uniffi::Object)]
pub struct AccessToken {
    pub(crate) token: Secret,
    pub(crate) expires_on: Option<i64>,
    pub(crate) refresh_on: Option<i64>,
}

#[uniffi::export]
impl AccessToken {
    /// Creates the response of a custom credential. Times are in seconds since the epoch; without `expires_on` the
    /// token's own `exp` counts.
    #[uniffi::constructor(default(expires_on = None, refresh_on = None))]
    pub fn new(token: String, expires_on: Option<i64>, refresh_on: Option<i64>) -> Arc<AccessToken> {
        Arc::new(AccessToken { token: token.into(), expires_on, refresh_on })
    }

    /// Returns the token, which is to be sent over TLS only.
    pub fn token(&self) -> String {
        self.token.expose().to_owned()
    }

    /// Returns the expiry in seconds since the epoch.
    pub fn expires_on(&self) -> Option<i64> {
        self.expires_on
    }
}

impl AccessToken {
    pub(crate) fn of(token: &Token) -> Arc<AccessToken> {
        AccessToken::new(token.secret().to_owned(), Some(token.expires_on()), None)
    }
}

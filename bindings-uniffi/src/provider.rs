//! Tokens and logins.

use std::{sync::Arc, time::Duration};

use pgentra::{
    Builder, Pending, Token,
    bindings::{config_from_json, new_error},
};

use crate::{Credential, EntraError, error::invalid_argument};

/// An access token.
#[derive(uniffi::Object)]
pub struct AccessToken {
    pub(crate) token: pgentra::Secret,
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
    fn of(token: &Token) -> Arc<AccessToken> {
        AccessToken::new(token.secret().to_owned(), Some(token.expires_on()), None)
    }
}

/// A role name and the token that is its password.
#[derive(uniffi::Object)]
pub struct Login(Arc<pgentra::Login>);

#[uniffi::export]
impl Login {
    /// Returns the role to log in as.
    pub fn user(&self) -> String {
        self.0.user().to_owned()
    }

    /// Returns the source of the role name: `user`, `PGUSER`, a claim's name, `management token`, `fallback_username`.
    pub fn user_source(&self) -> String {
        self.0.user_source().to_owned()
    }

    /// Returns the password: an access token, which is to be sent over TLS only.
    pub fn password(&self) -> String {
        self.0.password().to_owned()
    }

    /// Returns the expiry of the token in seconds since the epoch.
    pub fn expires_on(&self) -> i64 {
        self.0.token().expires_on()
    }
}

/// Provides tokens and logins from memory, and keeps the token fresh. One is enough for a program.
#[derive(uniffi::Object)]
pub struct TokenProvider(pgentra::TokenProvider);

#[uniffi::export]
impl TokenProvider {
    /// Creates a provider from a configuration document and possibly a credential, which replaces the one in the
    /// document. Without the key `environment`, the variables of the process are read. This does not fetch a token.
    #[uniffi::constructor(default(config = "{}", credential = None))]
    pub fn new(config: String, credential: Option<Arc<Credential>>) -> Result<Arc<TokenProvider>, EntraError> {
        let config = config_from_json(&config)?;
        let credential = credential.map(|credential| credential.build(&config)).transpose()?;
        let builder = Builder::default().config(config);
        let builder = match credential {
            Some(credential) => builder.credential(credential),
            None => builder,
        };
        Ok(Arc::new(TokenProvider(builder.build()?)))
    }

    /// Returns a login at once if a usable token is cached and its role name is known.
    pub fn try_login(&self) -> Result<Option<Arc<Login>>, EntraError> {
        Ok(self.0.try_login().transpose()?.map(|login| Arc::new(Login(login))))
    }

    /// Returns a role name and a token. Cancelling ends the wait, not the fetch.
    #[uniffi::method(default(timeout = None))]
    pub async fn login(&self, timeout: Option<f64>) -> Result<Arc<Login>, EntraError> {
        let login = self.0.start_login(limit(timeout)?).await?;
        Ok(Arc::new(Login(login)))
    }

    /// Does the same, and blocks this thread if no usable token is cached.
    #[uniffi::method(default(timeout = None))]
    pub fn login_blocking(&self, timeout: Option<f64>) -> Result<Arc<Login>, EntraError> {
        let login = block(&self.0.start_login(limit(timeout)?))?;
        Ok(Arc::new(Login(login)))
    }

    /// Returns a token. Cancelling ends the wait, not the fetch.
    #[uniffi::method(default(timeout = None))]
    pub async fn token(&self, timeout: Option<f64>) -> Result<Arc<AccessToken>, EntraError> {
        Ok(AccessToken::of(&*self.0.start_get(limit(timeout)?).await?))
    }

    /// Does the same, and blocks this thread if no usable token is cached.
    #[uniffi::method(default(timeout = None))]
    pub fn token_blocking(&self, timeout: Option<f64>) -> Result<Arc<AccessToken>, EntraError> {
        Ok(AccessToken::of(&*block(&self.0.start_get(limit(timeout)?))?))
    }

    /// Reports that a server rejected a login with this token. Returns whether a newer token is cached, with which one
    /// more login is worth a try.
    pub async fn invalidate(&self, token: String) -> bool {
        self.0.invalidate(&token).await.is_some()
    }

    /// Returns the statistics as a JSON document. This does not fetch a token.
    pub fn stats(&self) -> Result<String, EntraError> {
        serde_json::to_string(&self.0.stats()).map_err(|error| {
            new_error(pgentra::ErrorKind::Internal, format!("the statistics cannot be written: {error}"), None, None)
                .into()
        })
    }
}

fn limit(timeout: Option<f64>) -> Result<Option<Duration>, EntraError> {
    let convert = |seconds: f64| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| invalid_argument(format!("timeout: expected seconds, 0 or more, got {seconds}")))
    };
    timeout.map(convert).transpose()
}

/// Blocks until the result is there, which has its own time limit.
fn block<T: Send + 'static>(pending: &Pending<T>) -> pgentra::Result<T> {
    loop {
        if let Some(outcome) = pending.wait(Duration::from_secs(60)) {
            return outcome;
        }
    }
}

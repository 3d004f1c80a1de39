//! Logs in with any driver: the attempt, one retry with a newer token, and the explanation of a login error.

use std::{error::Error as StdError, sync::Arc, time::Duration};

use pgentra::{Token, bindings::FailedLogin};

use crate::{BoxError, EntraDataSource, Error, Result};

/// What a driver needs from the data source for one connection.
pub(crate) struct Login {
    pub(crate) user: String,
    user_source: String,
    pub(crate) token: Arc<Token>,
}

impl Login {
    /// Returns whether both have the same role and token.
    #[cfg(feature = "sqlx")]
    pub(crate) fn is(&self, other: &Login) -> bool {
        self.user == other.user && self.token.secret() == other.token.secret()
    }
}

/// An error of a driver.
pub(crate) trait DriverError: StdError + Send + Sync + Sized + 'static {
    /// Returns the SQLSTATE and the message of the server, if the error is the server's.
    fn of_server(&self) -> Option<(String, String)>;
}

impl EntraDataSource {
    /// Opens a connection. `attempt` gets `None` if the connection has a user and a password of its own.
    pub(crate) async fn connect_by<T, E: DriverError, F: Future<Output = Result<T, E>>>(
        &self,
        attempt: impl Fn(Option<Arc<Login>>) -> F,
    ) -> Result<T> {
        let first = self.login(None).await?.map(Arc::new);
        let error = match attempt(first.clone()).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        let newer = match &first {
            Some(first) => self.renewed(first, &error).await.map(Arc::new),
            None => None,
        };
        let Some(newer) = newer else { return Err(self.explained(first.as_deref(), error)) };
        attempt(Some(Arc::clone(&newer))).await.map_err(|error| self.explained(Some(&newer), error))
    }

    /// Returns a login, or `None` if the connection has a user and a password of its own. The wait ends after `limit`,
    /// the connection's time limit or the option `timeout`, whichever comes first.
    pub(crate) async fn login(&self, limit: Option<Duration>) -> Result<Option<Login>> {
        let Some(provider) = self.provider() else { return Ok(None) };
        let limit = [limit, self.timeout()].into_iter().flatten().min();
        let login = match provider.try_login() {
            Some(outcome) => outcome?,
            None => provider.start_login(limit).await?,
        };
        Ok(Some(self.named(&login)))
    }

    /// Returns the login with the source of its role as the connection's settings state it.
    pub(crate) fn named(&self, login: &pgentra::Login) -> Login {
        let (user, user_source) =
            (login.user().to_owned(), self.user_source().unwrap_or(login.user_source()).to_owned());
        Login { user, user_source, token: Arc::clone(login.token()) }
    }

    /// Returns the login that is worth one more try after the server rejected `login`.
    pub(crate) async fn renewed(&self, login: &Login, error: &impl DriverError) -> Option<Login> {
        let (state, message) = error.of_server()?;
        let failed = FailedLogin { sqlstate: Some(&state), message: &message, ..FailedLogin::default() };
        if !failed.classify().retry {
            return None;
        }
        self.provider()?.invalidate(login.token.secret()).await?;
        self.login(None).await.ok().flatten()
    }

    /// Returns the error with the explanation of a login error.
    pub(crate) fn explained(&self, login: Option<&Login>, error: impl DriverError) -> Error {
        match self.explanation(login, &error) {
            Some(explanation) => Error::Login { explanation, source: Box::new(error) },
            None => Error::Driver(BoxError::from(error)),
        }
    }

    pub(crate) fn explanation(&self, login: Option<&Login>, error: &impl DriverError) -> Option<String> {
        let (state, message) = error.of_server()?;
        let failed = FailedLogin { sqlstate: Some(&state), message: &message, ..FailedLogin::default() };
        let text = match login {
            Some(login) => FailedLogin {
                role: &login.user,
                role_source: Some(&login.user_source),
                token: Some(login.token.secret()),
                unused_host: self.unused_host(),
                ..failed
            }
            .explain(|| Ok::<_, std::convert::Infallible>(self.environment().clone())),
            None => failed.explain(|| Ok(pgentra::config::Environment::new())).map(|text| match text.is_empty() {
                true => text,
                false => {
                    "Entra was not used: the connection has a user and a password of its own. Remove the password to \
                          log in with a token, or set require_entra to make this an error."
                        .to_owned()
                }
            }),
        };
        let Ok(text) = text;
        (!text.is_empty()).then_some(text)
    }
}

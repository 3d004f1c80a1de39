//! The doors: a token or a login for one set of options.

use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::{Either, Either5, Result};
use napi_derive::napi;
use pgentra::{Config, Token, TokenProvider};

use crate::{
    courier::{Courier, Login},
    credential::{Credential, limit, read_environment},
    error::thrown,
};

/// A provider. Limits are in milliseconds.
#[napi]
pub struct Provider {
    inner: TokenProvider,
    /// What JavaScript's side has been given as strings and can use again: copying a token costs more than all the rest.
    given: Mutex<Given>,
}

#[derive(Default)]
struct Given {
    token: Option<Arc<Token>>,
    login: Option<Arc<pgentra::Login>>,
}

#[napi]
impl Provider {
    /// `config`, `environment`: JSON. `credential` takes the place of the document's own.
    #[napi(constructor, catch_unwind)]
    pub fn new(config: String, environment: String, credential: Option<&Credential>) -> Result<Self> {
        let mut config = Config::from_json(&config).map_err(|error| thrown(&error))?;
        config.environment = read_environment(&environment)?;
        let builder = TokenProvider::builder().config(config);
        let builder = match credential {
            Some(credential) => builder.credential(Arc::clone(credential.inner())),
            None => builder,
        };
        let inner = builder.build().map_err(|error| thrown(&error))?;
        Ok(Provider { inner, given: Mutex::default() })
    }

    /// A token, if a usable one is cached: `true` where it is the one of the call before.
    #[napi(catch_unwind)]
    pub fn try_token(&self) -> Result<Option<Either<bool, String>>> {
        let token = match self.inner.try_get() {
            None => return Ok(None),
            Some(outcome) => outcome.map_err(|error| thrown(&error))?,
        };
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.token.as_ref().is_some_and(|given| Arc::ptr_eq(given, &token)) {
            return Ok(Some(Either::A(true)));
        }
        let text = token.secret().to_owned();
        given.token = Some(token);
        Ok(Some(Either::B(text)))
    }

    /// Sends a token when there is one.
    #[napi(catch_unwind)]
    pub fn start_token(&self, courier: &Courier, id: f64, limit_ms: Option<f64>) {
        let pending = self.inner.start_get(limit(limit_ms));
        courier.send_result(id, pending, |token| Either5::A(token.secret().to_owned()));
    }

    /// A login, if a usable token is cached and its role name known: `true` where it is the one of the call before.
    #[napi(catch_unwind)]
    pub fn try_login(&self) -> Result<Option<Either<bool, Login>>> {
        let found = match self.inner.try_login() {
            None => return Ok(None),
            Some(outcome) => outcome.map_err(|error| thrown(&error))?,
        };
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.login.as_ref().is_some_and(|given| Arc::ptr_eq(given, &found)) {
            return Ok(Some(Either::A(true)));
        }
        let made = login(&found);
        given.login = Some(found);
        Ok(Some(Either::B(made)))
    }

    /// Sends a login when there is one.
    #[napi(catch_unwind)]
    pub fn start_login(&self, courier: &Courier, id: f64, limit_ms: Option<f64>) {
        courier.send_result(id, self.inner.start_login(limit(limit_ms)), |found| Either5::C(login(&found)));
    }

    /// Tells that a server refused a token (the current one, if left out), and sends whether there is a newer one.
    #[napi(catch_unwind)]
    pub fn start_invalidate(&self, courier: &Courier, id: f64, token: Option<String>, limit_ms: Option<f64>) {
        let newer = self.inner.start_invalidate_within(token.as_deref(), limit(limit_ms));
        courier.send_result(id, newer, |newer| Either5::B(newer.is_some()));
    }

    /// What the provider knows of itself, as JSON. Fetches nothing.
    #[napi(catch_unwind)]
    pub fn stats(&self) -> String {
        serde_json::to_string(&self.inner.stats()).unwrap_or_default()
    }
}

fn login(login: &pgentra::Login) -> Login {
    Login {
        user: login.user().to_owned(),
        password: login.password().to_owned(),
        source: login.user_source().to_owned(),
    }
}

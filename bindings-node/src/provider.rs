//! Providers: a token or a login for one credential and set of options.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use napi::bindgen_prelude::{Either, Either5, Result};
use napi_derive::napi;
use pgentra::{Config, TokenProvider, bindings::TokenStringCache};

use crate::{
    credential::{Credential, environment_of, limit},
    error::js_error,
    js_channel::{JsChannel, Login},
};

/// A token provider. Time limits are in milliseconds.
#[napi]
pub struct Provider {
    inner: TokenProvider,
    /// JavaScript code keeps the strings of the last token and login, because a copy costs more than the rest of a call.
    strings: TokenStringCache<()>,
    last_token: AtomicU64,
    last_login: AtomicU64,
}

#[napi]
impl Provider {
    /// `config`, `environment`: JSON. `credential` replaces the document's credential.
    #[napi(constructor, catch_unwind)]
    pub fn new(config: String, environment: String, credential: Option<&Credential>) -> Result<Self> {
        let mut config = Config::from_json(&config).map_err(|error| js_error(&error))?;
        config.environment = environment_of(&environment)?;
        let builder = TokenProvider::builder().config(config);
        let builder = match credential {
            Some(credential) => builder.credential(Arc::clone(credential.inner())),
            None => builder,
        };
        let inner = builder.build().map_err(|error| js_error(&error))?;
        let (strings, last_token, last_login) = Default::default();
        Ok(Provider { inner, strings, last_token, last_login })
    }

    /// Returns a token if a usable one is cached, or `true` if it is the token of the previous call.
    #[napi(catch_unwind)]
    pub fn try_token(&self) -> Result<Option<Either<bool, String>>> {
        let token = match self.inner.try_get() {
            None => return Ok(None),
            Some(result) => result.map_err(|error| js_error(&error))?,
        };
        let id = self.strings.with_token(&token, |_| (), |strings| strings.token_id());
        let is_same = self.last_token.swap(id, Ordering::Relaxed) == id;
        Ok(Some(if is_same { Either::A(true) } else { Either::B(token.secret().to_owned()) }))
    }

    /// Sends a token to `channel` when it is available.
    #[napi(catch_unwind)]
    pub fn start_token(&self, channel: &JsChannel, id: f64, limit_ms: Option<f64>) {
        let pending = self.inner.start_get(limit(limit_ms));
        channel.send_result(id, pending, |token| Either5::A(token.secret().to_owned()));
    }

    /// Returns a login if a usable token is cached and its role name is known, or `true` if it is the login of the previous
    /// call.
    #[napi(catch_unwind)]
    pub fn try_login(&self) -> Result<Option<Either<bool, Login>>> {
        let found = match self.inner.try_login() {
            None => return Ok(None),
            Some(result) => result.map_err(|error| js_error(&error))?,
        };
        let id = self.strings.with_login(&found, |_| (), |strings, ()| strings.login_id());
        let is_same = self.last_login.swap(id, Ordering::Relaxed) == id;
        Ok(Some(if is_same { Either::A(true) } else { Either::B(login(&found)) }))
    }

    /// Sends a login to `channel` when it is available.
    #[napi(catch_unwind)]
    pub fn start_login(&self, channel: &JsChannel, id: f64, limit_ms: Option<f64>) {
        channel.send_result(id, self.inner.start_login(limit(limit_ms)), |found| Either5::C(login(&found)));
    }

    /// Reports that a server rejected a token (default: the current one). Sends to `channel` whether a newer token is
    /// available.
    #[napi(catch_unwind)]
    pub fn start_invalidate(&self, channel: &JsChannel, id: f64, token: Option<String>, limit_ms: Option<f64>) {
        let newer = self.inner.start_invalidate_within(token.as_deref(), limit(limit_ms));
        channel.send_result(id, newer, |newer| Either5::B(newer.is_some()));
    }

    /// Returns the provider's statistics as JSON, without fetching a token.
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

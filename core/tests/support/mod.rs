//! A credential that does what a test says, and tokens with chosen claims.
#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pgentra::{
    CachedCredential, Config, Error, ErrorKind, Result, Secret, TokenProvider,
    credential::{BoxFuture, Credential, FetchContext, FetchedToken, TokenRequest},
};
use serde_json::Value;

/// A token with these claims and an invalid signature, which is not checked.
pub fn jwt(claims: &Value) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
    let part = |value: &Value| BASE64.encode(value.to_string());
    format!("{}.{}.c2ln", part(&serde_json::json!({"alg": "RS256"})), part(claims))
}

type Script = dyn Fn(usize, &TokenRequest) -> Result<FetchedToken> + Send + Sync;

/// Answers the n-th fetch (from 0) by a script, after a delay.
pub struct Scripted {
    script: Box<Script>,
    pub delay: Mutex<Duration>,
    pub calls: AtomicUsize,
    pub in_flight: AtomicUsize,
    pub most_in_flight: AtomicUsize,
    pub hang: AtomicBool,
}

impl Scripted {
    pub fn new(script: impl Fn(usize, &TokenRequest) -> Result<FetchedToken> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Scripted {
            script: Box::new(script),
            delay: Mutex::new(Duration::ZERO),
            calls: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
            hang: AtomicBool::new(false),
        })
    }

    /// Tokens for `upn` that are good for `lifetime` seconds, each with other bytes.
    pub fn user(upn: &str, lifetime: i64) -> Arc<Self> {
        let upn = upn.to_owned();
        Self::new(move |n, _| Ok(token(&serde_json::json!({"upn": upn, "oid": "o", "tid": "t", "n": n}), lifetime)))
    }

    pub fn delayed(self: Arc<Self>, delay: Duration) -> Arc<Self> {
        *self.delay.lock().expect("not poisoned") = delay;
        self
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub fn provider(self: &Arc<Self>, config: Config) -> TokenProvider {
        let credential: Arc<dyn Credential> = Arc::clone(self) as Arc<dyn Credential>;
        TokenProvider::builder()
            .config(config)
            .credential(CachedCredential::from_credential(credential))
            .build()
            .expect("builds")
    }
}

/// A fetched token with these claims, good for `lifetime` seconds.
pub fn token(claims: &Value, lifetime: i64) -> FetchedToken {
    FetchedToken { token: Secret::new(jwt(claims)), expires_on: None, expires_in: Some(lifetime), refresh_in: None }
}

impl Credential for Scripted {
    fn name(&self) -> &str {
        "ScriptedCredential"
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(async move {
            let n = self.calls.fetch_add(1, Ordering::SeqCst);
            let now = self.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_in_flight.fetch_max(now, Ordering::SeqCst);
            let delay = *self.delay.lock().expect("not poisoned");
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if self.hang.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            self.in_flight.fetch_sub(1, Ordering::SeqCst);
            (self.script)(n, request)
        })
    }
}

pub fn unix_now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64)
}

/// The error of a service that is down.
pub fn down() -> Error {
    Error::new(ErrorKind::ServiceUnavailable, "the token service is down")
}

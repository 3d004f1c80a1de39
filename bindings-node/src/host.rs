//! Credentials of the program itself, asked by the engine through JavaScript.

use std::sync::{Arc, Mutex, PoisonError};

use napi::bindgen_prelude::Either5;
use napi_derive::napi;
use pgentra::{
    Error, ErrorKind, Result,
    credential::{BoxFuture, FetchContext, FetchedToken, TokenRequest},
};
use tokio::sync::oneshot;

use crate::courier::{Courier, Kind};

/// A credential of the program, known to JavaScript's side by its id.
#[napi]
pub struct CustomCredential(Arc<Host>);

struct Host {
    courier: Courier,
    id: f64,
    name: String,
}

#[napi]
impl CustomCredential {
    /// `name` stands in errors.
    #[napi(constructor)]
    pub fn new(courier: &Courier, id: f64, name: String) -> Self {
        CustomCredential(Arc::new(Host { courier: courier.clone(), id, name }))
    }
}

impl CustomCredential {
    pub(crate) fn credential(&self) -> Arc<dyn pgentra::credential::Credential> {
        self.0.clone()
    }
}

impl pgentra::credential::Credential for Host {
    fn name(&self) -> &str {
        &self.name
    }

    fn fetch<'a>(&'a self, request: &'a TokenRequest, _: FetchContext) -> BoxFuture<'a, Result<FetchedToken>> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let request =
                Request { request: request.clone(), courier: self.courier.clone(), answer: Mutex::new(Some(answer)) };
            self.courier.send(Kind::Asked, self.id, None, Some(Either5::E(request)));
            answered.await.unwrap_or_else(|_| Err(lost()))
        })
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Cancelled, "the credential or its worker went away during the fetch")
}

/// What is asked of a credential of the program. Answered once; dropped unanswered, whoever waits asks again.
#[napi]
pub struct Request {
    request: TokenRequest,
    courier: Courier,
    answer: Mutex<Option<oneshot::Sender<Result<FetchedToken>>>>,
}

#[napi]
impl Request {
    /// The scope.
    #[napi(getter, catch_unwind)]
    pub fn scope(&self) -> &str {
        &self.request.scope
    }

    /// Another tenant than the credential's own.
    #[napi(getter, catch_unwind)]
    pub fn tenant_id(&self) -> Option<&str> {
        self.request.tenant_id.as_deref()
    }

    /// A claims challenge.
    #[napi(getter, catch_unwind)]
    pub fn claims(&self) -> Option<&str> {
        self.request.claims.as_deref()
    }

    /// Whether the token may be revoked by a claims challenge.
    #[napi(getter, catch_unwind)]
    pub fn enable_cae(&self) -> bool {
        self.request.enable_cae
    }

    /// Answers with a token; seconds since the epoch.
    #[napi(catch_unwind)]
    pub fn succeed(&self, token: String, expires_on: Option<i64>, refresh_on: Option<i64>) {
        self.give(FetchedToken::from_custom(&token, expires_on, refresh_on));
    }

    /// Answers with what the credential threw, by its name, its text, and the id under which it is kept.
    #[napi(catch_unwind)]
    pub fn fail(&self, name: String, message: String, unavailable: bool, cause: f64) {
        let cause = Arc::new(Cause { courier: self.courier.clone(), id: cause });
        self.give(Err(Error::from_custom(&name, &message, unavailable, Some(cause))));
    }

    /// Answers with nothing usable: `message` goes on after "the credential".
    #[napi(catch_unwind)]
    pub fn refuse(&self, message: String) {
        self.give(Err(Error::new(ErrorKind::CredentialValue, format!("the credential {message}"))));
    }

    /// Answers with `null`, the interface's word for a credential that has no token: a chain goes on past it.
    #[napi(catch_unwind)]
    pub fn decline(&self) {
        self.give(Err(Error::new(ErrorKind::CredentialUnavailable, "the credential returned null")));
    }

    /// Answers that the credential is gone.
    #[napi(catch_unwind)]
    pub fn lose(&self) {
        self.give(Err(lost()));
    }

    fn give(&self, outcome: Result<FetchedToken>) {
        let answer = self.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(answer) = answer {
            // Nobody listens where the fetch ended by its time limit, long ago.
            let _ = answer.send(outcome);
        }
    }
}

/// What a credential of the program threw: kept by JavaScript's side under an id until the last error that has it is gone.
pub struct Cause {
    courier: Courier,
    id: f64,
}

impl Cause {
    pub(crate) fn id(&self) -> f64 {
        self.id
    }

    pub(crate) fn courier(&self) -> &Courier {
        &self.courier
    }
}

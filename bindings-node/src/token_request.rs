//! A token request to a custom credential.

use std::sync::Arc;

use napi_derive::napi;
use pgentra::bindings::{self, CustomRequest};

use crate::error::JsCause;

/// A token request to a custom credential. Only the first response counts.
#[napi]
pub struct CustomTokenRequest {
    request: CustomRequest,
    cause_dropped: Arc<dyn Fn(f64) + Send + Sync>,
}

impl CustomTokenRequest {
    /// `cause_dropped` is called with the id of a cause when the last error with it is dropped.
    pub(crate) fn new(request: CustomRequest, cause_dropped: Arc<dyn Fn(f64) + Send + Sync>) -> Self {
        CustomTokenRequest { request, cause_dropped }
    }
}

#[napi]
impl CustomTokenRequest {
    /// The scope.
    #[napi(getter, catch_unwind)]
    pub fn scope(&self) -> &str {
        &self.request.token_request().scope
    }

    /// The tenant, if it is not the credential's own.
    #[napi(getter, catch_unwind)]
    pub fn tenant_id(&self) -> Option<&str> {
        self.request.token_request().tenant_id.as_deref()
    }

    /// The claims challenge.
    #[napi(getter, catch_unwind)]
    pub fn claims(&self) -> Option<&str> {
        self.request.token_request().claims.as_deref()
    }

    /// Whether a claims challenge can revoke the token.
    #[napi(getter, catch_unwind)]
    pub fn enable_cae(&self) -> bool {
        self.request.token_request().enable_cae
    }

    /// Responds with a token. Times are in seconds since the epoch.
    #[napi(catch_unwind)]
    pub fn respond(&self, token: String, expires_on: Option<i64>, refresh_on: Option<i64>) {
        self.request.respond(&token, expires_on, refresh_on);
    }

    /// Responds with the error that the credential threw: its name, its text, and the id under which it is stored.
    #[napi(catch_unwind)]
    pub fn fail(&self, name: String, message: String, cause: f64) {
        let unavailable = bindings::means_unavailable([name.as_str()]);
        let cause = JsCause::new(cause, Arc::clone(&self.cause_dropped));
        self.request.fail(&name, &message, unavailable, Some(Arc::new(cause)), None);
    }

    /// Responds that the returned value cannot be used. `what` completes "the credential returned ...".
    #[napi(catch_unwind)]
    pub fn reject(&self, what: String) {
        self.request.reject(&what);
    }

    /// Responds that the token has unpaired surrogates.
    #[napi(catch_unwind)]
    pub fn reject_surrogates(&self) {
        self.request.reject_surrogates();
    }

    /// Responds with `null`: a chain continues with its next member.
    #[napi(catch_unwind)]
    pub fn decline(&self) {
        self.request.decline();
    }

    /// Responds that the credential object no longer exists.
    #[napi(catch_unwind)]
    pub fn abandon(&self) {
        self.request.abandon();
    }
}

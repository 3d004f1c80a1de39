//! Custom credentials: the engine requests a token, and JavaScript responds.

use std::sync::Arc;

use napi::bindgen_prelude::Either5;
use napi_derive::napi;
use pgentra::{
    bindings::{self, CustomRequest},
    credential::Credential,
};

use crate::js_channel::{JsChannel, MessageKind};

/// A custom credential. JavaScript finds its credential object by the id.
#[napi]
pub struct CustomCredential(Arc<dyn Credential>);

#[napi]
impl CustomCredential {
    /// `name` is used in errors.
    #[napi(constructor)]
    pub fn new(channel: &JsChannel, id: f64, name: String) -> Self {
        let channel = channel.clone();
        CustomCredential(Arc::new(bindings::CustomCredential::new(name, move |request| {
            let request = CustomTokenRequest { request, channel: channel.clone() };
            channel.send(MessageKind::TokenRequested, id, None, Some(Either5::E(request)));
            Ok(())
        })))
    }
}

impl CustomCredential {
    pub(crate) fn credential(&self) -> Arc<dyn Credential> {
        Arc::clone(&self.0)
    }
}

/// A token request to a custom credential. Only the first response counts.
#[napi]
pub struct CustomTokenRequest {
    request: CustomRequest,
    channel: JsChannel,
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
        let cause = JsCause { channel: self.channel.clone(), id: cause };
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

/// What a custom credential threw. JavaScript stores it under the id until the last error with this cause is dropped.
pub struct JsCause {
    channel: JsChannel,
    id: f64,
}

impl JsCause {
    pub(crate) fn id(&self) -> f64 {
        self.id
    }
}

impl Drop for JsCause {
    fn drop(&mut self) {
        self.channel.send(MessageKind::CauseDropped, self.id, None, None);
    }
}

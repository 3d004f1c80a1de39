//! Custom credentials: the engine requests a token, and JavaScript responds.

use std::sync::Arc;

use napi::bindgen_prelude::Either5;
use napi_derive::napi;
use pgentra::{bindings, credential::Credential};

use crate::{
    js_channel::{JsChannel, MessageKind},
    token_request::CustomTokenRequest,
};

/// A custom credential. JavaScript finds its credential object by the id.
#[napi]
pub struct CustomCredential(Arc<dyn Credential>);

#[napi]
impl CustomCredential {
    /// `name` is used in errors.
    #[napi(constructor)]
    pub fn new(channel: &JsChannel, id: f64, name: String) -> Self {
        let channel = channel.clone();
        let causes = channel.clone();
        let cause_dropped: Arc<dyn Fn(f64) + Send + Sync> =
            Arc::new(move |cause| causes.send(MessageKind::CauseDropped, cause, None, None));
        CustomCredential(Arc::new(bindings::CustomCredential::new(name, move |request| {
            let request = CustomTokenRequest::new(request, Arc::clone(&cause_dropped));
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

//! The engine's errors as JSON documents, from which `lib/errors.js` creates JavaScript errors.

use std::sync::Arc;

use napi::Status;
use napi_derive::napi;
use pgentra::{Error, bindings};

/// What a custom credential threw. JavaScript stores it under the id until the last error with this cause is dropped.
pub struct JsCause {
    id: f64,
    dropped: Arc<dyn Fn(f64) + Send + Sync>,
}

impl JsCause {
    pub(crate) fn new(id: f64, dropped: Arc<dyn Fn(f64) + Send + Sync>) -> Self {
        JsCause { id, dropped }
    }
}

impl Drop for JsCause {
    fn drop(&mut self) {
        (self.dropped)(self.id);
    }
}

/// Returns the document of an error.
pub fn error_document_of(error: &Error) -> String {
    let mut document = bindings::error_document(error);
    document["cause"] = bindings::cause(error, |cause: &JsCause| Some(cause.id)).into();
    document.to_string()
}

/// Returns the error that a function of the addon throws; its message is the document.
pub fn js_error(error: &Error) -> napi::Error {
    napi::Error::new(Status::GenericFailure, error_document_of(error))
}

/// Returns the document of an error that JavaScript code detected. `advice` replaces the advice of the kind.
#[napi(catch_unwind)]
pub fn error_document(code: String, message: String, advice: Option<String>) -> String {
    error_document_of(&bindings::new_error(bindings::kind_of_code(&code), message, None, advice))
}

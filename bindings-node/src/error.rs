//! The engine's errors as documents, of which `lib/errors.js` makes JavaScript's.

use napi::Status;
use napi_derive::napi;
use pgentra::{Error, ErrorKind};
use serde_json::json;

use crate::{courier::Kind, host::Cause};

/// The document of an error.
pub fn failure(error: &Error) -> String {
    json!({
        "class": error.kind().class(),
        "message": error.to_string(),
        "detail": error.detail(),
        "cause": cause(error),
    })
    .to_string()
}

/// Thrown by a function of ours, with the document as its message.
pub fn thrown(error: &Error) -> napi::Error {
    napi::Error::new(Status::GenericFailure, failure(error))
}

/// The id of what the program's own credential threw: the error's, or that of the attempt of a chain which has one.
fn cause(error: &Error) -> Option<f64> {
    let own = error.custom_cause().and_then(|cause| cause.downcast_ref::<Cause>());
    own.map(Cause::id).or_else(|| error.attempts().iter().rev().find_map(cause))
}

/// The document of an error that JavaScript's side found. `advice` is what to do, where the kind's own does not fit.
#[napi(catch_unwind)]
pub fn error_document(code: String, message: String, advice: Option<String>) -> String {
    let kind = ErrorKind::ALL.iter().copied().find(|kind| kind.code() == code).unwrap_or(ErrorKind::Internal);
    failure(&advice.into_iter().fold(Error::new(kind, message), Error::with_advice))
}

impl Drop for Cause {
    fn drop(&mut self) {
        self.courier().send(Kind::Forgotten, self.id(), None, None);
    }
}

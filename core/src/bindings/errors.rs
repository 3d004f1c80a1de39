//! Errors between the engine and the application's language.

use std::any::Any;

use serde_json::{Value, json};

use crate::error::{Error, ErrorKind};

/// Returns the kind with a stable code. An unknown code is [`ErrorKind::Internal`], because only a binding passes codes.
pub fn kind_of_code(code: &str) -> ErrorKind {
    ErrorKind::from_code(code).unwrap_or(ErrorKind::Internal)
}

/// Creates an error that a binding found itself. `advice` replaces the advice of the kind.
pub fn new_error(
    kind: ErrorKind,
    message: impl Into<String>,
    credential: Option<String>,
    advice: Option<String>,
) -> Error {
    let error = advice.into_iter().fold(Error::new(kind, message), Error::with_advice);
    credential.into_iter().fold(error, Error::for_credential)
}

/// Returns the cause that a custom credential failed with, as the binding passed it to
/// [`CustomRequest::fail`](super::CustomRequest::fail).
///
/// It is that of the error itself; for the error of a chain that of the last attempt that has one. `read` converts it,
/// and returns `None` for a cause that does not exist any more: the search then continues.
pub fn cause<T: Any, R>(error: &Error, read: impl Fn(&T) -> Option<R> + Copy) -> Option<R> {
    let own = error.custom_cause().and_then(|cause| cause.downcast_ref::<T>()).and_then(read);
    own.or_else(|| error.attempts().iter().rev().find_map(|attempt| cause(attempt, read)))
}

/// Returns an error as a document: `class`, `message` and `detail`.
pub fn error_document(error: &Error) -> Value {
    json!({ "class": error.kind().class(), "message": error.to_string(), "detail": error.detail() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn failed(cause: u32) -> Error {
        Error::from_custom("X", "", false, Some(Arc::new(cause)))
    }

    fn chain(attempts: Vec<Error>) -> Error {
        Error::new(ErrorKind::CredentialUnavailable, "no credential worked").with_attempts(attempts)
    }

    fn found(error: &Error) -> Option<u32> {
        cause(error, |cause: &u32| (*cause != 0).then_some(*cause))
    }

    #[test]
    fn cause_of_a_chain_is_that_of_the_last_attempt_with_one() {
        let plain = || Error::new(ErrorKind::Network, "no route");
        assert_eq!(found(&failed(1)), Some(1));
        assert_eq!(found(&plain()), None);
        assert_eq!(found(&chain(vec![failed(1), failed(2), plain()])), Some(2));
        assert_eq!(found(&chain(vec![chain(vec![failed(3)]), plain()])), Some(3));
        // One that does not exist any more is passed over.
        assert_eq!(found(&chain(vec![failed(1), failed(0)])), Some(1));
        assert_eq!(found(&failed(0).with_attempts(vec![failed(4)])), Some(4));
        let other = Error::from_custom("X", "", false, Some(Arc::new("another type")));
        assert_eq!(found(&other), None);
    }

    #[test]
    fn kind_of_code_returns_each_kind_and_internal_for_an_unknown_code() {
        for kind in ErrorKind::ALL {
            assert_eq!(kind_of_code(kind.code()), *kind);
        }
        assert_eq!(kind_of_code("nothing"), ErrorKind::Internal);
    }

    #[test]
    fn new_error_without_advice_has_that_of_its_kind() {
        let error = new_error(ErrorKind::Cancelled, "stopped", None, None);
        assert_eq!(error.advice(), ErrorKind::Cancelled.advice());
        let error = new_error(ErrorKind::Cancelled, "stopped", Some("Mine".to_owned()), Some("Go on.".to_owned()));
        assert_eq!(error_document(&error)["message"], "Mine: stopped. Go on.");
        assert_eq!(error_document(&error)["class"], "PgEntraError");
    }
}

//! Errors as C holds them.

use std::{
    ffi::{c_char, c_void},
    ptr,
    sync::Arc,
};

use pgentra::{Error, ErrorKind, Result};
use serde_json::{Value, json};

use crate::{
    guard::{Output, optional_text, status, text, to_text, value},
    handles::Table,
    host::Cause,
    text::{Text, interned},
};

/// An error: its kind, its text and its details. Freed by pgentra_error_free().
pub struct pgentra_error;

static ERRORS: Table<pgentra_error, Arc<Failure>> = Table::new(1, "error");

/// An error with the texts that C has pointers to.
struct Failure {
    error: Error,
    message: Text,
    detail: Text,
}

/// Writes an error object to `place`, unless that is NULL.
///
/// # Safety
/// `place` is NULL or may be written to.
pub unsafe fn give(error: Error, place: *mut *mut pgentra_error) -> i32 {
    let kind = error.kind() as i32;
    // SAFETY: as promised by the caller.
    if let Ok(Some(place)) = unsafe { Output::optional("error", place) } {
        place.write(open(error));
    }
    kind
}

/// An error object; NULL where there is no room for one.
pub fn open(error: Error) -> *mut pgentra_error {
    let mut detail = error.detail();
    detail["error_class"] = error.kind().class().into();
    let message = Text::new(&error.to_string());
    let detail = Text::new(&detail.to_string());
    ERRORS.insert(Arc::new(Failure { error, message, detail })).unwrap_or(ptr::null_mut())
}

/// The kind; PGENTRA_INVALID_ARGUMENT where `error` is no error, or was freed.
///
/// @ownership `error` stays the caller's. @threads any. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_kind(error: *const pgentra_error) -> i32 {
    let none = ErrorKind::InvalidArgument as i32;
    value("pgentra_error_kind", none, || ERRORS.get(error).map_or(none, |failure| failure.error.kind() as i32))
}

/// The kind's name, such as "credential_unavailable". Never NULL.
///
/// @ownership static, never to be freed. @threads any. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_code(error: *const pgentra_error) -> *const c_char {
    let none = ErrorKind::InvalidArgument.code();
    value("pgentra_error_code", c"internal".as_ptr(), || {
        interned(ERRORS.get(error).map_or(none, |failure| failure.error.code()))
    })
}

/// What failed, for which credential, what the service said, what to do; the attempts of a chain follow on lines of their
/// own. Holds no token and no secret. Never NULL.
///
/// @ownership borrowed from `error`: good until that is freed. @threads any. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_message(error: *const pgentra_error) -> *const c_char {
    let none = c"error is NULL or was freed".as_ptr();
    value("pgentra_error_message", none, || ERRORS.get(error).map_or(none, |failure| failure.message.as_ptr()))
}

/// The same as data (JSON): code, kind, error_class (of the bindings that have exceptions), message, advice, transient, and
/// where they are known credential, class (of the host's own error), status, error, aadsts, service_message, trace_id,
/// correlation_id, retry_after (seconds), claims, attempts. Never NULL.
///
/// @ownership borrowed from `error`: good until that is freed. @threads any. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_detail_json(error: *const pgentra_error) -> *const c_char {
    let none = c"{}".as_ptr();
    value("pgentra_error_detail_json", none, || ERRORS.get(error).map_or(none, |failure| failure.detail.as_ptr()))
}

/// The `cause` that was given to pgentra_request_fail(), where this error comes from that, else NULL.
///
/// @ownership borrowed from `error`: good until that is freed. @threads any. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_cause(error: *const pgentra_error) -> *mut c_void {
    value("pgentra_error_cause", ptr::null_mut(), || {
        ERRORS.get(error).ok().and_then(|failure| cause(&failure.error)).unwrap_or(ptr::null_mut())
    })
}

/// The host's own error: the error's, or that of the attempt of a chain which has one.
fn cause(error: &Error) -> Option<*mut c_void> {
    let own = error.custom_cause().and_then(|cause| cause.downcast_ref::<Cause>()).and_then(Cause::pointer);
    own.or_else(|| error.attempts().iter().rev().find_map(cause))
}

/// Keeps an error beyond the callback that was passed it. NULL where `error` is none.
///
/// @ownership the result is the caller's: pgentra_error_free(). @threads any. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_retain(error: *const pgentra_error) -> *mut pgentra_error {
    value("pgentra_error_retain", ptr::null_mut(), || {
        ERRORS.get(error).and_then(|failure| ERRORS.insert(Arc::clone(&failure))).unwrap_or(ptr::null_mut())
    })
}

/// Frees an error. NULL, and an error that was freed before, are ignored.
///
/// @ownership `error` is freed. @threads any. @errors none.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_free(error: *mut pgentra_error) {
    value("pgentra_error_free", (), || drop(ERRORS.remove(error)));
}

/// Makes an error of the host's own finding, with the texts that all errors have: `message` is what failed, without a full
/// stop; `advice` (what to do) and `credential` (its class name) may be NULL. Returns `kind`, so that a function can end
/// with `return pgentra_error_new(...)`.
///
/// @ownership `*error` is the caller's: pgentra_error_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT where `kind` is
/// none or `message` is NULL.
///
/// # Safety
/// Texts are NULL or C strings; `error` is NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_error_new(
    kind: i32,
    message: *const c_char,
    advice: *const c_char,
    credential: *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || -> Result<()> {
        let unknown = || Error::new(ErrorKind::InvalidArgument, "argument `kind` is no kind of error");
        let kind = ErrorKind::from_number(kind).ok_or_else(unknown)?;
        // SAFETY: as promised by the caller.
        let (message, advice, credential) = unsafe {
            (text("message", message)?, optional_text("advice", advice)?, optional_text("credential", credential)?)
        };
        let made = advice.into_iter().fold(Error::new(kind, message), Error::with_advice);
        Err(credential.into_iter().fold(made, Error::for_credential))
    };
    // SAFETY: as promised by the caller.
    unsafe { status("pgentra_error_new", error, work) }
}

/// Every kind of error, as a JSON array of {number, code, class, chain, transient, summary, advice}. `chain` is what a chain
/// does after it: "goes on", "stops", or "" where it is not the outcome of a credential.
///
/// @ownership `*json` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `json` and `error` are NULL or may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_error_kinds(json: *mut *const c_char, error: *mut *mut pgentra_error) -> i32 {
    let work = || Ok(Some(ErrorKind::ALL.iter().map(|kind| described(*kind)).collect::<Value>().to_string()));
    // SAFETY: as promised by the caller.
    unsafe { to_text("pgentra_error_kinds", "json", json, error, work) }
}

fn described(kind: ErrorKind) -> Value {
    use pgentra::bindings::ChainRule::{Failed, NotACredential, Unavailable};
    let chain = match kind.chain_rule() {
        Unavailable => "goes on",
        Failed => "stops",
        NotACredential => "",
    };
    json!({
        "number": kind as i32,
        "code": kind.code(),
        "class": kind.class(),
        "chain": chain,
        "transient": kind.is_transient(),
        "summary": kind.summary(),
        "advice": kind.advice(),
    })
}

//! The functions for errors.

use std::{
    ffi::{c_char, c_void},
    ptr,
    sync::Arc,
};

use pgentra::{
    ErrorKind, Result,
    bindings::{self, ChainRule},
};
use serde_json::{Value, json};

use crate::{
    error_object::{ERRORS, pgentra_error},
    ffi::{invalid_argument, optional_str, required_str, status, string_status, value},
    string::static_string,
    user_data::Cause,
};

/// Returns the kind; PGENTRA_INVALID_ARGUMENT if `error` is not an error or was freed.
///
/// @ownership `error` stays the caller's. @threads any. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_kind(error: *const pgentra_error) -> i32 {
    let invalid = ErrorKind::InvalidArgument as i32;
    value("pgentra_error_kind", invalid, || ERRORS.get(error).map_or(invalid, |object| object.error.kind() as i32))
}

/// Returns the kind's name, such as "credential_unavailable". Never NULL.
///
/// @ownership static: it is never freed. @threads any. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_code(error: *const pgentra_error) -> *const c_char {
    let invalid = ErrorKind::InvalidArgument.code();
    value("pgentra_error_code", c"internal".as_ptr(), || {
        static_string(ERRORS.get(error).map_or(invalid, |object| object.error.code())).as_ptr()
    })
}

/// Returns the message: what failed, the credential, what the token source reported, and what to do. The attempts of a chain
/// follow on separate lines. It contains no token and no secret. Never NULL.
///
/// @ownership borrowed from `error`: valid until that is freed. @threads any. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_message(error: *const pgentra_error) -> *const c_char {
    let invalid = c"error is NULL or was freed".as_ptr();
    value("pgentra_error_message", invalid, || ERRORS.get(error).map_or(invalid, |object| object.message.as_ptr()))
}

/// Returns the error as JSON: code, kind, error_class (the class in bindings with exceptions), message, advice, transient, and
/// if known credential, class (of the application's own error), status, error, aadsts, service_message, trace_id,
/// correlation_id, retry_after (seconds), claims, attempts. Never NULL.
///
/// @ownership borrowed from `error`: valid until that is freed. @threads any. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_detail_json(error: *const pgentra_error) -> *const c_char {
    let invalid = c"{}".as_ptr();
    value("pgentra_error_detail_json", invalid, || ERRORS.get(error).map_or(invalid, |object| object.detail.as_ptr()))
}

/// Returns the `cause` that was passed to pgentra_request_fail() if this error results from it; otherwise NULL.
///
/// @ownership borrowed from `error`: valid until that is freed. @threads any. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_cause(error: *const pgentra_error) -> *mut c_void {
    value("pgentra_error_cause", ptr::null_mut(), || {
        let object = ERRORS.get(error).ok();
        let cause = object.and_then(|object| bindings::cause(&object.error, |cause: &Cause| Some(cause.pointer())));
        cause.unwrap_or(ptr::null_mut())
    })
}

/// Keeps an error of a callback after the callback has returned. Returns NULL if `error` is not an error.
///
/// @ownership the result is the caller's: pgentra_error_free(). @threads any. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_retain(error: *const pgentra_error) -> *mut pgentra_error {
    value("pgentra_error_retain", ptr::null_mut(), || {
        ERRORS.get(error).and_then(|object| ERRORS.insert(Arc::clone(&object))).unwrap_or(ptr::null_mut())
    })
}

/// Frees an error. NULL, and an error that was freed before, are ignored.
///
/// @ownership `error` is freed. @threads any. @errors cannot fail.
#[unsafe(no_mangle)]
pub extern "C" fn pgentra_error_free(error: *mut pgentra_error) {
    value("pgentra_error_free", (), || drop(ERRORS.remove(error)));
}

/// Creates an error that the application or its driver found, with the parts that all errors have. `message` says what failed,
/// without a full stop; `advice` (what to do) and `credential` (its class name) may be NULL. Returns `kind`, so that a function
/// can end with `return pgentra_error_new(...)`.
///
/// @ownership `*error` is the caller's: pgentra_error_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT if `kind` is not a
/// kind of error or `message` is NULL.
///
/// # Safety
/// Strings are NULL or C strings; `error` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_error_new(
    kind: i32,
    message: *const c_char,
    advice: *const c_char,
    credential: *const c_char,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || -> Result<()> {
        let unknown = || invalid_argument("kind", "is not a kind of error");
        let kind = ErrorKind::from_number(kind).ok_or_else(unknown)?;
        // SAFETY: guaranteed by the caller.
        let (message, advice, credential) = unsafe {
            (
                required_str("message", message)?,
                optional_str("advice", advice)?,
                optional_str("credential", credential)?,
            )
        };
        Err(bindings::new_error(kind, message, credential.map(str::to_owned), advice.map(str::to_owned)))
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_error_new", error, work) }
}

/// Returns every kind of error as a JSON array of {number, code, class, chain, transient, summary, advice}. `chain` is what a
/// chain does after it: "goes on", "stops", or "" if a credential cannot fail with it.
///
/// @ownership `*json` is the caller's: pgentra_string_free(). @threads any. @errors PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `json` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_error_kinds(json: *mut *const c_char, error: *mut *mut pgentra_error) -> i32 {
    let work = || Ok(Some(ErrorKind::ALL.iter().map(|kind| describe(*kind)).collect::<Value>().to_string()));
    // SAFETY: guaranteed by the caller.
    unsafe { string_status("pgentra_error_kinds", "json", json, error, work) }
}

fn describe(kind: ErrorKind) -> Value {
    use ChainRule::{Failed, NotACredential, Unavailable};
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

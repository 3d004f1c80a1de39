//! Custom credentials: the functions with which the application takes requests for tokens and completes them.

use std::{
    ffi::{c_char, c_void},
    ptr,
    sync::Arc,
};

use pgentra::bindings::{CustomCause, CustomRequest};

use crate::{
    callback_pool::COMPLETIONS,
    credential::{CREDENTIALS, pgentra_credential},
    error_object::pgentra_error,
    ffi::{Output, invalid_argument, optional_str, required_str, status, write_optional},
    request::{pgentra_request, pgentra_token_request, respond},
    user_data::{Cause, Finalized, UserData, pgentra_finalizer},
    wait::time_limit,
};

/// Waits for the next request to a credential of pgentra_credential_queue(), at most `timeout_ms` (negative: without a limit;
/// 0: not at all). `*request` becomes NULL if no request arrives within the limit. The request must be completed once by
/// pgentra_request_respond(), pgentra_request_fail() or pgentra_request_abandon(), also if its fetch has ended meanwhile.
///
/// A fetch does not start by itself: a program with one thread starts it with a function such as pgentra_provider_login() and
/// the limit 0, takes the request, and calls the function again.
///
/// @ownership `*request` is the caller's: completing it frees it. `*wanted` (`wanted` may be NULL) and its strings are borrowed
/// from `*request` until then. @threads any, also several at once: each request is returned once.
/// @errors PGENTRA_CANCELLED if the credential is closed, PGENTRA_SHUTTING_DOWN, PGENTRA_INVALID_ARGUMENT.
///
/// # Safety
/// `request`, `wanted` and `error` are NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_request_next(
    credential: *const pgentra_credential,
    timeout_ms: i32,
    request: *mut *mut pgentra_request,
    wanted: *mut *const pgentra_token_request,
    error: *mut *mut pgentra_error,
) -> i32 {
    let work = || {
        // SAFETY: guaranteed by the caller.
        let (to_request, to_wanted) =
            unsafe { (Output::new("request", request)?, Output::optional("wanted", wanted)?) };
        let queue = CREDENTIALS.get(credential)?.queue.clone();
        let queue =
            queue.ok_or_else(|| invalid_argument("credential", "was not made by pgentra_credential_queue()"))?;
        let next = queue.next(time_limit(timeout_ms))?;
        let (number, wanted) = match &next {
            // The table keeps the request at this address until the application completes it.
            Some((number, pending)) => (*number, ptr::from_ref(pending.wanted())),
            None => (0, ptr::null()),
        };
        to_request.write(ptr::without_provenance_mut(number));
        write_optional(&to_wanted, wanted);
        Ok(())
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_request_next", error, work) }
}

/// Completes a request with a token, or with the assertion if the credential is the `get_assertion` of another one.
/// `expires_on` and `refresh_on` are in seconds since 1970; 0 or less means unknown, and then the token's `exp` claim applies. A
/// `token` that cannot be one (NULL, empty, with whitespace) or that has no expiry and is not an assertion fails the fetch with
/// PGENTRA_CREDENTIAL_VALUE; this call succeeds.
///
/// @ownership frees `request`; `token` is copied. @threads any. @errors PGENTRA_INVALID_ARGUMENT if the request is not open: it
/// was completed before, or its fetch has ended.
///
/// # Safety
/// `token` is NULL or a C string; `error` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_request_respond(
    request: *mut pgentra_request,
    token: *const c_char,
    expires_on: i64,
    refresh_on: i64,
    error: *mut *mut pgentra_error,
) -> i32 {
    let known = |seconds: i64| Some(seconds).filter(|seconds| *seconds > 0);
    let work = || {
        // SAFETY: guaranteed by the caller.
        let token = unsafe { optional_str("token", token) };
        respond(request, |request| match token {
            Ok(token) => request.respond(token.unwrap_or_default(), known(expires_on), known(refresh_on)),
            Err(error) => request.respond_with(Err(error)),
        })
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_request_respond", error, work) }
}

/// Completes a request with a failure: the class and the message of the application's error. `unavailable` means that the
/// credential is not set up in this environment, so that a chain continues with its next member. `cause` is what
/// pgentra_error_cause() returns; `finalizer` (may be NULL) is called with it when the last error that contains it is freed,
/// also if this call fails. If `cause` is NULL there is no cause, and `finalizer` is not called.
///
/// @ownership frees `request`; the strings are copied. @threads any. @errors as pgentra_request_respond().
///
/// # Safety
/// Strings are C strings; `finalizer` may be called once with `cause` on any thread; `error` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_request_fail(
    request: *mut pgentra_request,
    class_name: *const c_char,
    message: *const c_char,
    unavailable: bool,
    cause: *mut c_void,
    finalizer: pgentra_finalizer,
    error: *mut *mut pgentra_error,
) -> i32 {
    let cause = (!cause.is_null()).then(|| {
        let cause = Finalized { user_data: UserData(cause), finalizer, pool: &COMPLETIONS };
        Arc::new(Cause(cause)) as CustomCause
    });
    let work = || {
        // SAFETY: guaranteed by the caller.
        let strings = unsafe {
            required_str("class_name", class_name).and_then(|class| Ok((class, required_str("message", message)?)))
        };
        respond(request, |request| match strings {
            Ok((class, message)) => request.fail(class, message, unavailable, cause, None),
            Err(error) => request.respond_with(Err(error)),
        })
    };
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_request_fail", error, work) }
}

/// Completes a request because the credential no longer exists, for example because its event loop or its plugin was unloaded.
/// Callers that wait request the token again.
///
/// @ownership frees `request`. @threads any. @errors as pgentra_request_respond().
///
/// # Safety
/// `error` is NULL or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pgentra_request_abandon(request: *mut pgentra_request, error: *mut *mut pgentra_error) -> i32 {
    // SAFETY: guaranteed by the caller.
    unsafe { status("pgentra_request_abandon", error, || respond(request, CustomRequest::abandon)) }
}
